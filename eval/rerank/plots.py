"""The chart of the page: recall of the scorer's best against calls, a panel for each collection and depth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ...encoders.errors import MissingExtraError
from .measure import BUDGETS, LABELS, TOPS, Figures

Found = Mapping[tuple[str, str], Figures]
"""By scorer and collection."""
_SHOWN: Final = tuple(k for k in TOPS if k > 1)


def draw(found: Found, folder: Path) -> dict[str, str]:
    """Write a chart a scorer; file name to title. Raises `MissingExtraError` without the extra `bench`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the charts", "bench") from error
    made: dict[str, str] = {}
    for scorer in dict.fromkeys(name for name, _ in found):
        own = {corpus: figures for (name, corpus), figures in found.items() if name == scorer}
        figure = Figure(figsize=(4 * len(_SHOWN), 3.4 * len(own) + 0.8), layout="constrained")
        panels = figure.subplots(len(own), len(_SHOWN), squeeze=False, sharex=True)
        for line, (corpus, figures) in enumerate(own.items()):
            for column, k in enumerate(_SHOWN):
                axes = panels[line, column]
                for number, label in enumerate(LABELS):
                    points = {row.budget: row.recall[str(k)] for row in figures.rows if row.label == label}
                    style = "-" if "**" in label else "--"
                    heights = [points[budget] for budget in BUDGETS]
                    axes.plot(
                        BUDGETS, heights, style, marker="o", markersize=3.5, color=f"C{number}", label=_plain(label)
                    )
                axes.set_title(f"{corpus}: top {k}", fontsize="medium")
                axes.set_xscale("log")
                axes.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
                axes.minorticks_off()
                axes.spines[["top", "right"]].set_visible(False)
        for axes in panels[-1]:
            axes.set_xlabel("calls of the scorer a query")
        for axes in panels[:, 0]:
            axes.set_ylabel("recall")
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        name = f"rerank-{scorer}.png"
        figure.savefig(folder / name, dpi=110)
        made[name] = f"Recall of the best documents of {scorer} against its calls"
    return made


def _plain(label: str) -> str:
    return label.replace("**", "")
