"""The picture of an explanation: the page that the document is from, with heat and the best parts outlined."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..encoders.embeddings import FloatArray
from ..encoders.errors import InvalidInputError, LatefoldError
from ..encoders.pages import Boxes, Pixels
from ..index.storage.pages import PageStore, StoredPage
from ..ingest.extractor import Extractor
from ..ingest.options import MIB
from ..ingest.sources import file_hash
from ..retrieval.heat import best_regions
from ..retrieval.heatmap import draw_heatmap, png
from ..retrieval.types import Explanation, PagePlace, ScoredBox

LONGEST = 1400
"""Pixels of the longer side of a picture."""
MAX_LONGEST = 3000
_MAX_FILE_BYTES = 1 << 30
"""A larger file is not read again to draw a page of it."""
_SECONDS = 8.0
_MEMORY = 1024 * MIB

Origin = Literal["file", "thumbnail", "words"]


@dataclass(frozen=True, eq=False)
class Picture:
    """A PNG file, and what the page was drawn from: its file, its stored thumbnail, or only where its words are."""

    png: bytes
    drawn_from: Origin


def draw(store: PageStore, explanation: Explanation, *, longest: int = LONGEST) -> Picture:
    """The page of an explanation with its heat. longest: pixels of the longer side.

    The best parts are outlined, and thinly the explained document where the page holds others too. Raises
    `InvalidInputError` for a document that is from no page.
    """
    place = require_page(explanation)
    boxes, scores = arrays(explanation.boxes)
    pixels, origin = page_pixels(store, place, longest, boxes)
    best, _ = best_regions(boxes, scores)
    patches = bool(explanation.boxes) and not any(part.text for part in explanation.boxes)
    return Picture(
        png(draw_heatmap(pixels, boxes, scores, best=best, frame=_frame(explanation), smooth=patches)), origin
    )


def require_page(explanation: Explanation) -> PagePlace:
    """The page of an explanation. Raises `InvalidInputError` where there is none."""
    if explanation.page is None:
        raise InvalidInputError(
            f"document {explanation.id!r:.80} is from no page that the index knows: only pages of PDF and image files "
            "can be drawn; index the file again if it is one"
        )
    return explanation.page


def arrays(parts: list[ScoredBox]) -> tuple[Boxes, FloatArray]:
    """`(n, 4)` boxes and their `(n,)` scores."""
    boxes = np.array([part.box for part in parts], np.float32).reshape(-1, 4)
    return boxes, np.array([part.score for part in parts], np.float32)


def page_pixels(store: PageStore, place: PagePlace, longest: int, boxes: Boxes) -> tuple[Pixels, Origin]:
    """A page to draw on: from its file if that is still the one that was indexed, else the best there is."""
    if not 16 <= longest <= MAX_LONGEST:
        raise InvalidInputError(f"the longer side of a picture has 16 to {MAX_LONGEST} pixels, got {longest}")
    drawn = _from_file(store, place, longest)
    if drawn is not None:
        return drawn, "file"
    scale = longest / max(place.width, place.height, 1e-6)
    size = (max(1, round(place.width * scale)), max(1, round(place.height * scale)))
    page = store.get(place.file, place.number)
    thumbnail = None if page is None or not page.thumbnail else _enlarged(page.thumbnail, size)
    if thumbnail is not None:
        return thumbnail, "thumbnail"
    return _blank(size, boxes if page is None or not len(page.boxes) else page.boxes), "words"


def thumbnail_of(store: PageStore, file: str, number: int) -> bytes | None:
    """The stored WebP picture of a page; None where there is none."""
    page: StoredPage | None = store.get(file, number)
    return page.thumbnail if page is not None and page.thumbnail else None


def _from_file(store: PageStore, place: PagePlace, longest: int) -> Pixels | None:
    """The page drawn from the file where it was last seen; None where that is gone, has changed or cannot be drawn."""
    known = store.place(place.file)
    if known is None:
        return None
    path, kind = known
    try:
        if not _unchanged(path, place.file):
            return None
        with Extractor(_SECONDS, _MEMORY) as extractor:
            return np.ascontiguousarray(extractor.render(path, kind, place.number, longest=longest))
    except (OSError, LatefoldError):  # whatever the reason, there is still something to show
        return None


def _unchanged(path: Path, file: str) -> bool:
    return path.is_file() and path.stat().st_size <= _MAX_FILE_BYTES and file_hash(path) == file


def _enlarged(thumbnail: bytes, size: tuple[int, int]) -> Pixels | None:
    """A stored thumbnail in the size of the page; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(thumbnail), formats=["WEBP"]) as picture:
            if max(picture.size) > MAX_LONGEST:
                return None
            return np.array(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    except (OSError, ValueError, SyntaxError):
        return None


def _blank(size: tuple[int, int], boxes: Boxes) -> Pixels:
    """White paper with grey bars where words are."""
    width, height = size
    paper = np.full((height, width, 3), 255, np.uint8)
    corners = np.rint(np.clip(boxes, 0, 1) * [width, height, width, height]).astype(int)
    for left, top, right, bottom in corners.tolist():
        paper[top:bottom, left:right] = 225
    return paper


def _frame(explanation: Explanation) -> Boxes | None:
    """The box around the explained document; None where it is all of its page that is known."""
    if all(part.document == explanation.id for part in explanation.boxes):
        return None
    own, _ = arrays([part for part in explanation.boxes if part.document == explanation.id])
    if not len(own):
        return None
    return np.concatenate([own[:, :2].min(axis=0), own[:, 2:].max(axis=0)])[None].astype(np.float32)
