"""Charts of the page on search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...encoders.errors import MissingExtraError
from .quality_pages import kept, shares
from .report import Report, Row

_FLOOR = 0.8


def draw(report: Report, folder: Path) -> dict[str, str]:
    """Write the charts; file name to title. Raises `MissingExtraError` without the extra `bench`."""
    charts: dict[str, tuple[str, Callable[[Any], None], bool]] = {
        "search-recall.png": (
            "Recall of the exact top 10 against CPU milliseconds a query, one thread",
            lambda figure: _recall(figure, report),
            bool(report.searched()),
        ),
        "search-bytes.png": (
            "nDCG@10 as a share of that of half precision vectors against bytes a token",
            lambda figure: _bytes(figure, report),
            any(True for _ in report.of("quality")),
        ),
    }
    drawn = {}
    for file, (title, paint, present) in charts.items():
        if present:
            figure = _figure()
            paint(figure)
            figure.savefig(folder / file, dpi=110)
            drawn[file] = title
    return drawn


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the charts", "bench") from error
    return Figure(figsize=(12, 5.5), layout="constrained")


def _recall(figure: Any, report: Report) -> None:
    """A panel a collection, a line an engine; exhaustive settings are stars."""
    corpora = report.searched()
    panels = figure.subplots(1, len(corpora), squeeze=False)[0]
    for axes, corpus in zip(panels, corpora, strict=True):
        by_engine: dict[str, list[Row]] = {}
        for row in report.answers(corpus, 10).values():
            by_engine.setdefault(row["engine"], []).append(row)
        for number, (engine, rows) in enumerate(by_engine.items()):
            colour, dashes = f"C{number % 10}", "-" if engine.startswith("latefold") else "--"
            line = sorted((row["cpu_ms"], row["recall"]) for row in rows if row["setting"] != "exhaustive")
            star = [(row["cpu_ms"], row["recall"]) for row in rows if row["setting"] == "exhaustive"]
            if line:
                axes.plot(*zip(*line, strict=True), dashes, marker="o", markersize=4, color=colour, label=engine)
            if star:
                label = None if line else engine
                axes.plot(*zip(*star, strict=True), "*", markersize=10, color=colour, label=label)
        axes.set_ylim(_FLOOR, 1.005)
        _decorate(axes, corpus, "CPU ms a query (stars: exhaustive)", "recall@10")


def _bytes(figure: Any, report: Report) -> None:
    """A panel a number of dimensions; a mark a codec, its height the mean over collections, a bar to the least."""
    dims = list(dict.fromkeys(job.dim for job, _ in report.of("quality")))
    panels = figure.subplots(1, len(dims), squeeze=False)[0]
    for axes, dim in zip(panels, dims, strict=True):
        rows = kept(report, dim)
        for number, codec in enumerate(rows):
            part = shares(rows, codec)
            if not part:
                continue
            mean, size = sum(part.values()) / len(part), next(iter(rows[codec].values()))["bytes"]
            mark = "s" if "+" in codec else "o"
            axes.plot([size, size], [min(part.values()), max(part.values())], "-", color=f"C{number % 10}", alpha=0.5)
            axes.plot([size], [mean], mark, color=f"C{number % 10}")
            axes.annotate(codec, (size, mean), textcoords="offset points", xytext=(5, -3), fontsize="x-small")
        _decorate(axes, f"{dim} dimensions", "bytes a token (bars: collections)", "share of nDCG@10 kept", legend=False)


def _decorate(axes: Any, title: str, x: str, y: str, *, legend: bool = True) -> None:
    axes.set_xscale("log")
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(fontsize="x-small", frameon=False)
