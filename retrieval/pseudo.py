"""Queries for measuring and fitting where nobody has asked yet: short passages or some vectors of stored documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..encoders.base import Encoder
from ..encoders.embeddings import TokenEmbeddings
from .documents import encoded_text
from .snapshot import IntArray, Snapshot
from .types import Document

_WORDS = 12
_RUN = 16
"""Neighbouring vectors that are as hard a question as the words."""
_SCATTERED = 32
"""Vectors from all over a document, whose second moments are nearer to those of real queries than a run's."""
_CHARACTERS = 1000
NOBODY = -1
"""Owner of a query that was not cut from a stored document."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Encoded queries. owners: the row of the document each was cut from, which is too easy to find, or `NOBODY`."""

    owners: Sequence[int]
    embeddings: TokenEmbeddings

    def __len__(self) -> int:
        return len(self.owners)


def live_rows(snapshot: Snapshot) -> IntArray:
    """Rows of all documents that are not deleted, ascending within a segment."""
    parts = [s.rows if mask is None else s.rows[mask] for s, mask in zip(snapshot.segments, snapshot.live, strict=True)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def pseudo_queries(
    snapshot: Snapshot, encoder: Encoder | None, rows: IntArray, rng: np.random.Generator, *, scattered: bool = False
) -> Queries:
    """A query from each of the documents `rows`, or none from one without words: encoded words, or stored vectors.

    scattered: vectors from all over a document, to fit to; else neighbours, to judge with.
    """
    if encoder is not None:
        return _from_texts(snapshot, encoder, rows, rng)
    return _from_vectors(snapshot, rows, rng, scattered=scattered)


def _from_texts(snapshot: Snapshot, encoder: Encoder, rows: IntArray, rng: np.random.Generator) -> Queries:
    owners, texts = [], []
    for row, record in sorted(snapshot.catalog.records(rows.tolist()).items()):
        words = encoded_text(Document(record.id, record.text, record.title)).split()
        if words:
            start = int(rng.integers(0, max(1, len(words) - _WORDS + 1)))
            owners.append(row)
            texts.append(" ".join(words[start : start + _WORDS])[:_CHARACTERS])
    return Queries(owners, encoder.encode_queries(texts))


def _from_vectors(snapshot: Snapshot, rows: IntArray, rng: np.random.Generator, *, scattered: bool) -> Queries:
    owners, queries = [], []
    for row in np.sort(rows).tolist():
        segment, position = snapshot.locate(row)
        begin, end = int(segment.offsets[position]), int(segment.offsets[position + 1])
        if end > begin and snapshot.fitted is not None:
            if scattered:
                chosen = begin + rng.choice(end - begin, size=min(end - begin, _SCATTERED), replace=False)
            else:
                start = int(rng.integers(begin, max(begin + 1, end - _RUN + 1)))
                chosen = np.arange(start, min(end, start + _RUN))
            owners.append(row)
            queries.append(snapshot.fitted.finest.decode(segment.finest[np.sort(chosen)]))
    return Queries(owners, TokenEmbeddings.from_list(queries, dim=snapshot.dim))
