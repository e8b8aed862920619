"""In which order the lines that OCR found on a page are read: columns of prose one by one, tables row by row.

Recognizers order what they find by their own idea of blocks, and put the numbers of a table far from their labels.
Here a page is cut by white space. A gutter that runs down the page separates columns if there is prose on both of its
sides; everything else is read in rows, from left to right.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Final

_GUTTER: Final = 1.0
"""White space between columns, in heights of a line, at least."""
_PROSE_WIDTH: Final = 7.0
"""Width of a line of prose in its heights, at least: some fifteen letters."""
_PROSE_WORDS: Final = 3
_PROSE_LINES: Final = 3
_PROSE_LETTERS: Final = 0.7
"""Letters among letters and digits of prose, at least; columns of numbers have fewer."""
_TOUCHING: Final = 0.15
"""How far the boxes of two lines may reach into each other, in heights, and still have white space between them."""
_PARAGRAPH: Final = 0.8
"""White space between paragraphs, in heights of a line, at least."""
_PARAGRAPH_GAP: Final = 1.4
"""The same as a multiple of the white space that is usual between rows."""
_MAX_SLOPE: Final = 0.1
_SLOPE_WIDTH: Final = 8.0
"""Lines shorter than so many heights do not tell how crooked a page is."""
_SLOPE_LINES: Final = 3
_MAX_COLUMNS_DEEP: Final = 4

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Word:
    """A word without spaces, its place in pixels, and how sure the recognizer is of it, from 0 to 1."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    confidence: float


@dataclass(frozen=True, eq=False)
class Line:
    """Words that a recognizer found in one line, from left to right; at least one. slope: of the page it is on."""

    words: Sequence[Word]
    slope: float = 0.0

    @cached_property
    def left(self) -> float:
        """Where the line begins."""
        return min(word.left for word in self.words)

    @cached_property
    def right(self) -> float:
        """Where the line ends."""
        return max(word.right for word in self.words)

    @cached_property
    def height(self) -> float:
        """Height of a word."""
        return max(1.0, median(word.bottom - word.top for word in self.words))

    @cached_property
    def middle(self) -> float:
        """How far down the line is on a page that is set straight."""
        return median((word.top + word.bottom - self.slope * (word.left + word.right)) / 2 for word in self.words)

    @property
    def top(self) -> float:
        """The upper edge, on a page that is set straight."""
        return self.middle - self.height / 2

    @property
    def bottom(self) -> float:
        """The lower edge, on a page that is set straight."""
        return self.middle + self.height / 2


def in_reading_order(lines: Sequence[Line]) -> list[list[list[Word]]]:
    """The blocks of a page (paragraphs, tables) as rows of words."""
    slope = _slope(lines)
    straight = [Line(line.words, slope) for line in lines if line.words]
    return _blocks(straight, _MAX_COLUMNS_DEEP) if straight else []


