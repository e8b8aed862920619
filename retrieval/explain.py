"""Why a document matched: the document token behind each term of the MaxSim sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..encoders.base import Encoder, Spans
from ..encoders.embeddings import TokenEmbeddings
from .documents import encoded_text
from .lexical import words
from .snapshot import Fitted, Snapshot
from .types import Document, Explanation, TokenMatch

Span = tuple[int, int]


def explain(
    snapshot: Snapshot,
    fitted: Fitted,
    *,
    query: str,
    embeddings: TokenEmbeddings,
    row: int,
    document: Document,
    encoder: Encoder | None,
) -> Explanation:
    """Match one query (`embeddings` holds its vectors as the only item) with one stored document.

    The scores come from the stored codes, so that they add up to the score a search gives.
    """
    segment, position = snapshot.locate(row)
    stored = slice(*segment.offsets[position : position + 2])
    best, scores = fitted.finest.best_tokens(embeddings[0], segment.finest[stored])
    places = np.arange(stored.stop - stored.start) if segment.places is None else segment.places[stored]
    query_spans = _spans(encoder.query_spans([query]) if encoder and query else None, len(best))
    count = len(places) if segment.places is None else None
    spans = _spans(encoder.document_spans([encoded_text(document)]) if encoder else None, count)
    matches = [
        _match(i, place, float(score), query, document, query_spans[i], spans[place] if place < len(spans) else None)
        for i, (token, score) in enumerate(zip(best, scores, strict=True))
        for place in places[token : token + 1].tolist()  # none where the document has no tokens
    ]
    terms = [word for word in words(query) if snapshot.catalog.match(f'"{word}"', 1, "row = ?", (row,))]
    total = float(np.sum(scores, dtype=np.float64)) if matches else float("-inf")
    return Explanation(document.id, total, matches, terms)


def _spans(spans: Sequence[Spans] | None, count: int | None) -> list[Span | None]:
    """Spans of the vectors of one text; unknown where they are not as many as the `count` that is expected."""
    if spans is None or count not in (None, len(spans[0])):
        return [None] * (count or 0)
    return [(int(a), int(b)) if b > a else None for a, b in spans[0]]


def _match(
    index: int,
    token: int,
    score: float,
    query: str,
    document: Document,
    query_span: Span | None,
    span: Span | None,
) -> TokenMatch:
    field, inside = _field(document, span)
    owner = {"title": document.title, "text": document.text}.get(field or "", "")
    return TokenMatch(
        query_token=index,
        document_token=token,
        score=score,
        query_text=query[slice(*query_span)] if query_span else "",
        document_text=owner[slice(*inside)] if inside else "",
        query_span=query_span,
        document_span=inside,
        field=field,
    )


def _field(document: Document, span: Span | None) -> tuple[Literal["title", "text"] | None, Span | None]:
    """Where a span of the encoded text lies in the document."""
    if span is None:
        return None, None
    shift = len(document.title) + 1 if document.title else 0
    if span[0] >= shift:
        return "text", (span[0] - shift, span[1] - shift)
    return "title", (span[0], min(span[1], len(document.title)))
