"""The recall curve of an index as a picture: SVG written by hand, which needs no plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from .svg import Point, line, text

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 50, 50
_COLOURS = {"top 10": "#0b6e99", "top 100": "#d9730d"}
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def recall_svg(measured: Mapping[str, Any]) -> str:
    """A drawing of a calibration (its JSON form): recall of the exact top 10 and 100 against candidates, log scale."""
    curves = {"top 10": measured["curve"], "top 100": measured["curve_100"]}
    counts = [count for count, _ in measured["curve"]]
    low, high = math.log(counts[0]), math.log(max(counts[-1], counts[0] + 1))

    def place(count: float, recall: float) -> Point:
        across = (math.log(count) - low) / (high - low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _TOP + (1 - recall) * (_HEIGHT - _TOP - _BOTTOM)

    title = f"{measured['single']}, {measured['bytes']} bytes a document, {measured['documents']:,} documents"
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        text((_LEFT, 20), title, size=14),
    ]
    for tick in _TICKS:
        parts += [
            line([place(counts[0], tick), place(counts[-1], tick)], "#ddd"),
            text((12, place(1, tick)[1] + 4), f"{tick:.2f}"),
        ]
    for count in counts:
        parts.append(text((place(count, 0)[0], _HEIGHT - 28), str(count), anchor="middle"))
    parts.append(text((_WIDTH / 2, _HEIGHT - 8), "candidates", anchor="middle"))
    target = measured["target"]
    parts.append(line([place(counts[0], target), place(counts[-1], target)], "#888", dash=True))
    for number, (name, curve) in enumerate(curves.items()):
        points = [place(count, recall) for count, recall in curve]
        parts.append(line(points, _COLOURS[name], width=2))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS[name]}"/>' for x, y in points]
        parts.append(text((_LEFT + 150 * number, 40), f"recall of the exact {name}", colour=_COLOURS[name]))
    x, y = place(measured["candidates"], measured["recall"])
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="none" stroke="black"/>')
    return "\n".join([*parts, "</svg>", ""])
