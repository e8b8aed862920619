"""Where on its page each vector of a document stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.base import Encoder, Spans
from ..encoders.errors import EncoderError, InvalidInputError
from ..encoders.pages import Boxes, PageEncoder
from ..index.storage.pages import StoredPage
from .types import Box, Document, PagePlace

MAX_SIDE = 20_000
"""Pixels of a side of a page image that is believed."""


def page_of(document: Document) -> tuple[str, int] | None:
    """File and number of the page that a document is from, as its metadata say."""
    file, number = document.metadata.get("file"), document.metadata.get("page")
    return (file, number) if isinstance(file, str) and type(number) is int and 0 < number < 1 << 31 else None


def image_size(document: Document) -> tuple[int, int] | None:
    """Width and height of the picture that a document's vectors were made of; None where they were made of text."""
    size: Any = document.metadata.get("page_image")
    if isinstance(size, list | tuple) and len(size) == 2 and all(type(n) is int and 0 < n <= MAX_SIDE for n in size):
        return size[0], size[1]
    return None


def place_of(document: Document, page: StoredPage | None) -> PagePlace | None:
    """The page of a document; None where nothing is known of it."""
    named, seen = page_of(document), image_size(document)
    if named is None:
        return None
    if page is not None:
        return PagePlace(*named, page.width, page.height, page.origin)
    return None if seen is None else PagePlace(*named, float(seen[0]), float(seen[1]), "none")


def patch_boxes(document: Document, encoder: Encoder | None) -> Boxes | None:
    """`(vectors, 4)` boxes of the vectors of a page image; None where they were made of text."""
    size = image_size(document)
    if size is None or not isinstance(encoder, PageEncoder):
        return None
    try:
        return encoder.image_boxes([size])[0]
    except (InvalidInputError, EncoderError):  # metadata that no such encoder wrote
        return np.zeros((0, 4), np.float32)


def word_boxes(document: Document, spans: Spans, page: StoredPage | None) -> Boxes:
    """`(n, 4)` boxes of `(n, 2)` spans of a document's text; all zero for those that are in no word of the page.

    A span gets the box around all words that it overlaps. Spans that are empty, or begin before the text, are in none.
    """
    found = np.zeros((len(spans), 4), np.float32)
    start = document.metadata.get("start", 0)
    if page is None or not len(page.spans) or type(start) is not int or not 0 <= start < 1 << 31:
        return found
    order = np.argsort(page.spans[:, 0], kind="stable")
    begins = page.spans[order, 0].astype(np.int64)
    ends = np.maximum.accumulate(page.spans[order, 1].astype(np.int64))
    moved = spans.astype(np.int64) + start
    first = np.searchsorted(ends, moved[:, 0], "right")
    last = np.searchsorted(begins, moved[:, 1], "left")
    inside = (spans[:, 0] >= 0) & (spans[:, 1] > spans[:, 0]) & (last > first)
    words = page.boxes[order]
    for i in np.flatnonzero(inside):
        covered = words[first[i] : last[i]]
        covered = covered[_real(covered)]
        if len(covered):
            found[i] = (*covered[:, :2].min(axis=0), *covered[:, 2:].max(axis=0))
    return found


def _real(boxes: Boxes) -> npt.NDArray[np.bool_]:
    """`(n,)`: which boxes are parts of the page, and not the zeros that stand for none."""
    real: npt.NDArray[np.bool_] = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return real


def as_box(box: npt.NDArray[np.float32]) -> Box | None:
    """A row of boxes as numbers; None for one that stands for no part of the page."""
    left, top, right, bottom = (float(value) for value in box)
    return (left, top, right, bottom) if right > left and bottom > top else None
