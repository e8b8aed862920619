"""Pages as documents of many vectors, each with a place on its page: those of all windows of the page's text.

A window is encoded after the title of its document, as ingestion does it. The title's vectors are kept once a page, as
are the markers at both ends, so that nearly all vectors are of words of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ...encoders.base import Encoder, Progress, load_encoder
from ...encoders.embeddings import IntArray, TokenEmbeddings
from ...encoders.pages import Boxes
from ...ingest.chunks import split
from ...ingest.page_text import PageText
from ..corpora import Place, passages
from ..vectors import Source, stored
from .collection import PageCollection

WINDOW: Final = 256
"""Tokens of a window, title and markers included; that of ingestion."""
PASSAGES: Final = 1_024
"""Runs of words out of pages that stand for queries where something is fitted to such."""


@dataclass(frozen=True, eq=False)
class PageVectors:
    """Pages and queries as token vectors.

    pages: one item a page, in the order of the dataset; a page without text has its title alone. boxes: `(total, 4)`
    float32, the word that each vector stands for; zeros for the title's and the markers'. passages: queries made of
    pages, for fitting.
    """

    pages: TokenEmbeddings
    boxes: Boxes
    queries: TokenEmbeddings
    passages: TokenEmbeddings


def page_vectors(collection: PageCollection, place: Place, progress: Progress | None = None) -> PageVectors:
    """Vectors of a collection that has text layers, encoded once and kept in the cache as float16."""
    encoder = load_encoder(_unpooled(place.encoder))
    home = place.cache / "pages" / f"{collection.name}-vectors" / collection.digest
    texts = collection.pages()
    titles = [document.title for document in collection.dataset.documents]
    windows = _windows(texts, titles)
    asked = list(collection.dataset.queries.values())
    made = passages([page.text for page in texts], PASSAGES)
    return PageVectors(
        *_joined(windows, texts, titles, encoder, home / "windows", progress),
        stored(home / "queries", Source(asked, encoder, encoder.dim, queries=True), progress).read(),
        stored(home / "passages", Source(made, encoder, encoder.dim, queries=True), progress).read(),
    )


@dataclass(frozen=True)
class _Window:
    """Characters `start` to `stop` of the text of a page, and the whole that is encoded; its title has `shift`."""

    page: int
    start: int
    text: str
    shift: int
    first: bool
    last: bool


def _windows(texts: Sequence[PageText], titles: Sequence[str]) -> list[_Window]:
    found = []
    for number, (page, title) in enumerate(zip(texts, titles, strict=True)):
        spans = list(split(page.text, title=title, window=WINDOW)) or [(0, 0)]
        head = f"{title}\n" if title else ""
        for place, (start, stop) in enumerate(spans):
            text = head + page.text[start:stop]
            found.append(_Window(number, start, text, len(head), place == 0, place == len(spans) - 1))
    return found


def _joined(
    windows: Sequence[_Window],
    texts: Sequence[PageText],
    titles: Sequence[str],
    encoder: Encoder,
    folder: Path,
    progress: Progress | None,
) -> tuple[TokenEmbeddings, Boxes]:
    """Vectors of pages out of those of their windows, and their boxes."""
    source = [window.text for window in windows]
    encoded = stored(folder, Source(source, encoder, encoder.dim), progress)
    kept, boxes = [], []
    lengths = np.zeros(len(titles), np.int64)
    for window, spans in zip(windows, encoder.document_spans(source), strict=True):
        inside = spans[:, 0] >= window.shift
        inside &= spans[:, 1] > spans[:, 0]
        keep = inside.copy()
        if window.first:
            keep |= spans[:, 1] <= window.shift
            keep[-1] = inside[-1]
        if window.last:
            keep[-1] = True
        own = np.zeros((len(spans), 4), np.float32)
        own[inside] = _boxes(spans[inside, 0] - window.shift + window.start, texts[window.page])
        kept.append(keep)
        boxes.append(own[keep])
        lengths[window.page] += int(keep.sum())
    chosen = np.concatenate(kept)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    vectors = encoded.halves()[chosen].astype(np.float32)
    return TokenEmbeddings(vectors, offsets), np.concatenate(boxes)


def _boxes(starts: IntArray, page: PageText) -> Boxes:
    """Boxes of the words in which characters of a page's text lie; zeros where a character is in none."""
    made = np.zeros((len(starts), 4), np.float32)
    if len(page.spans):
        word = np.searchsorted(page.spans[:, 1], starts, side="right").clip(max=len(page.spans) - 1)
        inside = (page.spans[word, 0] <= starts) & (starts < page.spans[word, 1])
        made[inside] = page.boxes[word[inside]]
    return made


def _unpooled(name: str) -> str:
    """The encoder with a vector for every token."""
    return name if ":" in name else f"{name}:none"
