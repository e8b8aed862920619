"""The course of a training run as a picture: losses, held-out metrics and the shape of the vectors, by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .svg import Point, line, text

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 260, 60, 200, 40, 30
_COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#9b9a97", "#dfab01", "#e03e3e")
_LOSSES = ("loss", "contrastive", "distillation", "regulariser")

Series = Mapping[str, Sequence[Point]]


def training_svg(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A drawing of `curves.json`: one panel of losses and one of each kind of metric that was measured."""
    evaluated = curves["evaluation"]
    names = sorted({name for entry in evaluated for name in entry})
    panels = {
        "training loss": _series(curves["train"], _LOSSES),
        "MRR@10 of held-out pairs (dimensions:pooling)": _series(
            evaluated, [n for n in names if n.startswith("mrr@10")]
        ),
        "mean cosine of tokens, recall of folded documents": _series(evaluated, ["mean_cosine", "folded_recall"]),
        "stable rank of tokens": _series(evaluated, ["stable_rank"]),
    }
    drawn = [(title, series) for title, series in panels.items() if series]
    height = _HEIGHT * len(drawn)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">',
        f"<title>{escape('Training')}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, (title, series) in enumerate(drawn):
        parts += _panel(title, series, number * _HEIGHT)
    return "\n".join([*parts, "</svg>", ""])


def _series(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Point]]:
    found = {
        name: [(float(e["step"]), float(e[name])) for e in entries if name in e and math.isfinite(e[name])]
        for name in names
    }
    return {name: points for name, points in found.items() if points}


def _panel(title: str, series: Series, down: int) -> list[str]:
    steps = [step for points in series.values() for step, _ in points]
    values = [value for points in series.values() for _, value in points]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    first, last = min(steps), max(*steps, min(steps) + 1)

    def place(step: float, value: float) -> Point:
        x = _LEFT + (step - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        return x, down + _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [text((_LEFT, down + 20), title, size=14)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low + share * (high - low)
        parts += [line([place(first, value), place(last, value)], "#ddd")]
        parts += [text((_LEFT - 6, place(first, value)[1] + 4), f"{value:.3g}", anchor="end")]
    for step in (first, last):
        parts.append(text((place(step, low)[0], down + _HEIGHT - 12), f"step {step:.0f}", anchor="middle"))
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(line([place(*point) for point in points], colour, width=2))
        parts.append(text((_WIDTH - _RIGHT + 12, down + _TOP + 12 + 16 * number), name, colour=colour))
    return parts
