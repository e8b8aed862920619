"""The teacher: full-width MaxSim, the cosine of mean vectors and BM25, each standardised per query, and fused.

Fused they rank better than each alone; the small model learns to reproduce their distribution over the passages of a
batch. All of it comes from the cached vectors and word pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..embeddings import FloatArray, IntArray, TokenEmbeddings
from .cache import Terms, TokenCache

SATURATION, LENGTH_SHARE = 1.2, 0.75
"""BM25's k1 and b."""


def maxsim(queries: TokenEmbeddings, documents: TokenEmbeddings) -> FloatArray:
    """`(queries, documents)` float32: MaxSim divided by the number of query tokens. Every text has tokens."""
    similarity = documents.vectors @ queries.vectors.T
    best = np.maximum.reduceat(similarity, documents.offsets[:-1], axis=0)
    total = np.add.reduceat(best, queries.offsets[:-1], axis=1).T
    return np.asarray(total / queries.lengths[:, None], np.float32)


def mean_cosine(queries: TokenEmbeddings, documents: TokenEmbeddings) -> FloatArray:
    """`(queries, documents)` float32: cosine of the texts' mean vectors. Every text has tokens."""

    def means(texts: TokenEmbeddings) -> FloatArray:
        total = np.add.reduceat(texts.vectors, texts.offsets[:-1], axis=0)
        return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9), np.float32)

    return np.asarray(means(queries) @ means(documents).T, np.float32)


def standardise(scores: FloatArray) -> FloatArray:
    """Each row with mean 0 and standard deviation 1; a row of equal scores becomes 0."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(centred / (scores.std(axis=1, keepdims=True) + 1e-6), np.float32)


@dataclass(frozen=True, eq=False)
class Frequencies:
    """Of a corpus: its terms in order, the inverse document frequency of each, and the mean length of a document."""

    terms: Terms
    idf: FloatArray
    mean_length: float

    @classmethod
    def of(cls, cache: TokenCache) -> Frequencies:
        """Count the documents of a cache. Markers (term 0) are no terms."""
        terms, index = np.unique(cache.terms, return_inverse=True)
        owner = np.repeat(np.arange(len(cache)), np.diff(cache.offsets))
        pairs = np.unique(owner.astype(np.int64) * len(terms) + index)
        documents = np.bincount(pairs % max(len(terms), 1), minlength=len(terms))
        idf = np.log1p((len(cache) - documents + 0.5) / (documents + 0.5))
        idf[terms == 0] = 0
        length = float((cache.terms != 0).sum()) / max(len(cache), 1)
        return cls(terms, idf.astype(np.float32), max(length, 1.0))

    def weights(self, terms: Terms) -> FloatArray:
        """Inverse document frequency of terms; 0 for those that no document has."""
        place = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        return np.where(self.terms[place] == terms, self.idf[place], 0).astype(np.float32)


def bm25(queries: list[Terms], documents: list[Terms], frequencies: Frequencies) -> FloatArray:
    """`(queries, documents)` float32: BM25 (Robertson and Zaragoza 2009) over word pieces, k1 = 1.2, b = .75."""
    asked = np.unique(np.concatenate(queries))
    asked = asked[asked != 0]
    if not len(asked):
        return np.zeros((len(queries), len(documents)), np.float32)
    counts = np.zeros((len(documents), len(asked)), np.float32)
    lengths = np.array([(terms != 0).sum() for terms in documents], np.float32)
    for row, terms in enumerate(documents):
        found = terms[np.isin(terms, asked)]
        np.add.at(counts[row], np.searchsorted(asked, found), 1)
    wanted = np.stack([np.isin(asked, terms) for terms in queries]).astype(np.float32)
    room = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * lengths / frequencies.mean_length)
    gain = counts * (SATURATION + 1) / (counts + room[:, None])
    return np.asarray((wanted * frequencies.weights(asked)) @ gain.T, np.float32)


@dataclass(frozen=True, eq=False)
class Teacher:
    """Scores by the fusion of MaxSim, mean cosine and BM25 with these weights."""

    queries: TokenCache
    documents: TokenCache
    frequencies: Frequencies
    maxsim: float
    pooled: float
    bm25: float

    def scores(self, queries: IntArray, documents: IntArray) -> FloatArray:
        """`(queries, documents)` float32 of some rows of the caches."""
        asked, answers = self.queries.embeddings(queries), self.documents.embeddings(documents)
        total = np.zeros((len(queries), len(documents)), np.float32)
        if self.maxsim:
            total += np.float32(self.maxsim) * standardise(maxsim(asked, answers))
        if self.pooled:
            total += np.float32(self.pooled) * standardise(mean_cosine(asked, answers))
        if self.bm25:
            words = [self.queries.terms_of(int(i)) for i in queries]
            pieces = [self.documents.terms_of(int(i)) for i in documents]
            total += np.float32(self.bm25) * standardise(bm25(words, pieces, self.frequencies))
        return total
