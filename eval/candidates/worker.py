"""`python -m latefold.eval.candidates.worker JOB`: one measurement in a process of its own; prints JSON.

A process of its own has its own peak of memory, as many threads as the job says, and cannot take others down with it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Task = Literal["prepare", "speed", "matrix", "nearest", "scale-build", "scale-search"]
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """What to measure.

    subject: an encoding, or a kind of vectors. depth: how many reductions. rounds: of timing. sizes: of a scaling
    series, and graphs: those of them that get a graph. threads: None for all.
    """

    task: Task
    corpus: str
    subject: str = ""
    depth: Literal["quick", "usual", "full"] = "usual"
    rounds: int = 5
    sizes: tuple[int, ...] = ()
    graphs: tuple[int, ...] = ()
    threads: int | None = 1

    @property
    def label(self) -> str:
        """For progress lines."""
        return " ".join(part for part in (self.corpus, self.task, self.subject) if part)


def main(argument: str) -> int:
    """Run one job; returns the exit status."""
    wanted = json.loads(argument)
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in wanted["job"].items()}
    job = Job(**fields)
    if job.threads is not None:
        os.environ.update(dict.fromkeys(_THREADS, str(job.threads)))  # read by libraries when numpy is first imported
    from ...encoders.errors import LatefoldError
    from ..corpora import Place

    place = wanted["place"]
    try:
        result = run(job, Place(Path(place["data"]), Path(place["cache"]), place["encoder"], place["quick"]))
    except LatefoldError as error:
        result = {"absent": str(error)}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def run(job: Job, place: Any) -> dict[str, Any]:
    """The figures of a job."""
    from ..corpora import open_corpus
    from .measure import measure
    from .nearest import contest, folded, pooled
    from .scaling import build, search
    from .speed import generation

    corpus = open_corpus(job.corpus, place)
    if job.task == "prepare":
        return {"digest": corpus.digest, "summary": corpus.summary, "documents": len(corpus.documents)}
    if job.task == "speed":
        return generation(corpus, job.rounds)
    if job.task == "matrix":
        return measure(corpus, job.subject, depth=job.depth, rounds=job.rounds)
    if job.task == "nearest":
        return contest(pooled(corpus) if job.subject == "pooled" else folded(corpus))
    made = place.cache / "scaling" / corpus.digest
    if job.task == "scale-build":
        return build(corpus, job.sizes, made)
    return search(job.sizes, job.graphs, made)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