def _slope(lines: Sequence[Line]) -> float:
    """How far lines fall for each pixel to the right: the median of the longer half, which tells it best."""
    runs = []
    for line in lines:
        first, last = line.words[0], line.words[-1]
        run = (last.left + last.right - first.left - first.right) / 2
        if run >= _SLOPE_WIDTH * line.height:
            runs.append((run, (last.top + last.bottom - first.top - first.bottom) / 2))
    runs.sort()
    slope = median(fall / run for run, fall in runs[len(runs) // 2 :]) if len(runs) >= _SLOPE_LINES else 0.0
    return slope if abs(slope) <= _MAX_SLOPE else 0.0


def _blocks(lines: Sequence[Line], depth: int) -> list[list[list[Word]]]:
    height = median(line.height for line in lines)
    extent = (min(line.left for line in lines), max(line.right for line in lines))
    blocks: list[list[list[Word]]] = []
    rest: list[Line] = []
    for group, gutters in _groups(_bands(lines), extent, _GUTTER * height):
        columns = _columns(group, gutters) if depth else None
        if columns is None:
            rest += group
            continue
        blocks += _paragraphs(rest)
        rest = []
        for column in columns:
            blocks += _blocks(column, depth - 1)
    return blocks + _paragraphs(rest)


def _bands(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines between white lines that run across the page, from top to bottom."""
    bands: list[list[Line]] = []
    bottom = float("-inf")
    for line in sorted(lines, key=lambda line: line.top):
        if not bands or line.top + _TOUCHING * line.height >= bottom:
            bands.append([])
        bands[-1].append(line)
        bottom = max(bottom, line.bottom - _TOUCHING * line.height)
    return bands


def _groups(bands: Sequence[list[Line]], extent: Interval, gutter: float) -> list[tuple[list[Line], list[Interval]]]:
    """Neighbouring bands that are divided by white space which runs down through all of them, and that space."""
    groups: list[tuple[list[Line], list[Interval]]] = []
    for band in bands:
        free = _free(band, extent, gutter)
        if groups:
            together = groups[-1][0] + band
            shared = [gap for gap in _common(groups[-1][1], free, gutter) if _divides(gap, together)]
            if shared:
                groups[-1] = (together, shared)
                continue
        groups.append((band, free))
    return groups


def _divides(gap: Interval, lines: Sequence[Line]) -> bool:
    return any(line.right <= gap[0] for line in lines) and any(line.left >= gap[1] for line in lines)


def _free(lines: Sequence[Line], extent: Interval, gutter: float) -> list[Interval]:
    """Intervals from left to right that no line covers."""
    free = []
    reached = extent[0]
    for line in sorted(lines, key=lambda line: line.left):
        if line.left - reached >= gutter:
            free.append((reached, line.left))
        reached = max(reached, line.right)
    return [*free, (reached, extent[1])] if extent[1] - reached >= gutter else free


def _common(some: Sequence[Interval], others: Sequence[Interval], gutter: float) -> list[Interval]:
    pairs = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return [(low, high) for low, high in pairs if high - low >= gutter]


def _columns(lines: Sequence[Line], gutters: Sequence[Interval]) -> tuple[list[Line], list[Line]] | None:
    """What is left and right of the widest gutter that has prose on both sides."""
    for low, high in sorted(gutters, key=lambda gutter: gutter[0] - gutter[1]):
        left = [line for line in lines if line.right <= low]
        right = [line for line in lines if line.left >= high]
        if _is_prose(left) and _is_prose(right):
            return left, right
    return None


def _is_prose(lines: Sequence[Line]) -> bool:
    if len(lines) < _PROSE_LINES:
        return False
    text = "".join(word.text for line in lines for word in line.words)
    letters, digits = sum(map(str.isalpha, text)), sum(map(str.isdigit, text))
    return (
        median((line.right - line.left) / line.height for line in lines) >= _PROSE_WIDTH
        and median(len(line.words) for line in lines) >= _PROSE_WORDS
        and letters >= _PROSE_LETTERS * max(1, letters + digits)
    )


def _paragraphs(lines: Sequence[Line]) -> list[list[list[Word]]]:
    """Rows, apart where there is more white space between two than is usual here."""
    rows = _rows(lines)
    if not rows:
        return []
    gaps = [
        min(line.top for line in below) - max(line.bottom for line in above)
        for above, below in itertools.pairwise(rows)
    ]
    usual = _PARAGRAPH_GAP * median(gaps) if gaps else 0.0
    paragraphs: list[list[list[Word]]] = []
    for row, gap in zip(rows, [float("inf"), *gaps], strict=True):
        if gap >= max(usual, _PARAGRAPH * median(line.height for line in row)):
            paragraphs.append([])
        paragraphs[-1].append([word for line in row for word in line.words])
    return paragraphs


def _rows(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines that stand beside each other, each row from left to right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.middle):
        if rows and line.middle - median(other.middle for other in rows[-1]) < _same_row(line, rows[-1]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.left) for row in rows]


def _same_row(line: Line, row: Sequence[Line]) -> float:
    return 0.5 * min(line.height, median(other.height for other in row))
