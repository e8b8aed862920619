"""What is measured of a model during training: retrieval of held-out passages, and the shape of the vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..embeddings import FloatArray, IntArray, TokenEmbeddings
from ..pooling.base import Pooling, pool
from .teacher import maxsim

QUERIES_PER_BLOCK = 32
SAMPLED_VECTORS = 20_000

Folded = Callable[[TokenEmbeddings, TokenEmbeddings], float]
"""`folded(queries, documents)`: how much of the exact ranking an encoding of one vector per document recalls."""


def ranks(queries: TokenEmbeddings, documents: TokenEmbeddings, positives: IntArray) -> IntArray:
    """`(queries,)` int64: the rank by MaxSim of each query's document, from 1; equal scores rank before it."""
    found = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), QUERIES_PER_BLOCK):
        rows = np.arange(start, min(start + QUERIES_PER_BLOCK, len(queries)))
        scores = maxsim(queries.take(rows), documents)
        own = scores[np.arange(len(rows)), positives[rows]]
        found[rows] = (scores >= own[:, None]).sum(axis=1)
    return found


def retrieval(found: IntArray) -> dict[str, float]:
    """MRR@10 and recall@10 of ranks from 1."""
    best = found <= 10
    return {"mrr@10": float((best / found).mean()), "recall@10": float(best.mean())}


def shape(vectors: FloatArray) -> dict[str, float]:
    """Mean cosine of two different vectors, and stable rank |X|_F^2 / |X|_2^2, of unit vectors `(n, dim)`, n >= 2.

    At most `SAMPLED_VECTORS` evenly spaced ones are measured.
    """
    sample = vectors[:: max(1, -(-len(vectors) // SAMPLED_VECTORS))].astype(np.float64)
    count = len(sample)
    total = sample.sum(axis=0)
    cosine = (float(total @ total) - float((sample * sample).sum())) / (count * (count - 1))
    energies = np.linalg.eigvalsh(sample.T @ sample)
    return {"mean_cosine": cosine, "stable_rank": float(energies.sum() / energies[-1])}


def measure(
    queries: TokenEmbeddings,
    documents: TokenEmbeddings,
    positives: IntArray,
    *,
    dims: Sequence[int],
    poolings: Sequence[str],
    folded: Folded | None = None,
) -> dict[str, float]:
    """All metrics of unit vectors, by name: at all dimensions unpooled and with documents pooled, at prefixes unpooled.

    dims: the first is that of the vectors. folded: measures one number more, `folded_recall`.
    """
    measured: dict[str, float] = {}
    for dim in dims:
        asked, answers = queries.leading(dim), documents.leading(dim)
        for name in poolings if dim == dims[0] else ("none",):
            kept, _ = pool(answers, Pooling.parse(name))
            for key, value in retrieval(ranks(asked, kept, positives)).items():
                measured[f"{key}:{dim}:{name}"] = value
    measured |= shape(documents.vectors)
    if folded is not None:
        measured["folded_recall"] = folded(queries, documents)
    return measured
