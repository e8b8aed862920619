"""The jobs of this benchmark: how each is run, and which code its figures depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .. import jobs
from ..corpora import Place
from ..jobs import Keeper, Report, Result, Weighed
from .worker import Job

_CODE: Final = ("index/**/*.py", "encoders/embeddings.py", "eval/corpora.py", "eval/truth.py", "eval/vectors.py")
_MEASURING: Final = "encodings measure nearest peers plan reductions scaling speed stores worker".split()


def run_all(
    weighed: Sequence[Weighed], place: Place, digests: Mapping[str, str], *, fresh: bool, report: Report
) -> list[Result]:
    """Results of jobs, in order; see `Keeper.run_all`."""
    code = code_digest()
    keeper = Keeper(place.cache / "results", lambda job: perform(job, place), lambda _: code, digests)
    return keeper.run_all(weighed, fresh=fresh, report=report)


def perform(job: Job, place: Place) -> Result:
    """Run one job in a process of its own. Raises `LatefoldError` with its last words when it fails."""
    return jobs.perform(f"{__package__}.worker", job, place)


def code_digest() -> str:
    """Hash of the code that the figures depend on."""
    return jobs.code_digest(jobs.files(*_CODE) + [Path(__file__).with_name(f"{name}.py") for name in _MEASURING])
