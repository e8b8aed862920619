"""What was measured, sorted for the page: figures by encoder, variant and collection, and their means."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .plan import BASE, NARROW, Method, Plan, Variant
from .worker import Job, Task

Row = Mapping[str, Any]


@dataclass(frozen=True)
class System:
    """A line of the tables. variant: None for BM25, which has no encoder either."""

    encoder: str = ""
    variant: Variant | None = None


BM25: Final = System()


def without_folder(text: str, name: str) -> str:
    """A text that names an encoder by its path, without the folder it lies in: a page tells nothing of the disk."""
    folder = str(Path(name).parent)
    return text if folder == "." else text.replace(f"{folder}{os.sep}", "")


@dataclass(frozen=True)
class Report:
    """All figures.

    found: jobs and their results. dims: of each encoder. summaries: of each collection. absent: what was left out.
    """

    plan: Plan
    found: Sequence[tuple[Job, Row]]
    dims: Mapping[str, int]
    summaries: Mapping[str, str]
    absent: Mapping[str, str]

    @property
    def collections(self) -> list[str]:
        """Names, in the order they were asked for."""
        return list(self.summaries)

    def of(self, task: Task, encoder: str | None = None) -> Iterator[tuple[Job, Row]]:
        """Jobs of a task that were measured."""
        return (
            (job, result)
            for job, result in self.found
            if job.task == task and encoder in (None, job.encoder) and "absent" not in result
        )

    def missing(self) -> list[tuple[str, str]]:
        """What could not be measured, and why."""
        lines = [(job.label, str(result["absent"])) for job, result in self.found if "absent" in result]
        for _, result in self.found:
            left_out = result.get("left_out", {}).items()
            lines += [(f"speed of {Path(name).name}", without_folder(why, name)) for name, why in left_out]
        return lines

    def rows(self, task: Task, encoder: str, variant: Variant) -> dict[str, Row]:
        """The figures of a variant, by collection."""
        return {
            job.corpus: row
            for job, result in self.of(task, encoder)
            for row in result["rows"]
            if row["variant"] == str(variant)
        }

    def figures(self, system: System) -> dict[str, Row]:
        """What a system reaches, by collection."""
        if system.variant is None:
            return {job.corpus: result for job, result in self.of("bm25")}
        return self.rows("rank", system.encoder, system.variant)

    def mean(self, system: System, key: str = "ndcg") -> float | None:
        """Over all collections; None unless each has the figure."""
        found = self.figures(system)
        if any(key not in found.get(name, {}) for name in self.collections):
            return None
        return sum(float(found[name][key]) for name in self.collections) / len(self.collections)

    def change(self, system: System) -> float | None:
        """Relative change of the mean against the same vectors unpooled; None where it has no meaning."""
        if system.variant is None or system.variant.method not in ("k-means", "ward"):
            return None
        ours, whole = self.mean(system), self.mean(self.unpooled(system.encoder, system.variant.dim))
        return None if ours is None or not whole else ours / whole - 1

    def systems(self) -> list[System]:
        """All, in the order of the table."""
        return [*self.whole(), *(system for pooling in self.plan.sizes for system in self.at(pooling))]

    def whole(self) -> list[System]:
        """Those without clusters, at the dimensions that are compared."""
        found = [BM25]
        if BASE in self.dims:
            found += [System(BASE, Variant(self.dims[BASE], "mean")), self.unpooled(BASE, self.dims[BASE])]
        names = [
            name for name in (BASE, self.plan.encoder, self.plan.posthoc) if name is not None and name in self.dims
        ]
        return list(dict.fromkeys([*found, *(self.unpooled(name, self.narrow(name)) for name in names)]))

    def at(self, pooling: str) -> list[System]:
        """Those that keep as many vectors: trained for it first."""
        ours, other = self.plan.encoder, self.plan.posthoc
        ways: list[tuple[str | None, Method]] = [
            (ours, "k-means"),
            (other, "k-means"),
            (other, "ward"),
            (ours, "ward"),
            (BASE, "k-means"),
        ]
        return [
            System(name, Variant(self.narrow(name), method, pooling))
            for name, method in dict.fromkeys(ways)
            if name is not None and name in self.dims
        ]

    def unpooled(self, encoder: str, dim: int) -> System:
        """All token vectors of an encoder."""
        return System(encoder, Variant(dim))

    def narrow(self, encoder: str) -> int:
        """Dimensions at which an encoder's poolings are compared."""
        return min(self.dims[encoder], NARROW)

    def family(self, system: System) -> str:
        """How a system is called, whatever the number of its vectors."""
        name, variant = Path(system.encoder).name, system.variant
        if variant is None:
            return "BM25 (bm25s, stems)"
        if system.encoder == self.plan.encoder:
            name = f"**{name}**"
        if variant.method == "tokens":
            return f"{name}, {variant.dim} dimensions"
        if variant.method == "mean":
            return f"{name}, mean-pooled"
        if variant.method == "ward":
            return f"{name}, post-hoc Ward"
        return f"{name}, CRISP" if system.encoder == self.plan.encoder else f"{name}, post-hoc k-means"

    def label(self, system: System) -> str:
        """How a system is called, with its pooling."""
        pooled = system.variant is not None and system.variant.pooling != "none"
        return f"{self.family(system)} {system.variant.pooling}" if pooled and system.variant else self.family(system)
