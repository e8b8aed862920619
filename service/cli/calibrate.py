"""`calibrate`: fitting the candidate stage of an index, and how its measured recall is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ...encoders.errors import InvalidInputError, StorageError
from .arguments import IndexPath, Offline, Threads
from .console import Output, size

TargetRecall = Annotated[
    float | None,
    typer.Option(
        "--target-recall",
        min=0.01,
        max=1.0,
        help="Share of the exact top 10 wanted among the candidates; 0.95 unless the index says otherwise.",
        show_default=False,
    ),
]


def calibrate(
    output: Output,
    path: IndexPath,
    target_recall: TargetRecall = None,
    queries: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Real queries, one a line; half are fitted to, half judge."),
    ] = None,
    refit: Annotated[
        bool | None,
        typer.Option("--refit/--no-refit", help="Fit again or not; left out, when it is due.", show_default=False),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the measured recall here, as SVG.")] = None,
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Measure candidate recall against exact MaxSim, and set the index so that it reaches a target.

    Fits the single vector per document to the index when that is due, tries its dimensions and bits, and keeps what is
    cheapest at the target. Exact scores never change.

    --json: {"calibration"} as in `stats`; null where there are too few documents.
    """
    from ...retrieval.index import Index

    asked = None if queries is None else read_queries(queries, least=2, what="calibrating")
    with Index.open(path, threads=threads, offline=offline) as index, output.progress() as report:
        measured = index.calibrate(report, target_recall=target_recall, queries=asked, refit=refit)
    facts = None if measured is None else measured.to_dict()
    if plot is not None:
        write_plot(plot, facts)
    if output.as_json:
        output.json({"calibration": facts})
        return
    from .render import show_facts

    show_facts(output, describe_calibration(facts))


def read_queries(path: Path, *, least: int, what: str) -> list[str]:
    """Queries of a text file, one a line. Raises `InvalidInputError` when it cannot be read or has fewer than `least`.

    what: the work that takes so many, for the message.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"queries cannot be read from {path}: {error}") from error
    found = [line for line in lines if line]
    if len(found) < least:
        raise InvalidInputError(f"{path} has {len(found)} queries; {what} takes at least {least}, one a line")
    return found


def describe_calibration(measured: Mapping[str, Any] | None) -> dict[str, str]:
    """What a calibration found, in words."""
    if measured is None:
        return {"measured recall": "not measured (too few documents, or interrupted; run calibrate)"}
    asked = "real queries" if measured["real"] else "passages as queries"
    facts = {
        "measured recall": f"{measured['recall']:.3f} of the exact top 10 among {measured['candidates']} candidates "
        f"({measured['queries']} {asked} on {measured['documents']:,} documents, target {measured['target']})",
        "recall of top 10": curve_text(measured["curve"]),
        "recall of top 100": curve_text(measured["curve_100"]),
    }
    if measured["options"]:
        facts["chosen"] = f"{measured['single']}, {size(measured['bytes'])} a document, from:"
        for option in sorted(measured["options"], key=lambda option: option["bytes"]):
            count = option["candidates"]
            enough = f"{count} candidates" if count else f"not reached ({option['curve'][-1][1]:.3f} at most)"
            facts[f"  {option['single']}"] = f"{size(option['bytes'])}, {enough}"
    for option in measured.get("codecs", ()):
        name = f"codec {option['codec']}"
        facts[name] = f"{option['bytes']} bytes a token, keeps {option['kept']:.3f} of the exact top 10"
    if measured.get("refined"):
        facts["second level"] = f"ranks the best {measured['refined']} of the candidates"
    if measured["drift"] is not None:
        facts["drift"] = f"{measured['drift']:.2f} times the misfit of the documents it was fitted to"
    if measured["warning"]:
        facts["warning"] = measured["warning"]
    return facts


def curve_text(curve: list[tuple[int, float]]) -> str:
    """A recall curve on one line."""
    return "  ".join(f"{count}: {recall:.3f}" for count, recall in curve)


def write_plot(path: Path, measured: Mapping[str, Any] | None) -> None:
    """Draw a calibration to a file. Raises `InvalidInputError` when there is none, `StorageError` on a bad path."""
    from ..curve import recall_svg

    if measured is None:
        raise InvalidInputError("there is no calibration to draw: the index has too few documents, or run calibrate")
    try:
        path.write_text(recall_svg(measured), encoding="utf-8")
    except OSError as error:
        raise StorageError(error.errno, f"the plot cannot be written to {path}: {error.strerror}") from error
