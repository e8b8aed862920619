"""What the commands of the benchmarks share that keep their measurements: options, collections, progress, the page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from .. import __version__
from ..encoders.errors import InvalidInputError, LatefoldError, MissingExtraError, StorageError
from .corpora import Place
from .jobs import Result
from .machine import describe


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

    @property
    def place(self) -> Place:
        """Where measurements find their data."""
        return Place(self.data, self.cache, self.encoder, self.quick)


def finish(run: Callable[[], Path]) -> int:
    """Print the page that `run` writes, or its error; returns the exit status."""
    try:
        path = run()
    except LatefoldError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{path.read_text(encoding='utf-8')}\nwritten to {path}\n")
    return 0


def options(program: str, description: str | None, usual: Sequence[str]) -> argparse.ArgumentParser:
    """A parser of the options that every `Settings` has; collections are None where they are not given."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds one BEIR folder a collection")
    parser.add_argument("--out", type=Path, default=Path("eval/reports"), help="where the reports go (%(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/bench"), help="vectors and figures to use again (%(default)s)"
    )
    parser.add_argument("--collections", nargs="+", metavar="NAME", help=f"which (default: {' '.join(usual)})")
    parser.add_argument("--encoder", default="default", help="name or path of an encoder (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few hundred documents of each collection, in seconds")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    return parser


def prepared(
    names: Sequence[str], prepare: Callable[[str], Result]
) -> tuple[Mapping[str, Result], Mapping[str, str], Mapping[str, str]]:
    """Collections whose vectors and exact rankings are there or can be made, digests of their vectors, and why not.

    Raises `InvalidInputError` when there is none, and `MissingExtraError` without what draws the charts.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("the benchmark", "bench")
    present: dict[str, Result] = {}
    absent: dict[str, str] = {}
    for name in names:
        say(f"vectors and exact rankings of {name}")
        result = prepare(name)
        if "absent" in result:
            absent[name] = str(result["absent"])
            say(f"{name} is left out: {absent[name]}")
        else:
            present[name] = result
    if not present:
        raise InvalidInputError("no collection can be measured: " + "; ".join(absent.values()))
    return present, {name: str(result["digest"]) for name, result in present.items()}, absent


def about(program: str, settings: Settings, usual: Sequence[str], peers: str, more: str = "") -> str:
    """Lines on when, where and against what was measured, and how to do it again.

    more: the options that not every `Settings` has, each after a space.
    """
    chosen = "" if tuple(settings.collections) == tuple(usual) else f" --collections {' '.join(settings.collections)}"
    again = f"{program} --data DATA{chosen}{' --quick' * settings.quick}{more}"
    return "\n".join(
        [
            f"- Date: {datetime.now(UTC):%Y-%m-%d}, latefold {__version__}, encoder {settings.encoder}",
            describe(),
            f"- Peers: {peers}",
            f"- Again: `{again}`, DATA being a folder of BEIR folders",
        ]
    )


def write(path: Path, text: Callable[[], str]) -> Path:
    """Write the page that `text` makes, with its charts, in the same folder. Raises `StorageError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"the reports cannot be written to {path.parent}: {error.strerror}") from error
    return path


def say(line: str) -> None:
    """A line of progress, with the time."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stderr.flush()
