"""Why a document matched: the document token behind each term of the MaxSim sum, and where on its page that stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..encoders.base import Encoder, Spans
from ..encoders.embeddings import TokenEmbeddings
from ..encoders.errors import InvalidInputError
from ..encoders.pages import Boxes
from ..index.storage.pages import PageStore, StoredPage
from ..index.tokens.base import Codes
from .documents import encoded_text
from .heat import heat, token_heat
from .lexical import word_spans, words
from .page_boxes import as_box, page_of, patch_boxes, place_of, word_boxes
from .query import document_of
from .snapshot import Fitted, Snapshot
from .types import Document, Explanation, ScoredBox, TokenMatch

MAX_WINDOWS = 64
"""Documents of one page whose vectors are looked at: as many as 16,000 words."""

Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Stored:
    """The stored vectors of a document: `(n, bytes)` codes, the `(n,)` tokens they are of, characters and boxes.

    spans: `(n, 2)` in the encoded text, `(0, 0)` where a vector stands for no characters. boxes: `(n, 4)`, zero for no
    part of the page.
    """

    document: Document
    codes: Codes
    places: npt.NDArray[np.int64]
    spans: Spans
    boxes: Boxes

    def text_spans(self) -> Spans:
        """`(n, 2)` in the text of the document; negative for vectors of the title."""
        shift = len(self.document.title) + 1 if self.document.title else 0
        return np.where(self.spans[:, 1:] > self.spans[:, :1], self.spans - shift, -1).astype(np.int32)


def explain(
    snapshot: Snapshot,
    fitted: Fitted,
    *,
    query: str,
    embeddings: TokenEmbeddings,
    row: int,
    document: Document,
    encoder: Encoder | None,
    pages: PageStore,
    token: int | None = None,
) -> Explanation:
    """Match one query (`embeddings` holds its vectors as the only item) with one stored document.

    The scores come from the stored codes, so that they add up to the score a search gives. token: heat of this query
    token alone. Raises `InvalidInputError` where there is none of that number.
    """
    vectors = embeddings[0]
    if token is not None and not 0 <= token < len(vectors):
        raise InvalidInputError(f"token is {token}; the query has {len(vectors)} tokens, counted from 0")
    named = page_of(document)
    page = None if named is None else pages.get(*named)
    stored = _stored(snapshot, row, document, encoder, page)
    best, scores = fitted.finest.best_tokens(vectors, stored.codes)
    query_spans = _fitting(encoder.query_spans([query])[0] if encoder and query else None, len(best))
    matches = [
        _match(i, int(j), float(score), query, _span(query_spans[i]), stored)
        for i, (j, score) in enumerate(zip(best, scores, strict=True))
        if j >= 0  # none where the document has no tokens
    ]
    terms = [word for word in words(query) if snapshot.catalog.match(f'"{word}"', 1, "row = ?", (row,))]
    total = float(np.sum(scores, dtype=np.float64)) if matches else float("-inf")
    place = place_of(document, page)
    if place is None:
        return Explanation(document.id, total, matches, terms)
    others = (
        _stored(snapshot, other, found, encoder, page) for other, found in _others_on_page(snapshot, row, document)
    )
    boxes = _scored_boxes(fitted, [stored, *others], query, vectors, query_spans, token)
    return Explanation(document.id, total, matches, terms, place, boxes)


def _stored(
    snapshot: Snapshot, row: int, document: Document, encoder: Encoder | None, page: StoredPage | None
) -> _Stored:
    segment, position = snapshot.locate(row)
    rows = slice(*segment.offsets[position : position + 2])
    count = rows.stop - rows.start
    places = np.arange(count) if segment.places is None else segment.places[rows].astype(np.int64)
    whole = count if segment.places is None else None
    patches = patch_boxes(document, encoder)
    spans = None
    if patches is None and encoder is not None:
        spans = encoder.document_spans([encoded_text(document)])[0]
    known = _taken(_fitting(spans, whole), places)
    bare = _Stored(document, segment.finest[rows], places, known, np.zeros((count, 4), np.float32))
    boxes = word_boxes(document, bare.text_spans(), page) if patches is None else _patches(patches, places, whole)
    return _Stored(document, bare.codes, places, known, boxes)


def _fitting(spans: Spans | None, count: int | None) -> Spans:
    """Spans of the vectors of one text; `(0, 0)` where they are not as many as the `count` that is expected."""
    if spans is None or count not in (None, len(spans)):
        return np.zeros((count or 0, 2), np.int32)
    return spans


def _taken(spans: Spans, places: npt.NDArray[np.int64]) -> Spans:
    """The spans of some tokens; `(0, 0)` where there is no such token."""
    padded = np.concatenate([spans, np.zeros((1, 2), np.int32)])
    return padded[np.where(places < len(spans), places, len(spans))]


def _patches(boxes: Boxes, places: npt.NDArray[np.int64], count: int | None) -> Boxes:
    """The boxes of some vectors of a page image; zero where the page image has other vectors than that."""
    if (count is not None and count != len(boxes)) or (len(places) and places.max() >= len(boxes)):
        return np.zeros((len(places), 4), np.float32)
    return boxes[places]


def _others_on_page(snapshot: Snapshot, row: int, document: Document) -> Iterator[tuple[int, Document]]:
    """Rows and documents of the same page of the same source, in the order they were added."""
    where = "json_extract(metadata, '$.file') = ? AND json_extract(metadata, '$.page') = ? AND row <> ?"
    file, number = document.metadata["file"], document.metadata["page"]
    parameters: list[str | int] = [file, number, row]
    record = snapshot.catalog.records([row]).get(row)
    if record is not None and record.source is not None:  # there is an index on it
        where, parameters = f"source = ? AND {where}", [record.source, *parameters]
    rows = snapshot.catalog.rows_where(where, parameters)[: MAX_WINDOWS - 1]
    for found, record in sorted(snapshot.catalog.records(rows.tolist()).items()):
        yield found, document_of(record)


def _scored_boxes(
    fitted: Fitted,
    stored: list[_Stored],
    query: str,
    embedded: npt.NDArray[np.float32],
    query_spans: Spans,
    token: int | None,
) -> list[ScoredBox]:
    """Heat of all vectors that have a box."""
    boxes = np.concatenate([part.boxes for part in stored])
    placed = boxes[:, 2] > boxes[:, 0]
    if not placed.any():
        return []
    vectors = np.concatenate([fitted.finest.decode(np.asarray(part.codes)) for part in stored])[placed]
    similarities = embedded @ vectors.T
    if token is not None:
        scores = token_heat(similarities, token)
    else:
        scores = heat(similarities, boxes[placed], _asked(query, query_spans))
    labels = [(text[slice(*span)], part.document.id) for part in stored for text, span in _labels(part)]
    kept = [label for label, has_box in zip(labels, placed, strict=True) if has_box]
    return [
        ScoredBox((box[0], box[1], box[2], box[3]), score, *label)
        for box, score, label in zip(boxes[placed].tolist(), scores.tolist(), kept, strict=True)
    ]


def _asked(query: str, spans: Spans) -> npt.NDArray[np.bool_] | None:
    """`(m,)`: query tokens of words worth matching, which markers and stop words are not; None where there are none."""
    found = np.array(word_spans(query), np.int32).reshape(-1, 2)
    overlaps = (spans[:, :1] < found[:, 1]) & (spans[:, 1:] > found[:, 0])
    asked = np.asarray(np.any(overlaps, axis=1), np.bool_)
    return asked if asked.any() else None


def _labels(part: _Stored) -> Iterator[tuple[str, list[int]]]:
    """The encoded text, and each span in it."""
    text = encoded_text(part.document)
    return ((text, span) for span in part.spans.tolist())


def _match(index: int, token: int, score: float, query: str, query_span: Span | None, stored: _Stored) -> TokenMatch:
    document = stored.document
    field, inside = _field(document, _span(stored.spans[token]))
    owner = {"title": document.title, "text": document.text}.get(field or "", "")
    return TokenMatch(
        query_token=index,
        document_token=int(stored.places[token]),
        score=score,
        query_text=query[slice(*query_span)] if query_span else "",
        document_text=owner[slice(*inside)] if inside else "",
        query_span=query_span,
        document_span=inside,
        field=field,
        box=as_box(stored.boxes[token]),
    )


def _span(span: npt.NDArray[np.int32]) -> Span | None:
    start, end = int(span[0]), int(span[1])
    return (start, end) if end > start else None


def _field(document: Document, span: Span | None) -> tuple[Literal["title", "text"] | None, Span | None]:
    """Where a span of the encoded text lies in the document."""
    if span is None:
        return None, None
    shift = len(document.title) + 1 if document.title else 0
    if span[0] >= shift:
        return "text", (span[0] - shift, span[1] - shift)
    return "title", (span[0], min(span[1], len(document.title)))
