"""Charts of the page on candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ...encoders.errors import MissingExtraError
from .measure import ASKED
from .report import Report, Row

_CUT: Final = str(ASKED)
_MARKS: Final = MappingProxyType({"f32": "o", "LVQ-8": "D", "LVQ-4": "s", "LVQ-4x8": "^", "faiss HNSW": "v"})


def draw(report: Report, folder: Path) -> dict[str, str]:
    """Write the charts; file name to title. Raises `MissingExtraError` without the extra `bench`."""
    charts: dict[str, tuple[str, Callable[[Any], None]]] = {
        "candidates-bytes.png": (
            f"Recall of the exact top 10 within {ASKED} candidates against bytes a document",
            lambda figure: _by_collection(figure, report, "bytes", "bytes a document"),
        ),
        "candidates-time.png": (
            f"Recall of the exact top 10 within {ASKED} candidates against CPU milliseconds a query",
            lambda figure: _by_collection(figure, report, "query_ms", "CPU ms a query"),
        ),
        "candidates-growth.png": (
            "Build time, memory and search time against the number of documents",
            lambda figure: _growth(figure, report),
        ),
    }
    for file, (_, paint) in charts.items():
        figure = _figure()
        paint(figure)
        figure.savefig(folder / file, dpi=110)
    return {file: title for file, (title, _) in charts.items()}


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the charts", "bench") from error
    return Figure(figsize=(12, 7.5), layout="constrained")


def _by_collection(figure: Any, report: Report, measure: str, label: str) -> None:
    """A panel a collection; a colour an encoding, a mark a store, a line along the dimensions of a reduction.

    Lines are dotted for reductions other than Sphering to pseudo-queries.
    """
    collections = [c for c in report.summaries if any(_CUT in row["recall"] for row in report.rows(c))]
    if not collections:
        return
    columns = min(3, len(collections))
    panels = figure.subplots(-(-len(collections) // columns), columns, squeeze=False).ravel()
    order = list(dict.fromkeys(row["encoding"] for c in collections for row in report.rows(c)))
    colours: dict[str, Any] = {}
    marks: dict[str, Any] = {}
    for axes, collection in zip(panels, collections, strict=False):
        rows = report.rows(collection)
        for encoding in dict.fromkeys(row["encoding"] for row in rows):
            for (fitted, store), group in _groups([row for row in rows if row["encoding"] == encoding]).items():
                points = sorted((row[measure], row["recall"][_CUT]) for row in group)
                colour = f"C{order.index(encoding) % 10}"
                style = {"color": colour, "marker": _MARKS[store], "markersize": 5, "alpha": 0.8}
                dashes = "-" if fitted in ("", "Sphering") else ":"
                (line,) = axes.plot(*zip(*points, strict=True), linestyle=dashes, linewidth=0.8, **style)
                colours.setdefault(encoding, line)
                marks.setdefault(store, axes.plot([], [], _MARKS[store], color="black", markersize=5)[0])
        axes.set_xscale("log")
        axes.set_title(collection, fontsize="medium")
        axes.set_xlabel(label)
        axes.set_ylabel(f"recall in {ASKED}")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(collections) :]:
        axes.set_visible(False)
    handles, labels = [*colours.values(), *marks.values()], [*colours, *marks]
    figure.legend(handles, labels, loc="outside lower center", ncols=7, fontsize="small", frameon=False)


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows that differ in dimensions only."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        fitted = row["reduction"].replace(str(row["dim"]), "").strip()
        groups.setdefault((fitted, row["store"]), []).append(row)
    return groups


def _growth(figure: Any, report: Report) -> None:
    built = [point for _, result in report.of("scale-build") for point in result["points"]]
    searched = [point for _, result in report.of("scale-search") for point in result["points"]]
    panels = figure.subplots(1, 3)
    sizes = [point["documents"] for point in built]
    panels[0].plot(sizes, [point["cpu_seconds"] for point in built], "o-", label="build, CPU s")
    panels[0].plot(sizes, [point["wall_seconds"] for point in built], "s-", label="build, s")
    panels[1].plot(sizes, [point["peak"] / 2**20 for point in built], "o-", label="peak memory of the build, MiB")
    panels[1].plot(sizes, [p["bytes"] * p["documents"] / 2**20 for p in built], "s-", label="codes, MiB")
    sizes = [point["documents"] for point in searched]
    panels[2].plot(sizes, [point["scan_ms"] for point in searched], "o-", label="scan, CPU ms")
    memory = [p["scan_ms"] * p["scan_rate"] / p["read_rate"] for p in searched]
    panels[2].plot(sizes, memory, "k--", label="reading the codes, ms")
    linked = [point for point in searched if point["graph"]]
    for number, beam in enumerate(linked[0]["graph"] if linked else []):
        times = [point["graph"][number]["query_ms"] for point in linked]
        panels[2].plot([p["documents"] for p in linked], times, "^-", label=f"graph, beam {beam['beam']}, CPU ms")
    for axes in panels:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("documents")
        axes.legend(fontsize="small", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
