"""Heat as a picture: a page with the parts that answer a query coloured, and the best of them outlined."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import FloatArray
from ..encoders.errors import InvalidInputError
from ..encoders.pages import Boxes, Pixels

MAX_PIXELS = 40_000_000
MAX_CELLS = 1_000_000

_COLOURS = np.array([[255, 255, 255], [255, 243, 176], [254, 204, 92], [253, 160, 60], [240, 100, 40]], np.float32)
"""Of heat 0, 1/4 ... 1: each darker than the one before, so that the order shows in grey too, and none so dark that
black text on it would be hard to read. Told apart with any colour vision."""
_OUTLINE = ((24, 62, 140), (255, 255, 255))
"""Of lines on light and on dark ground."""
_FAINT = 0.04
"""Less heat is not drawn."""
_LIGHT = 0.5
"""Surroundings that are darker get light colours added, since no colour shows on black otherwise."""


def heat_grid(boxes: Boxes, scores: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Heat in `(rows, cols)` equal cells of a page, float32 from 0 to 1.

    A cell has the greatest of the scores of the `(n, 4)` boxes that overlap it, each less by the share of the cell (or
    of the box, if that is smaller) that does not. Raises `InvalidInputError` on shapes that cannot be.
    """
    rows, cols = shape
    if not (rows > 0 and cols > 0 and rows * cols <= MAX_CELLS):
        raise InvalidInputError(f"a grid has 1 to {MAX_CELLS} cells, got {rows} by {cols}")
    _check(boxes, scores)
    grid = np.zeros((rows, cols), np.float32)
    for (left, top, right, bottom), score in zip(np.clip(boxes, 0, 1).tolist(), scores.tolist(), strict=True):
        if right <= left or bottom <= top or score <= 0:
            continue
        across, columns = _overlaps(left, right, cols)
        down, lines = _overlaps(top, bottom, rows)
        part = np.minimum(score * np.outer(down, across), 1.0)
        grid[lines, columns] = np.maximum(grid[lines, columns], part)
    return grid


def _overlaps(start: float, end: float, count: int) -> tuple[npt.NDArray[np.float64], slice]:
    """The cells of an axis that a stretch overlaps, and the share of each (or of the stretch) that is in common."""
    first, last = int(start * count), min(count, int(np.ceil(end * count)))
    edges = np.arange(first, last + 1) / count
    common = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    return np.clip(common / min(1 / count, end - start), 0.0, 1.0), slice(first, last)


def draw_heatmap(
    page: Pixels,
    boxes: Boxes,
    scores: FloatArray,
    *,
    best: Boxes | None = None,
    frame: Boxes | None = None,
    smooth: bool = False,
) -> Pixels:
    """A page with heat on it: a picture of the same size, equal to the page where there is no heat.

    boxes, scores: `(n, 4)` and `(n,)` from 0 to 1. best: boxes to outline. frame: boxes to put between two lines.
    smooth: the boxes are patches of a picture, between which heat changes gradually; otherwise words, each with a
    colour of its own and soft edges. Raises `InvalidInputError` for a page of too many pixels, and for boxes that
    are none.
    """
    if page.ndim != 3 or page.shape[2] != 3 or page.dtype != np.uint8 or not 0 < page[..., 0].size <= MAX_PIXELS:
        raise InvalidInputError(f"a page has (height, width, 3) uint8 of 1 to {MAX_PIXELS} pixels, got {page.shape}")
    _check(boxes, scores)
    from PIL import Image

    field = _patch_field(boxes, scores, page.shape[:2]) if smooth else _word_field(boxes, scores, page.shape[:2])
    painted = Image.fromarray(_coloured(page, field))
    _bracket(painted, page, frame)
    _outline(painted, page, best)
    return np.array(painted)


