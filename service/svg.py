"""Lines and texts of a picture: SVG written by hand, which needs no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Point = tuple[float, float]
"""Pixels from the left and from the top."""


def line(points: Sequence[Point], colour: str, *, width: int = 1, dash: bool = False) -> str:
    """A line through some points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="4 4"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def text(at: Point, words: str, *, size: int = 12, anchor: str = "start", colour: str = "black") -> str:
    """Words that start, or by `anchor` end or have their middle, at a point."""
    return (
        f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(words)}</text>"
    )
