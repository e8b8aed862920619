"""`python -m latefold.eval.bench`: measure quality on real collections, and speed and size; write both as reports."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from .. import __version__
from ..encoders.base import Encoder, Progress, load_encoder
from ..encoders.errors import LatefoldError, MissingExtraError, StorageError
from ..retrieval.index import Index
from .beir import load_beir
from .comparison import MODES, Comparison, compare
from .machine import describe
from .systems import Systems, build, footprint, latency
from .tables import plot_quality, quality_page, systems_page

COLLECTIONS = ("scifact", "cranfield", "cisi", "cacm")
_FOOTPRINT_DOCUMENTS = 5000


@dataclass(frozen=True)
class Settings:
    """One run: BEIR folders lie under `data`, reports go to `out`; the first collection is the one that is timed."""

    data: Path
    out: Path
    collections: Sequence[str]
    encoder: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    settings = _parse(arguments)
    try:
        with shown_progress() as progress:
            pages = run(settings, progress)
    except LatefoldError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for page in pages:
        sys.stdout.write(f"{page.read_text(encoding='utf-8')}\nwritten to {page}\n\n")
    return 0


def run(settings: Settings, progress: Progress | None = None) -> list[Path]:
    """Measure and write `quality.md`, `quality.png` and `systems.md`; returns the two pages."""
    _require_extra()
    datasets = [load_beir(settings.data / name) for name in settings.collections]
    memory = footprint(settings.data / settings.collections[0], settings.encoder, _FOOTPRINT_DOCUMENTS)
    encoder = load_encoder(settings.encoder)
    results: list[Comparison] = []
    systems = None
    for dataset in datasets:
        with tempfile.TemporaryDirectory(prefix="latefold-bench-") as folder:
            path = Path(folder) / "collection.index"
            with Index.create(path, encoder=encoder) as index:
                built = build(dataset, index, encoder, progress)
                if systems is None:
                    times = [latency(dataset, path, mode) for mode in MODES]
                    systems = Systems(dataset.name, built, times, index.stats(), memory)
                results.append(compare(dataset, index, built.pooled, progress))
    about = _about(settings, encoder)
    pages = {"quality.md": quality_page(results, about)}
    if systems is not None:
        pages["systems.md"] = systems_page(systems, about)
    return _write(settings.out, pages, results)


def _require_extra() -> None:
    """Say what is missing before minutes of work, not after."""
    if any(find_spec(module) is None for module in ("bm25s", "Stemmer", "matplotlib")):
        raise MissingExtraError("the benchmark", "bench")


def _write(out: Path, pages: Mapping[str, str], results: Sequence[Comparison]) -> list[Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (out / name).write_text(text, encoding="utf-8")
        plot_quality(results, out / "quality.png")
    except OSError as error:
        raise StorageError(f"the reports cannot be written to {out}: {error.strerror}") from error
    return [out / name for name in pages]


def _about(settings: Settings, encoder: Encoder) -> str:
    chosen = "" if tuple(settings.collections) == COLLECTIONS else f" --collections {' '.join(settings.collections)}"
    return "\n".join(
        [
            f"- Date: {datetime.now(UTC):%Y-%m-%d}, latefold {__version__}, encoder {encoder.fingerprint}",
            describe(),
            f"- Again: `python -m latefold.eval.bench --data DATA{chosen}`, DATA being a folder of BEIR folders",
        ]
    )


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m latefold.eval.bench", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds one BEIR folder a collection")
    parser.add_argument("--out", type=Path, default=Path("eval/reports"), help="where the reports go (%(default)s)")
    parser.add_argument(
        "--collections",
        nargs="+",
        default=COLLECTIONS,
        metavar="NAME",
        help=f"which collections; speed and size are measured on the first (default: {' '.join(COLLECTIONS)})",
    )
    parser.add_argument("--encoder", default="default", help="name or path of an encoder (%(default)s)")
    return Settings(**vars(parser.parse_args(arguments)))


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress on standard error: a bar a phase on a terminal, a line a phase elsewhere."""
    if not sys.stderr.isatty():
        yield _report_line
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    phases: list[tuple[str, TaskID]] = []
    with Bars(*Bars.get_default_columns(), console=Console(stderr=True)) as bars:

        def report(phase: str, done: int, total: int | None) -> None:
            if not phases or phases[-1][0] != phase:
                phases.append((phase, bars.add_task(phase, total=total)))
            bars.update(phases[-1][1], completed=done, total=total)

        yield report


def _report_line(phase: str, done: int, total: int | None) -> None:
    if done == total:
        sys.stderr.write(f"{phase}: {done}\n")


if __name__ == "__main__":
    sys.exit(main())
