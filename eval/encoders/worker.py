"""`python -m latefold.eval.encoders.worker JOB`: one measurement in a process of its own; prints JSON.

A process of its own gives back its memory, and cannot take others down with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Task = Literal["open", "encode", "bm25", "rank", "exact", "fold", "speed"]
_SMALL_PRODUCTS = ("rank", "fold")
"""Tasks with many small matrix products, for which threads of BLAS take ten times longer than one."""


@dataclass(frozen=True)
class Job:
    """What to measure.

    encoder: name or path. vectors: their folder, relative to the cache. items: variants, or encoders that are timed;
    models: the fingerprint of each of those. rounds: of timing.
    """

    task: Task
    corpus: str
    encoder: str = ""
    vectors: str = ""
    items: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    rounds: int = 1

    @property
    def subject(self) -> str:
        """The encoder without the folder of a path, fit for the name of a file."""
        return "".join(c if c.isalnum() else "-" for c in Path(self.encoder).name)

    @property
    def label(self) -> str:
        """For progress lines."""
        return " ".join(part for part in (self.corpus, self.task, self.subject) if part)


def main(argument: str) -> int:
    """Run one job; returns the exit status."""
    wanted = json.loads(argument)
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in wanted["job"].items()}
    job = Job(**fields)
    if job.task in _SMALL_PRODUCTS:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported
    from ...encoders.errors import LatefoldError
    from ..corpora import Place

    place = Place(**{**wanted["place"], "data": Path(wanted["place"]["data"]), "cache": Path(wanted["place"]["cache"])})
    try:
        result = run(job, place)
    except LatefoldError as error:
        result = {"absent": str(error)}
    sys.stdout.write("\n" + json.dumps(result) + "\n")  # on a line of its own: libraries print as they please
    return 0


def run(job: Job, place: Any) -> Mapping[str, Any]:
    """The figures of a job."""
    from . import collection, folding, ranking, speed
    from .plan import Variant

    opened = collection.open_collection(job.corpus, place)
    tasks: Mapping[Task, Callable[[], Mapping[str, Any]]] = {
        "open": lambda: {
            "digest": opened.digest,
            "summary": f"{job.corpus}: {len(opened.documents):,} documents, {len(opened.queries):,} queries",
        },
        "encode": lambda: collection.encode(opened, collection.unpooled(job.encoder), place),
        "bm25": lambda: ranking.bm25(opened),
        "rank": lambda: ranking.rank(opened, collection.encoded(job.vectors, place), variants),
        "exact": lambda: ranking.exact(opened, collection.encoded(job.vectors, place), variants),
        "fold": lambda: folding.fold(collection.encoded(job.vectors, place), variants),
        "speed": lambda: speed.speed(job.items, opened.documents, job.rounds),
    }
    variants = [] if job.task == "speed" else [Variant.parse(item) for item in job.items]
    return tasks[job.task]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
