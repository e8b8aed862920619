"""The chart of the page: nDCG@5 against bytes, a panel for each collection."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...encoders.errors import MissingExtraError
from .compression import Kept
from .report import Report

CHART: Final = "pages-bytes.png"
_MARKS: Final = {
    "codecs": ("o", "codes of all vectors"),
    "pruning": ("v", "pruned, lvq8"),
    "pooling": ("s", "pooled, fp16"),
    "combinations": ("D", "pooled and coded"),
    "pruned combinations": ("^", "pooled, coded, 60 % pruned"),
}


def draw(report: Report, folder: Path) -> dict[str, str]:
    """Write the chart where compression was measured; file name to title.

    Raises `MissingExtraError` without the extra `bench`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the charts", "bench") from error
    kept = report.kept()
    if not kept:
        return {}
    figure = Figure(figsize=(6 * len(kept), 5), layout="constrained")
    panels = figure.subplots(1, len(kept), squeeze=False)[0]
    for axes, (corpus, rows) in zip(panels, kept.items(), strict=True):
        for number, (section, (mark, label)) in enumerate(_MARKS.items()):
            own = [row for row in rows if row.section == section]
            axes.scatter(
                [row.bytes for row in own],
                [row.ndcg for row in own],
                s=22,
                color=f"C{number}",
                marker=mark,
                label=label,
                alpha=0.7,
            )
        front = frontier(rows)
        axes.plot([row.bytes for row in front], [row.ndcg for row in front], color="0.6", linewidth=1, zorder=0)
        for row in front:
            axes.annotate(row.label, (row.bytes, row.ndcg), (3, 4), textcoords="offset points", fontsize=6)
        axes.axhline(0.98 * rows[0].ndcg, color="0.8", linestyle=":", linewidth=1)
        axes.axvline(rows[0].bytes / 32, color="0.8", linestyle=":", linewidth=1)
        axes.set_xscale("log")
        axes.set_title(corpus, fontsize="medium")
        axes.set_xlabel("bytes a page (dotted: a 32nd of half precision, and 2 % less nDCG)")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("nDCG@5, exhaustive MaxSim")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(folder / CHART, dpi=110)
    return {CHART: "nDCG@5 of compressed pages against bytes"}


def frontier(rows: list[Kept]) -> list[Kept]:
    """Rows that nothing smaller or equal beats, by rising bytes."""
    front: list[Kept] = []
    for row in sorted(rows, key=lambda item: (item.bytes, -item.ndcg)):
        if not front or row.ndcg > front[-1].ndcg:
            front.append(row)
    return front
