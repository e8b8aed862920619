"""Runs the measurements of a benchmark one after another, each in its own process, and keeps what was measured."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol

from ..encoders.errors import LatefoldError, StorageError
from .corpora import Place

Result = Mapping[str, Any]
Report = Callable[[str], None]
ROOT: Final = Path(__file__).resolve().parent.parent
"""Folder of the package."""


class Job(Protocol):
    """What to measure: a dataclass of plain values, from which a worker process makes its figures."""

    @property
    def task(self) -> str:
        """The sort of measurement."""
        ...

    @property
    def corpus(self) -> str:
        """The collection it is taken on."""
        ...

    @property
    def subject(self) -> str:
        """What is measured; may be empty."""
        ...

    @property
    def label(self) -> str:
        """For progress lines."""
        ...


@dataclass(frozen=True)
class Weighed:
    """A job, and its share of the work in any unit."""

    job: Any
    weight: float


@dataclass(frozen=True)
class Keeper:
    """How jobs are run and where their results are kept.

    perform: runs one job. code: hash of the code that the figures of a job depend on. digests: of each collection's
    vectors.
    """

    folder: Path
    perform: Callable[[Any], Result]
    code: Callable[[Any], str]
    digests: Mapping[str, str]

    def run_all(self, jobs: Sequence[Weighed], *, fresh: bool, report: Report) -> list[Result]:
        """Results of jobs, in order, from the folder where the same code has measured the same before.

        fresh: measure everything again. Raises `LatefoldError` with the words of a process that failed; what was
        measured until then is kept.
        """
        results: list[Result] = []
        left, spent, worked = sum(item.weight for item in jobs), 0.0, 0.0
        for number, item in enumerate(jobs, start=1):
            path = self.folder / f"{self._key(item.job)}.json"
            left -= item.weight
            known = None if fresh else _read(path)
            if known is None:
                start = perf_counter()
                known = self.perform(item.job)
                seconds = perf_counter() - start
                _write(path, known)
                spent, worked = spent + seconds, worked + item.weight
                about = f"; about {left * spent / worked / 60:.1f} min left" if left else ""
                report(f"[{number}/{len(jobs)}] {item.job.label}: {seconds:.0f} s{about}")
            else:
                report(f"[{number}/{len(jobs)}] {item.job.label}: measured before")
            results.append(known)
        return results

    def _key(self, job: Job) -> str:
        text = json.dumps([_fields(job), self.digests[job.corpus], self.code(job)], sort_keys=True)
        return f"{job.corpus}-{job.task}-{job.subject or 'all'}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def perform(worker: str, job: Job, place: Place) -> Result:
    """Run one job in a process of its own, by the module `worker`. Raises `LatefoldError` with its last words."""
    folders = {"data": str(place.data), "cache": str(place.cache)}
    argument = json.dumps({"job": _fields(job), "place": {**asdict(place), **folders}})
    command = [sys.executable, "-m", worker, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise LatefoldError(f"measuring {job.label} failed ({done.returncode}): {done.stderr[-2000:]}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def code_digest(paths: Iterable[Path]) -> str:
    """Hash of the files that figures depend on."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def files(*patterns: str) -> list[Path]:
    """Files of the package by patterns, in order."""
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def _fields(job: Any) -> dict[str, Any]:
    return asdict(job)


def _read(path: Path) -> Result | None:
    try:
        known: Result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known


def _write(path: Path, result: Result) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"figures cannot be kept in {path.parent}: {error.strerror}") from error
