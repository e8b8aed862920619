"""`python -m latefold.eval.search.worker JOB`: one measurement in a process of its own; prints JSON.

A process of its own has its own peak of memory, as many threads as the job says, and cannot take others down with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Task = Literal["prepare", "build", "memory", "search", "kernels", "quality", "patches", "prune"]
_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


@dataclass(frozen=True)
class Job:
    """What to measure.

    subject: an engine or a codec. items: engines or codecs with turns. homes: folders of built indexes, by engine,
    relative to the cache. vectors: folders of the vectors of documents and queries, likewise. dim: leading
    dimensions. rounds: turns of each. count: of documents or queries. depths: of results. threads: None for all.
    """

    task: Task
    corpus: str
    subject: str = ""
    items: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    dim: int = 0
    rounds: int = 1
    count: int = 0
    depths: tuple[int, ...] = ()
    threads: int | None = 1

    @property
    def label(self) -> str:
        """For progress lines."""
        details = [f"{self.dim} dimensions"] * (self.dim > 0) + [f"{self.threads} thread(s)"] * (
            self.threads is not None
        )
        return f"{self.corpus} {self.task} {self.subject}".rstrip() + f" ({', '.join(details)})" * bool(details)


def main(argument: str) -> int:
    """Run one job; returns the exit status."""
    wanted = json.loads(argument)
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in wanted["job"].items()}
    job = Job(**fields)
    if job.threads is not None:
        os.environ.update(dict.fromkeys(_THREADS, str(job.threads)))  # read by libraries when they are first imported
    from ...encoders.errors import LatefoldError
    from ..corpora import Place

    place = Place(**{**wanted["place"], "data": Path(wanted["place"]["data"]), "cache": Path(wanted["place"]["cache"])})
    try:
        result = run(job, place)
    except LatefoldError as error:
        result = {"absent": str(error)}
    sys.stdout.write("\n" + json.dumps(result) + "\n")  # on a line of its own: engines print as they please
    return 0


def run(job: Job, place: Any) -> Mapping[str, Any]:
    """The figures of a job."""
    from ..corpora import open_corpus
    from ..vectors import load
    from . import kernels, patches, pruning, quality, whole
    from .plan import engine

    threads = job.threads or os.cpu_count() or 1
    homes = [place.cache / home for home in job.homes]
    if job.task == "memory":  # without the collection's texts, which would take more than most engines do
        documents, queries = (load(place.cache / folder) for folder in job.vectors)
        return whole.memory(engine(job.subject, place), documents.head(job.count), queries, homes[0])
    corpus = open_corpus(job.corpus, place)
    tasks: Mapping[Task, Callable[[], Mapping[str, Any]]] = {
        "prepare": lambda: {
            "digest": corpus.digest,
            "summary": corpus.summary,
            "documents": len(corpus.documents),
            "tokens": corpus.documents.tokens,
            "vectors": [str(part.path.parent.relative_to(place.cache)) for part in (corpus.documents, corpus.queries)],
        },
        "build": lambda: whole.build(engine(job.subject, place), corpus, homes[0]),
        "search": lambda: whole.contest(
            [(engine(name, place), home) for name, home in zip(job.items, homes, strict=True)],
            corpus,
            threads=threads,
            rounds=job.rounds,
            depths=job.depths,
        ),
        "kernels": lambda: kernels.kernels(
            corpus,
            job.items,
            threads=threads,
            rounds=job.rounds,
            documents=job.count,
            seconds=0.01 if place.quick else 0.1,
        ),
        "quality": lambda: quality.measure(corpus, place.data / job.corpus, job.items, job.dim),
        "patches": lambda: patches.patches(corpus, place.data / job.corpus, job.dim),
        "prune": lambda: pruning.prune(corpus, job.subject, job.count),
    }
    return tasks[job.task]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
