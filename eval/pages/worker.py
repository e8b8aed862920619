"""`python -m latefold.eval.pages.worker JOB`: one measurement in a process of its own; prints JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Task = Literal["prepare", "whole", "product", "compression", "staged"]


@dataclass(frozen=True)
class Job:
    """What to measure on a collection. subject: always empty."""

    task: Task
    corpus: str
    subject: str = ""

    @property
    def label(self) -> str:
        """For progress lines."""
        return f"{self.corpus} {self.task}"


def main(argument: str) -> int:
    """Run one job; returns the exit status."""
    from ...encoders.errors import LatefoldError
    from ..corpora import Place

    wanted = json.loads(argument)
    place = Place(**{**wanted["place"], "data": Path(wanted["place"]["data"]), "cache": Path(wanted["place"]["cache"])})
    job = Job(**wanted["job"])
    try:
        result = run(job, place)
    except LatefoldError as error:
        result = {"absent": str(error)}
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    return 0


def run(job: Job, place: Any) -> Mapping[str, Any]:
    """The figures of a job."""
    from . import compression, routes, staged
    from .collection import open_pages
    from .page_vectors import page_vectors
    from .recipes import recipes

    pages = open_pages(job.corpus, place)

    def vectors() -> Any:
        return page_vectors(pages, place)

    def compressed() -> Mapping[str, Any]:
        made = vectors()
        return compression.compression(pages.dataset, made, recipes(made.pages.dim, quick=place.quick))

    tasks: Mapping[Task, Callable[[], Mapping[str, Any]]] = {
        "prepare": lambda: {"digest": pages.digest, "summary": pages.summary, "scanned": pages.scanned},
        "whole": lambda: routes.whole_pages(pages, place),
        "product": lambda: routes.product(pages, place),
        "compression": compressed,
        "staged": lambda: staged.staged(pages.dataset, vectors()),
    }
    return tasks[job.task]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
