"""Which part of its page each image token of a vision-language model saw, from the page's size alone.

Each grid mirrors the arithmetic of one kind of image processor; tests compare it with the processor and with the
vision tower. Boxes are fractions of the original page: processors stretch pages onto their grid, and none of those
read here pads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import InvalidInputError
from ..pages import Boxes

MAX_SIDE = 4096
"""Longest side in pixels that the Idefics3 processors work with."""
MAX_RATIO = 200
"""Longest side over shortest that the Qwen processors take."""


class Grid(Protocol):
    """How an image processor divides pages."""

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """`(rows, columns)` of cells or tiles, which tell how many tokens an image of so many pixels has."""
        ...

    def boxes(self, width: int, height: int) -> Boxes:
        """`(tokens, 4)` float32, in the order of the image tokens."""
        ...

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """The size to stretch an image to before the processor sees it; its own where the processor takes it."""
        ...


@dataclass(frozen=True)
class SquareGrid:
    """Pages squashed to one size, `side` by `side` tokens, row by row (SigLIP in PaliGemma and Gemma 3)."""

    side: int

    def shape(self, width: int, height: int) -> tuple[int, int]:  # noqa: ARG002  # as the protocol has it
        """As `Grid.shape`: always the same."""
        return self.side, self.side

    def boxes(self, width: int, height: int) -> Boxes:  # noqa: ARG002  # as the protocol has it
        """As `Grid.boxes`."""
        return _cells(self.side, self.side)

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """As `Grid.fit`: any size will do."""
        return width, height


@dataclass(frozen=True)
class MergedGrid:
    """Pages stretched to whole cells of `cell` pixels, one token a cell, row by row (Qwen-VL).

    cell: pixels of a side of a cell, patch size times merge size. least, most: pixels of a page after stretching.
    """

    cell: int
    least: int
    most: int

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """As `Grid.shape`."""
        width, height = self.fit(width, height)
        rows, columns = round(height / self.cell), round(width / self.cell)
        if rows * columns * self.cell**2 > self.most:
            scale = math.sqrt(height * width / self.most)
            rows = max(1, math.floor(height / scale / self.cell))
            columns = max(1, math.floor(width / scale / self.cell))
        elif rows * columns * self.cell**2 < self.least:
            scale = math.sqrt(self.least / (height * width))
            rows, columns = math.ceil(height * scale / self.cell), math.ceil(width * scale / self.cell)
        return rows, columns

    def boxes(self, width: int, height: int) -> Boxes:
        """As `Grid.boxes`."""
        return _cells(*self.shape(width, height))

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """As `Grid.fit`: the shorter side of a strip is stretched to what the processor takes."""
        return max(width, math.ceil(height / MAX_RATIO)), max(height, math.ceil(width / MAX_RATIO))


@dataclass(frozen=True)
class TileGrid:
    """Pages stretched to whole tiles of `tile` pixels, `side` by `side` tokens each; then the whole page as one tile.

    A page of one tile has no second look at the whole (Idefics3, SmolVLM, ModernVBERT). longest: pixels of the longer
    side before stretching. split: False where every page is one tile.
    """

    longest: int
    tile: int
    side: int
    split: bool = True

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """As `Grid.shape`: rows and columns of tiles."""
        if not self.split:
            return 1, 1
        width, height = self._scaled(width, height)
        ratio = width / height
        if width >= height:
            width = _whole(width, self.tile)
            height = int(width / ratio)
        else:
            height = _whole(height, self.tile)
            width = int(height * ratio)
        return math.ceil(height / self.tile), math.ceil(width / self.tile)

    def boxes(self, width: int, height: int) -> Boxes:
        """As `Grid.boxes`."""
        rows, columns = self.shape(width, height)
        inner, tiles = _cells(self.side, self.side), _cells(rows, columns)
        if len(tiles) == 1:
            return inner
        scale = np.array([columns, rows, columns, rows], np.float32)
        parts = [tile[[0, 1, 0, 1]] + inner / scale for tile in tiles]
        return np.concatenate([*parts, inner]).astype(np.float32)

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """As `Grid.fit`: any size will do."""
        return width, height

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """The size after the longer side has become `longest`, by the processor's rounding."""
        ratio = width / height
        if width >= height:
            width, height = self.longest, int(self.longest / ratio)
            height += height % 2
        else:
            width, height = int(self.longest * ratio), self.longest
            width += width % 2
        width, height = max(width, 1), max(height, 1)
        ratio = width / height
        if width >= height and width > MAX_SIDE:
            width, height = MAX_SIDE, int(MAX_SIDE / ratio)
        elif height > width and height > MAX_SIDE:
            width, height = int(MAX_SIDE * ratio), MAX_SIDE
        return max(width, 1), max(height, 1)


def require_size(width: int, height: int, item: int) -> None:
    """Refuse an image without pixels, with `InvalidInputError`."""
    if width < 1 or height < 1:
        raise InvalidInputError(f"image {item} is {width} by {height} pixels; expected at least one of each")


def _whole(length: int, part: int) -> int:
    return math.ceil(length / part) * part


def _cells(rows: int, columns: int) -> Boxes:
    """`(rows * columns, 4)` boxes of a grid over the unit square, row by row."""
    top, left = np.divmod(np.arange(rows * columns), columns)
    edges = [left / columns, top / rows, (left + 1) / columns, (top + 1) / rows]
    return np.stack(edges, axis=1).astype(np.float32)
