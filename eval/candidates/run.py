"""Runs the measurements one after another, each in its own process, and keeps what was measured."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from ...encoders.errors import LatefoldError, StorageError
from ..corpora import Place
from .worker import Job

Result = Mapping[str, Any]
Report = Callable[[str], None]
_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_CODE: Final = ("index/**/*.py", "encoders/embeddings.py", "eval/corpora.py", "eval/truth.py", "eval/vectors.py")
_MEASURING: Final = "encodings measure nearest peers plan reductions scaling speed stores worker".split()


@dataclass(frozen=True)
class Weighed:
    """A job, and its share of the work in any unit."""

    job: Job
    weight: float


def run_all(
    jobs: Sequence[Weighed], place: Place, digests: Mapping[str, str], *, fresh: bool, report: Report
) -> list[Result]:
    """Results of jobs, in order, from the cache where the same code has measured the same before.

    digests: of each collection's vectors. fresh: measure everything again. Raises `LatefoldError` with the words of a
    process that failed; what was measured until then is kept.
    """
    code = code_digest()
    results: list[Result] = []
    left, spent, worked = sum(item.weight for item in jobs), 0.0, 0.0
    for number, item in enumerate(jobs, start=1):
        path = place.cache / "results" / f"{_key(item.job, digests[item.job.corpus], code)}.json"
        left -= item.weight
        known = None if fresh else _read(path)
        if known is None:
            start = perf_counter()
            known = perform(item.job, place)
            seconds = perf_counter() - start
            _write(path, known)
            spent, worked = spent + seconds, worked + item.weight
            about = f"; about {left * spent / worked / 60:.1f} min left" if left else ""
            report(f"[{number}/{len(jobs)}] {item.job.label}: {seconds:.0f} s{about}")
        else:
            report(f"[{number}/{len(jobs)}] {item.job.label}: measured before")
        results.append(known)
    return results


def perform(job: Job, place: Place) -> Result:
    """Run one job in a process of its own. Raises `LatefoldError` with its last words when it fails."""
    folders = {"data": str(place.data), "cache": str(place.cache)}
    argument = json.dumps({"job": asdict(job), "place": {**asdict(place), **folders}})
    command = [sys.executable, "-m", f"{__package__}.worker", argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise LatefoldError(f"measuring {job.label} failed ({done.returncode}): {done.stderr[-2000:]}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def code_digest() -> str:
    """Hash of the code that the figures depend on."""
    paths = [path for pattern in _CODE for path in sorted(_ROOT.glob(pattern))]
    paths += [Path(__file__).with_name(f"{name}.py") for name in _MEASURING]
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def _key(job: Job, corpus: str, code: str) -> str:
    text = json.dumps([asdict(job), corpus, code], sort_keys=True)
    return f"{job.corpus}-{job.task}-{job.subject or 'all'}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


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
