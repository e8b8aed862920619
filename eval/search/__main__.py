"""`python -m latefold.eval.search`: measure token codes, MaxSim kernels and whole search against others, and report."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from ... import __version__
from ...encoders.errors import InvalidInputError, LatefoldError, MissingExtraError, StorageError
from ..corpora import PACKAGES, PACKAGES_FEW, PACKAGES_HEAD, Place
from ..jobs import Result
from ..machine import describe
from .pages import page
from .peers import versions
from .plan import Plan
from .plots import draw
from .report import Report
from .run import home, perform, planned, run_all
from .worker import Job

COLLECTIONS = ("scifact", "cranfield", "cisi", PACKAGES_FEW, PACKAGES_HEAD, PACKAGES)
QUICK = ("scifact", PACKAGES_HEAD)


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
    large_peers: bool


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
    """Measure what was not measured before; write `search.md` and its charts. Returns the page."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError("the benchmark", "bench")
    place = Place(settings.data, settings.cache, settings.encoder, settings.quick)
    plan = Plan(settings.quick, settings.large_peers)
    present, absent = _prepare(settings.collections, place)
    if not present:
        raise InvalidInputError("no collection can be measured: " + "; ".join(absent.values()))
    digests = {name: str(result["digest"]) for name, result in present.items()}
    if settings.fresh:
        for name, digest in digests.items():
            for engine in plan.built(name):
                shutil.rmtree(settings.cache / home(engine, digest), ignore_errors=True)
    weighed = planned(present, plan, place)
    results = run_all(weighed, place, digests, fresh=settings.fresh, report=_say)
    found = list(zip([item.job for item in weighed], results, strict=True))
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


def _about(settings: Settings) -> str:
    usual = QUICK if settings.quick else COLLECTIONS
    options = "" if tuple(settings.collections) == usual else f" --collections {' '.join(settings.collections)}"
    options += " --quick" * settings.quick + " --large-peers" * settings.large_peers
    return "\n".join(
        [
            f"- Date: {datetime.now(UTC):%Y-%m-%d}, latefold {__version__}, encoder {settings.encoder}",
            describe(),
            f"- Peers: {versions()}",
            f"- Again: `python -m latefold.eval.search --data DATA{options}`, DATA being a folder of BEIR folders",
        ]
    )


def _write(out: Path, report: Report, about: str) -> Path:
    path = out / "search.md"
    try:
        out.mkdir(parents=True, exist_ok=True)
        charts = draw(report, out)
        path.write_text(page(report, charts, about), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"the reports cannot be written to {out}: {error.strerror}") from error
    return path


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m latefold.eval.search", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds one BEIR folder a collection")
    parser.add_argument("--out", type=Path, default=Path("eval/reports"), help="where the reports go (%(default)s)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(".cache/bench"),
        help="what can be used again (%(default)s)",
    )
    parser.add_argument("--collections", nargs="+", metavar="NAME", help=f"which (default: {' '.join(COLLECTIONS)})")
    parser.add_argument("--encoder", default="default", help="name or path of an encoder (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few hundred documents of each collection, in seconds")
    parser.add_argument("--fresh", action="store_true", help="build and measure again what was measured before")
    parser.add_argument(
        "--large-peers",
        action="store_true",
        help="TACHIOM on the largest collection too, whose build takes long",
    )
    given = vars(parser.parse_args(arguments))
    if given["collections"] is None:
        given["collections"] = QUICK if given["quick"] else COLLECTIONS
    return Settings(**given)


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
