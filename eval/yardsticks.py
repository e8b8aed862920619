"""What the index is compared with: BM25 over stems, and the same encoder with one mean vector a document."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..encoders.embeddings import FloatArray, TokenEmbeddings
from ..encoders.errors import MissingExtraError
from ..retrieval.fusion import reciprocal_rank_fusion
from .beir import Dataset
from .metrics import Rankings


def fused_run(parts: Sequence[Rankings], k: int = 100) -> Rankings:
    """Reciprocal rank fusion of runs over the same queries, as mode `hybrid` does it."""
    fused: Rankings = {}
    for query in parts[0]:
        rows = {id_: row for row, id_ in enumerate(dict.fromkeys(id_ for run in parts for id_, _ in run[query]))}
        ids = list(rows)
        best = reciprocal_rank_fusion([[rows[id_] for id_, _ in run[query]] for run in parts], k)
        fused[query] = [(ids[row], score) for row, score in best]
    return fused


def bm25_run(dataset: Dataset, k: int = 100) -> Rankings:
    """BM25 (k1 1.2, b .75) over title and text, English stop words removed, Snowball stems.

    Raises `MissingExtraError` without the extra `bench`.
    """
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise MissingExtraError("the BM25 yardstick", "bench") from error

    def tokens(texts: Sequence[str]) -> list[list[str]]:
        words: list[list[str]] = bm25s.tokenize(
            list(texts), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )
        return words

    stemmer = Stemmer.Stemmer("english")
    ranker = bm25s.BM25(k1=1.2, b=0.75)
    ranker.index(tokens([f"{d.title} {d.text}" for d in dataset.documents]), show_progress=False)
    rows, scores = ranker.retrieve(
        tokens(list(dataset.queries.values())), k=min(k, len(dataset.documents)), show_progress=False
    )
    return {
        query: [
            (dataset.documents[row].id, float(score)) for row, score in zip(found, values, strict=True) if score > 0
        ]
        for query, found, values in zip(dataset.queries, rows, scores, strict=True)
    }


def mean_pooled(embeddings: TokenEmbeddings) -> FloatArray:
    """`(n, dim)` float32: each item's mean vector, scaled to length 1; zeros for an item without vectors."""
    means = np.zeros((len(embeddings), embeddings.dim), np.float32)
    for row, vectors in enumerate(embeddings):
        if len(vectors):
            means[row] = vectors.mean(axis=0)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    means /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return means


def cosine_run(dataset: Dataset, documents: FloatArray, queries: FloatArray, k: int = 100) -> Rankings:
    """Rank by inner product of single vectors.

    documents: `(len(dataset.documents), dim)` and queries: `(len(dataset.queries), dim)`, float32, length 1,
    in the order of the dataset. Ties are ordered as the corpus is.
    """
    scores = queries @ documents.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return {
        query: [(dataset.documents[row].id, float(values[row])) for row in rows]
        for query, rows, values in zip(dataset.queries, best, scores, strict=True)
    }
