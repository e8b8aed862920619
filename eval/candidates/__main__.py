"""`python -m latefold.eval.candidates`: measure how well one vector a document finds candidates, and report it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import command
from ..corpora import COLLECTIONS, PACKAGES, PACKAGES_HEAD
from ..jobs import Result, Weighed
from .pages import page
from .peers import versions
from .plan import Depth, recipes
from .plots import draw
from .report import Report
from .run import perform, run_all
from .worker import Job

PROGRAM: Final = "python -m latefold.eval.candidates"
SIZES = (10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
GRAPHS = (50_000, 200_000, 1_000_000)
_ENCODER: Final = "minilm"
"""Its vectors were trained neither for this nor for the texts: a harder case than those of the default encoder."""
_QUICK_SIZES = (100, 200, 400)
_WEIGHTS: Mapping[str, float] = {
    "muvera-10240": 4,
    "muvera-10240-bare": 4,
    "cv-fde-10240": 4,
    "muvera-python": 4,
    "learned": 4,
}


@dataclass(frozen=True)
class Settings(command.Settings):
    """One run; largest: documents at the end of the scaling series."""

    largest: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    settings = _parse(arguments)
    return command.finish(lambda: run(settings))


def run(settings: Settings) -> Path:
    """Measure what was not measured before; write `candidates.md` and its charts. Returns the page."""
    place = settings.place
    present, digests, absent = command.prepared(
        settings.collections, lambda name: perform(Job("prepare", name, threads=None), place)
    )
    jobs = _jobs(present, settings)
    results = run_all(jobs, place, digests, fresh=settings.fresh, report=command.say)
    found = list(zip([item.job for item in jobs], results, strict=True))
    report = Report(found, {name: str(result["summary"]) for name, result in present.items()}, absent)
    about = command.about(PROGRAM, settings, COLLECTIONS, versions())
    return command.write(settings.out / "candidates.md", lambda: page(report, draw(report, settings.out), about))


def _jobs(present: Mapping[str, Result], settings: Settings) -> list[Weighed]:
    """Everything that is measured, with its weight."""
    jobs = []
    rounds = 1 if settings.quick else 5
    for name, result in present.items():
        documents = int(result["documents"])
        depth: Depth = "quick" if settings.quick else "full" if name == PACKAGES_HEAD else "usual"
        jobs += [
            Weighed(Job("matrix", name, recipe, depth, rounds), _WEIGHTS.get(recipe, 1) * (documents + 2_000))
            for recipe in recipes(name, quick=settings.quick)
        ]
    contests = ((PACKAGES, "pooled"), (PACKAGES_HEAD, "folded"))
    jobs += [Weighed(Job("nearest", name, subject), 400_000) for name, subject in contests if name in present]
    if PACKAGES_HEAD in present and not settings.quick:
        jobs.append(Weighed(Job("speed", PACKAGES_HEAD, rounds=9), 20_000))
    series = PACKAGES if PACKAGES in present else next(iter(present))
    sizes = _QUICK_SIZES if settings.quick else tuple(size for size in SIZES if size <= settings.largest)
    jobs.append(Weighed(Job("scale-build", series, sizes=sizes, threads=None), 0.6 * max(sizes)))
    graphs = sizes[:1] if settings.quick else GRAPHS
    jobs.append(Weighed(Job("scale-search", series, sizes=sizes, graphs=graphs, threads=None), 0.6 * max(sizes)))
    return jobs


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = command.options(PROGRAM, __doc__, COLLECTIONS)
    parser.set_defaults(encoder=_ENCODER)
    parser.add_argument(
        "--largest", type=int, default=SIZES[-1], help="documents at the end of the scaling series (%(default)s)"
    )
    given = vars(parser.parse_args(arguments))
    return Settings(**{**given, "collections": given["collections"] or COLLECTIONS})


if __name__ == "__main__":
    sys.exit(main())
