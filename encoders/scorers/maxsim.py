"""MaxSim of a late-interaction encoder as a scorer of pairs: the use of an encoder too heavy for the index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from ..base import Encoder
from ..embeddings import FloatArray
from .base import Pair, checked_pairs, checked_scores

DOCUMENTS_AT_ONCE = 64
"""Documents whose vectors are held together; those of the queries of a call are held until it returns."""


class MaxSimScorer:
    """Scores of pairs by exact MaxSim in float32 over all vectors that an encoder makes of both texts.

    A document without vectors scores the lowest that documents with vectors of length 1 can: the sum of the lengths of
    the query's vectors, negated. Elsewhere such a document has no score, which a scorer may not answer. A query without
    vectors scores 0 with every document. Safe to use from several threads where the encoder is.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @cached_property
    def fingerprint(self) -> str:
        """`maxsim:` and the digest of the encoder's fingerprint."""
        return f"maxsim:{self._encoder.fingerprint.digest}"

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """`(n,)` float32 MaxSim scores, in order; each distinct text of the call is encoded once.

        Raises `ScorerError` on vectors so long that their products are no finite numbers, and what the encoder raises.
        """
        asked = checked_pairs(pairs)
        queries = self._queries(asked)
        scores = np.empty(len(asked), np.float32)
        for document, places in self._documents(asked):
            for place in places:
                scores[place] = maxsim(queries[asked[place][0]], document)
        return checked_scores(scores, len(asked), f"MaxSim by the encoder {self._encoder.name}")

    def _queries(self, asked: Sequence[Pair]) -> dict[str, FloatArray]:
        texts = list(dict.fromkeys(query for query, _ in asked))
        return dict(zip(texts, self._encoder.encode_queries(texts), strict=True))

    def _documents(self, asked: Sequence[Pair]) -> Iterator[tuple[FloatArray, list[int]]]:
        """The vectors of each distinct document, and the places of the pairs it is in."""
        places: dict[str, list[int]] = {}
        for place, (_, document) in enumerate(asked):
            places.setdefault(document, []).append(place)
        texts = list(places)
        for start in range(0, len(texts), DOCUMENTS_AT_ONCE):
            block = texts[start : start + DOCUMENTS_AT_ONCE]
            for text, vectors in zip(block, self._encoder.encode_documents(block), strict=True):
                yield vectors, places[text]


def maxsim(query: FloatArray, document: FloatArray) -> np.float32:
    """The sum over `(n, dim)` query vectors of the largest inner product with one of `(m, dim)` document vectors.

    Without document vectors, the lowest sum that any of length 1 could give.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused where scores are checked
        if not len(document):
            return np.float32(-np.linalg.norm(query, axis=1).sum())
        return np.float32((query @ document.T).max(axis=1).sum())
