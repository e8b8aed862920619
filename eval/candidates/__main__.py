"""`python -m latefold.eval.candidates`: measure how well one vector a document finds candidates, and report it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from ... import __version__
from ...encoders.errors import InvalidInputError, LatefoldError, MissingExtraError, StorageError
from ..corpora import COLLECTIONS, PACKAGES, PACKAGES_HEAD, Place
from ..jobs import Result, Weighed
from ..machine import describe
from .pages import page
from .peers import versions
from .plan import Depth, recipes
from .plots import draw
from .report import Report
from .run import perform, run_all
from .worker import Job

SIZES = (10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
GRAPHS = (50_000, 200_000, 1_000_000)
_QUICK_SIZES = (100, 200, 400)
_WEIGHTS: Mapping[str, float] = {
    "muvera-10240": 4,
    "muvera-10240-bare": 4,
    "cv-fde-10240": 4,
    "muvera-python": 4,
    "learned": 4,
}


@dataclass(frozen=True)
class Settings:
    """One run: BEIR folders lie under `data`, reports go to `out`, what can be used again to `cache`."""

    data: Path
    out: Path
    cache: Path
    collections: Sequence[str]
    encoder: str
    quick: bool
    fresh: bool
    largest: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    settings = _parse(arguments)
    try:
        path = run(settings)
    except LatefoldError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{path.read_text(encoding='utf-8')}\nwritten to {path}\n")
    return 0


def run(settings: Settings) -> Path:
    """Measure what was not measured before; write `candidates.md` and its charts. Returns the page."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError("the benchmark", "bench")
    place = Place(settings.data, settings.cache, settings.encoder, settings.quick)
    present, absent = _prepare(settings.collections, place)
    if not present:
        raise InvalidInputError("no collection can be measured: " + "; ".join(absent.values()))
    jobs = _jobs(present, settings)
    digests = {name: str(result["digest"]) for name, result in present.items()}
    results = run_all(jobs, place, digests, fresh=settings.fresh, report=_say)
    found = list(zip([item.job for item in jobs], results, strict=True))
    report = Report(found, {name: str(result["summary"]) for name, result in present.items()}, absent)
    return _write(settings.out, report, _about(settings))


def _prepare(names: Sequence[str], place: Place) -> tuple[dict[str, Result], dict[str, str]]:
    """Vectors and exact rankings of each collection, made where they are missing; and why some cannot be had."""
    present, absent = {}, {}
    for name in names:
        _say(f"vectors and exact rankings of {name}")
        result = perform(Job("prepare", name, threads=None), place)
        if "absent" in result:
            absent[name] = str(result["absent"])
            _say(f"{name} is left out: {absent[name]}")
        else:
            present[name] = result
    return present, absent


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


def _about(settings: Settings) -> str:
    options = "" if tuple(settings.collections) == COLLECTIONS else f" --collections {' '.join(settings.collections)}"
    options += " --quick" if settings.quick else ""
    return "\n".join(
        [
            f"- Date: {datetime.now(UTC):%Y-%m-%d}, latefold {__version__}, encoder {settings.encoder}",
            describe(),
            f"- Peers: {versions()}",
            f"- Again: `python -m latefold.eval.candidates --data DATA{options}`, DATA being a folder of BEIR folders",
        ]
    )


def _write(out: Path, report: Report, about: str) -> Path:
    path = out / "candidates.md"
    try:
        out.mkdir(parents=True, exist_ok=True)
        charts = draw(report, out)
        path.write_text(page(report, charts, about), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"the reports cannot be written to {out}: {error.strerror}") from error
    return path


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m latefold.eval.candidates", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds one BEIR folder a collection")
    parser.add_argument("--out", type=Path, default=Path("eval/reports"), help="where the reports go (%(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/bench"), help="vectors and figures to use again (%(default)s)"
    )
    parser.add_argument(
        "--collections", nargs="+", default=COLLECTIONS, metavar="NAME", help="which (default: %(default)s)"
    )
    parser.add_argument("--encoder", default="default", help="name or path of an encoder (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few hundred documents of each collection, in seconds")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument(
        "--largest", type=int, default=SIZES[-1], help="documents at the end of the scaling series (%(default)s)"
    )
    return Settings(**vars(parser.parse_args(arguments)))


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
