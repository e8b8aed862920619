"""The chart of the page: what accuracy costs in bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ...encoders.errors import MissingExtraError
from .plan import NESTED
from .report import Report, System

FILE: Final = "encoder-frontier.png"
TITLE: Final = "Mean nDCG@10 over the collections against bytes a document of LVQ-8 codes"


def draw(report: Report, folder: Path) -> dict[str, str]:
    """Write the chart; file name to title. Raises `MissingExtraError` without the extra `bench`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the chart", "bench") from error
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for number, (label, systems) in enumerate(_families(report).items()):
        points = sorted(point for point in (_point(report, system) for system in systems) if point is not None)
        if points:
            ours = "CRISP" in label
            x, y = [point[0] for point in points], [point[1] for point in points]
            axes.plot(x, y, "-" if ours else "--", marker="o", color=f"C{number % 10}", label=_plain(label))
            for size, level, name in points if ours else ():
                axes.annotate(name, (size, level), textcoords="offset points", xytext=(4, 5), fontsize="x-small")
    _marks(axes, report, {system for systems in _families(report).values() for system in systems})
    axes.set_xscale("log")
    axes.set_xlabel("bytes a document")
    axes.set_ylabel("nDCG@10")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", frameon=False, loc="lower right")
    figure.savefig(folder / FILE, dpi=110)
    return {FILE: TITLE}


def _families(report: Report) -> dict[str, list[System]]:
    """A line each: a way of pooling with all its sizes and the unpooled vectors, and the nested dimensions."""
    found: dict[str, list[System]] = {}
    for pooling in report.plan.sizes:
        for system in report.at(pooling):
            start = [report.unpooled(system.encoder, system.variant.dim)] if system.variant else []
            found.setdefault(report.family(system), start).append(system)
    encoder = report.plan.encoder
    if encoder in report.dims:
        dims = [*(dim for dim in NESTED if dim < report.narrow(encoder)), report.narrow(encoder)]
        found["unpooled, fewer dimensions"] = [report.unpooled(encoder, dim) for dim in dims]
    return found


def _marks(axes: Any, report: Report, drawn: set[System]) -> None:
    """Systems without clusters that no line has drawn as stars, BM25 as a line across."""
    for system in (system for system in report.whole() if system not in drawn):
        point, label, level = _point(report, system), _plain(report.label(system)), report.mean(system)
        if point is not None:
            axes.plot(*point[:2], "*", markersize=11, color="black")
            axes.annotate(label, point[:2], textcoords="offset points", xytext=(6, -9), fontsize="x-small")
        elif level is not None:
            axes.axhline(level, color="grey", linewidth=1, linestyle=":", label=label)


def _point(report: Report, system: System) -> tuple[float, float, str] | None:
    size, level = report.mean(system, "bytes"), report.mean(system)
    if size is None or level is None or system.variant is None:
        return None
    return size, level, system.variant.pooling if system.variant.pooling != "none" else "all"


def _plain(label: str) -> str:
    return label.replace("**", "")
