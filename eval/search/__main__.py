"""`python -m latefold.eval.search`: measure token codes, MaxSim kernels and whole search against others, and report."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import command
from ..corpora import PACKAGES, PACKAGES_FEW, PACKAGES_HEAD
from .pages import page
from .peers import versions
from .plan import Plan
from .plots import draw
from .report import Report
from .run import home, perform, planned, run_all
from .worker import Job

PROGRAM: Final = "python -m latefold.eval.search"
COLLECTIONS = ("scifact", "cranfield", "cisi", PACKAGES_FEW, PACKAGES_HEAD, PACKAGES)
QUICK = ("scifact", PACKAGES_HEAD)
_ENCODER: Final = "minilm"
"""Codecs are judged at all of its 384 dimensions as well as at the first 128."""


@dataclass(frozen=True)
class Settings(command.Settings):
    """One run; large_peers: TACHIOM on the largest collection too."""

    large_peers: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    settings = _parse(arguments)
    return command.finish(lambda: run(settings))


def run(settings: Settings) -> Path:
    """Measure what was not measured before; write `search.md` and its charts. Returns the page."""
    place, plan = settings.place, Plan(settings.quick, settings.large_peers)
    present, digests, absent = command.prepared(
        settings.collections, lambda name: perform(Job("prepare", name, threads=None), place)
    )
    if settings.fresh:
        for name, digest in digests.items():
            for engine in plan.built(name):
                shutil.rmtree(settings.cache / home(engine, digest), ignore_errors=True)
    weighed = planned(present, plan, place)
    results = run_all(weighed, place, digests, fresh=settings.fresh, report=command.say)
    found = list(zip([item.job for item in weighed], results, strict=True))
    report = Report(found, {name: str(result["summary"]) for name, result in present.items()}, absent)
    usual, more = QUICK if settings.quick else COLLECTIONS, " --large-peers" * settings.large_peers
    about = command.about(PROGRAM, settings, usual, versions(), more)
    return command.write(settings.out / "search.md", lambda: page(report, draw(report, settings.out), about))


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = command.options(PROGRAM, __doc__, COLLECTIONS)
    parser.set_defaults(encoder=_ENCODER)
    parser.add_argument(
        "--large-peers",
        action="store_true",
        help="TACHIOM on the largest collection too, whose build takes long",
    )
    given = vars(parser.parse_args(arguments))
    if given["collections"] is None:
        given["collections"] = QUICK if given["quick"] else COLLECTIONS
    return Settings(**given)


if __name__ == "__main__":
    sys.exit(main())