def png(pixels: Pixels) -> bytes:
    """The picture as a PNG file; the same bytes for the same pixels."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _check(boxes: Boxes, scores: FloatArray) -> None:
    if boxes.shape != (len(scores), 4) or scores.ndim != 1:
        raise InvalidInputError(f"{scores.shape} scores came with boxes of shape {boxes.shape}, not (n,) with (n, 4)")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise InvalidInputError("boxes and scores of a heatmap are finite numbers: NaN or infinity is among them")


def _word_field(boxes: Boxes, scores: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """`(height, width)` heat of words: a little more than their boxes, hotter ones on top, with soft edges."""
    from PIL import Image, ImageDraw, ImageFilter

    height, width = shape
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    tall = max(0.0, float(np.median(boxes[:, 3] - boxes[:, 1]))) * height if len(boxes) else 1.0
    pad = 0.12 * float(tall)
    for i in np.argsort(scores, kind="stable").tolist():
        left, top, right, bottom = (np.clip(boxes[i], 0, 1) * [width, height, width, height]).tolist()
        if scores[i] >= _FAINT and right > left and bottom > top:
            corners = [left - pad, top - pad, max(right + pad, left), max(bottom + pad, top)]
            pen.rectangle([round(corner) for corner in corners], fill=round(255 * min(float(scores[i]), 1.0)))
    soft = canvas.filter(ImageFilter.GaussianBlur(max(0.6, 0.15 * float(tall))))
    field: FloatArray = np.asarray(soft, np.float32) / np.float32(255)
    return field


def _patch_field(boxes: Boxes, scores: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """`(height, width)` heat of patches, from a grid of cells as large as the usual patch."""
    from PIL import Image

    height, width = shape
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3) if len(boxes) else np.ones((1, 2), np.float32)
    cols, rows = np.clip(np.rint(1 / np.median(sides, axis=0)), 1, 512).astype(int).tolist()
    grid = Image.fromarray(heat_grid(boxes, scores, (rows, cols)))
    wide: FloatArray = np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return np.clip(wide, np.float32(0), np.float32(1))


def _coloured(page: Pixels, field: FloatArray) -> Pixels:
    """The page seen through colours: white turns into the colour, black stays; on dark ground light is added."""
    from PIL import Image, ImageFilter

    places = np.linspace(0.0, 1.0, len(_COLOURS))
    shown = np.where(field < _FAINT, 0.0, field)
    heated = shown > 0
    if not heated.any():
        return page.copy()
    lightness = Image.fromarray(page).convert("L").filter(ImageFilter.BoxBlur(max(2, page.shape[0] // 100)))
    dark = np.clip((_LIGHT - np.asarray(lightness, np.float32)[heated] / 255) / _LIGHT, 0.0, 1.0)[:, None]
    colours = np.stack([np.interp(shown[heated], places, _COLOURS[:, channel]) for channel in range(3)], axis=1)
    ground = page[heated].astype(np.float32)
    seen_through = ground * colours / 255
    added = np.maximum(ground, 0.6 * shown[heated][:, None] * _COLOURS[-2])
    result = page.copy()
    result[heated] = np.rint((1 - dark) * seen_through + dark * added).astype(np.uint8)
    return result


def _outline(picture: Any, page: Pixels, boxes: Boxes | None) -> None:
    """Lines close around boxes, blue on light ground and white on dark."""
    for (left, top, right, bottom), colour, pen, scale in _lines(picture, page, boxes):
        pen.rectangle([left - scale, top - scale, right + scale, bottom + scale], outline=colour, width=scale)


def _bracket(picture: Any, page: Pixels, boxes: Boxes | None) -> None:
    """Lines at the left and the right of boxes, where they cross no text."""
    for (left, top, right, bottom), colour, pen, scale in _lines(picture, page, boxes):
        for x in (left - 4 * scale, right + 4 * scale):
            pen.line([(x, top), (x, bottom)], fill=colour, width=scale)


def _lines(
    picture: Any, page: Pixels, boxes: Boxes | None
) -> Iterator[tuple[list[int], tuple[int, int, int], Any, int]]:
    """For each box its corners in pixels, a colour that shows there, what to draw with, and the width of a line.

    The ground is the page before it was painted, and a margin around the box: bold letters fill a box of their own.
    """
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    scale = max(1, round(max(picture.size) / 700))
    for box in np.clip(boxes if boxes is not None else np.zeros((0, 4)), 0, 1):
        corners = np.rint(box * [*picture.size, *picture.size]).astype(int).tolist()
        if corners[2] > corners[0] and corners[3] > corners[1]:
            margin = corners[3] - corners[1]
            left, top = (max(0, corner - margin) for corner in corners[:2])
            ground = page[top : corners[3] + margin, left : corners[2] + margin]
            yield corners, _OUTLINE[int(np.median(ground) < 255 * _LIGHT)], pen, scale
