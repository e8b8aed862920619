"""What was measured, sorted for the pages: results by task, and rows by method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .worker import Job, Task

Row = Mapping[str, Any]
HEADLINE: Final = (
    ("mean of tokens", "", "f32"),
    ("MUVERA 10240", "", "f32"),
    ("MUVERA 10240, no fill", "", "f32"),
    ("MUVERA 10240 (muvera-python)", "", "f32"),
    ("CV-FDE 10240", "", "f32"),
    ("OLS-FDE", "", "f32"),
    ("learned", "", "f32"),
    ("learned", "Sphering 64", "LVQ-4"),
    ("learned", "Sphering 128", "LVQ-4"),
    ("learned", "Sphering 256", "LVQ-4"),
    ("learned", "Sphering 256", "LVQ-8"),
    ("learned, from queries", "Sphering 256", "LVQ-4"),
)
"""Methods by encoding, reduction and store, that are compared over all collections."""


@dataclass(frozen=True)
class Report:
    """found: jobs and their results, in order. summaries: of each collection measured. absent: why others are not."""

    found: Sequence[tuple[Job, Mapping[str, Any]]]
    summaries: Mapping[str, str]
    absent: Mapping[str, str]

    def of(self, task: Task) -> Iterator[tuple[Job, Mapping[str, Any]]]:
        """Jobs of a task that were measured."""
        return ((job, result) for job, result in self.found if job.task == task and "absent" not in result)

    def missing(self) -> Iterator[tuple[Job, str]]:
        """Jobs that could not be measured, and why."""
        return ((job, str(result["absent"])) for job, result in self.found if "absent" in result)

    def rows(self, collection: str) -> list[Row]:
        """Every method on a collection, with the name of its encoding."""
        return [
            {"encoding": result["encoding"], **row}
            for job, result in self.of("matrix")
            if job.corpus == collection
            for row in result["rows"]
        ]

    def row(self, collection: str, method: tuple[str, str, str]) -> Row | None:
        """One method on a collection."""
        same = (row for row in self.rows(collection) if key(row) == method)
        return next(same, None)


def key(row: Row) -> tuple[str, str, str]:
    """Encoding, reduction and store of a row."""
    return row["encoding"], row["reduction"], row["store"]


def name(method: tuple[str, str, str]) -> str:
    """A method in a table."""
    return ", ".join(part for part in method if part)
