"""`python -m latefold.eval.pages`: pages of PDFs by every route, and what codes of page vectors keep; and report.

The known-item collection is made on the first run, out of Debian packages that `apt-get download` brings; where that
cannot be had it is left out. Scans are read by OCR, which takes seconds a page, once: without them
`--collections financebench-mini known-items`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from .. import command, jobs
from ..jobs import Keeper, Result, Weighed
from .collection import COLLECTIONS, KNOWN
from .plots import draw
from .report import Report, page
from .worker import Job, Task

PROGRAM: Final = "python -m latefold.eval.pages"
PARTS: Final[Mapping[str, tuple[Task, ...]]] = {
    "routes": ("whole", "product"),
    "compression": ("compression", "staged"),
}
_VECTORS: Final = (
    "encoders/embeddings.py", "eval/truth.py", "eval/vectors.py", "eval/pages/collection.py", "eval/pages/ranking.py",
)  # fmt: skip
_CODECS: Final = ("index/**/*.py", "encoders/pooling/*.py", "eval/search/coding.py", "eval/pages/page_vectors.py")
_CODE: Final[Mapping[Task, tuple[str, ...]]] = {
    "prepare": (),
    "whole": (*_VECTORS, "eval/pages/routes.py"),
    "product": (*_VECTORS, "index/**/*.py", "retrieval/**/*.py", "ingest/*.py", "eval/pages/routes.py"),
    "compression": (
        *_VECTORS, *_CODECS, "eval/pages/compression.py", "eval/pages/poolings.py", "eval/pages/recipes.py",
    ),
    "staged": (*_VECTORS, *_CODECS, "eval/pages/staged.py"),
}  # fmt: skip
_WEIGHTS: Final[Mapping[Task, float]] = {"prepare": 0, "whole": 3, "product": 5, "compression": 40, "staged": 2}


@dataclass(frozen=True)
class Settings(command.Settings):
    """One run. parts: what to measure, of `PARTS`."""

    parts: Sequence[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    settings = _parse(arguments)
    return command.finish(lambda: run(settings))


def run(settings: Settings) -> Path:
    """Measure what was not measured before; write `pages.md` and its charts. Returns the page."""
    place = settings.place

    def perform(job: Job) -> Result:
        return jobs.perform(f"{__package__}.worker", job, place)

    present, digests, absent = command.prepared(settings.collections, lambda name: perform(Job("prepare", name)))
    planned = [
        Weighed(Job(task, name), _WEIGHTS[task] * (100 if present[name]["scanned"] and task == "product" else 1))
        for name in present
        for part in settings.parts
        for task in PARTS[part]
        if task == "product" or not present[name]["scanned"]
    ]
    keeper = Keeper(settings.cache / "results", perform, _code, {n: f"{d} {place.encoder}" for n, d in digests.items()})
    results = keeper.run_all(planned, fresh=settings.fresh, report=command.say)
    found = {(item.job.task, item.job.corpus): result for item, result in zip(planned, results, strict=True)}
    report = Report(
        {name: str(about["summary"]) for name, about in present.items()},
        absent,
        {key: result for key, result in found.items() if "absent" not in result},
        {key: str(result["absent"]) for key, result in found.items() if "absent" in result},
        _manifest(settings),
    )
    parts = "" if tuple(settings.parts) == tuple(PARTS) else f" --parts {' '.join(settings.parts)}"
    about = command.about(PROGRAM, settings, COLLECTIONS, "BM25 by `bm25s`", parts)
    settings.out.mkdir(parents=True, exist_ok=True)
    charts = draw(report, settings.out)
    return command.write(settings.out / "pages.md", lambda: page(report, charts, about))


def _manifest(settings: Settings) -> Path:
    """Of the known-item collection, where it is brought or made."""
    brought = settings.data / KNOWN / "manifest.json"
    return brought if brought.is_file() else settings.cache / "pages" / KNOWN / "manifest.json"


def _code(job: Job) -> str:
    return _digest(_CODE[job.task])


@cache
def _digest(patterns: tuple[str, ...]) -> str:
    return jobs.code_digest(jobs.files(*patterns))


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = command.options(PROGRAM, __doc__, COLLECTIONS)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="which (default: both)")
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    if given["collections"] is None:
        given["collections"] = COLLECTIONS
    return Settings(**given)


if __name__ == "__main__":
    sys.exit(main())
