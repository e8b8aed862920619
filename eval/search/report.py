"""What was measured, sorted for the pages: results by task, engines and codecs by collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .worker import Job, Task

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """found: jobs and their results, in order. summaries: of each collection measured. absent: why others are not."""

    found: Sequence[tuple[Job, Row]]
    summaries: Mapping[str, str]
    absent: Mapping[str, str]

    def of(self, task: Task, corpus: str | None = None, threads: int | None = None) -> Iterator[tuple[Job, Row]]:
        """Jobs of a task that were measured, on a collection, on as many threads where that matters."""
        return (
            (job, result)
            for job, result in self.found
            if job.task == task
            and "absent" not in result
            and corpus in (None, job.corpus)
            and threads in (None, job.threads)
        )

    def missing(self) -> list[tuple[str, str]]:
        """What could not be measured, and why, once each."""
        lines = [(job.label, str(result["absent"])) for job, result in self.found if "absent" in result]
        for job, result in self.found:
            lines += [(f"{name} ({job.corpus}, {job.task})", why) for name, why in result.get("left_out", {}).items()]
        return list(dict.fromkeys(lines))

    def searched(self) -> list[str]:
        """Collections of whole search."""
        return [job.corpus for job, _ in self.of("search", threads=1)]

    def answers(self, corpus: str, depth: int, threads: int = 1) -> dict[tuple[str, str], Row]:
        """How engines answered, by engine and setting."""
        return {
            (row["engine"], row["setting"]): row
            for _, result in self.of("search", corpus, threads)
            for row in result["answers"]
            if row["depth"] == depth
        }

    def about(self, task: Task, corpus: str) -> dict[str, Row]:
        """Results of a task by engine."""
        return {job.subject: result for job, result in self.of(task, corpus)}
