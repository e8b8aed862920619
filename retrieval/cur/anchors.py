"""Which items every query is asked about first.

A few items whose scores tell most about the others: any at random (ANNCUR), those nearest to cluster centres, or those
that greedy elimination finds the most independent. All return `(k,)` distinct int64 rows, `min(k, n)` of them, in an
order whose every beginning is a choice as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from ...index.clustering import k_means, nearest

Choice = Literal["random", "k-means", "pivoted"]
_EXHAUSTED = 1e-10
"""Part of the largest squared length below which all items are combinations of the chosen ones."""


def choose_anchors(vectors: FloatArray, count: int, choice: Choice = "pivoted", seed: int = 0) -> IntArray:
    """`count` anchors among `(n, d)` float32 item vectors.

    Raises `InvalidInputError` on another choice and on a count below 1.
    """
    if choice not in _CHOICES or count < 1:
        raise InvalidInputError(f"cannot choose {count} anchors by {choice!r}; there are {', '.join(_CHOICES)}")
    return _CHOICES[choice](vectors, min(count, len(vectors)), seed)


def random_anchors(vectors: FloatArray, count: int, seed: int) -> IntArray:
    """Any items, each equally likely."""
    return np.random.default_rng(seed).permutation(len(vectors))[:count].astype(np.int64)


def central_anchors(vectors: FloatArray, count: int, seed: int) -> IntArray:
    """The item nearest to each k-means centroid, in random order; where two share one, others at random."""
    rng = np.random.default_rng(seed)
    if not count:
        return np.empty(0, np.int64)
    if not vectors.shape[1]:
        return random_anchors(vectors, count, seed)
    centroids = k_means(vectors, count)
    central = np.unique(nearest(centroids, vectors))
    rest = np.setdiff1d(np.arange(len(vectors)), central)
    chosen = np.concatenate([rng.permutation(central), rng.permutation(rest)])[:count]
    return chosen.astype(np.int64)


def pivoted_anchors(vectors: FloatArray, count: int, seed: int) -> IntArray:
    """The pivots of QR with column pivoting: each the item farthest from the span of those before (Golub, 1965).

    When the span is exhausted it starts anew with the other items. `count` scans of the vectors. The seed is not used.
    """
    del seed
    chosen: list[int] = []
    lengths = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    floor = _EXHAUSTED * lengths.max(initial=0.0)
    left, basis = lengths.copy(), np.zeros((0, vectors.shape[1]))
    while len(chosen) < count:
        left[chosen] = -1.0
        row = int(left.argmax())
        if len(basis) and left[row] <= floor:
            left, basis = lengths.copy(), basis[:0]
            continue
        chosen.append(row)
        axis = vectors[row].astype(np.float64)
        for _ in range(2):
            axis -= basis.T @ (basis @ axis)
        length = float(np.linalg.norm(axis))
        if length > 0:
            basis = np.vstack([basis, axis / length])
            left -= np.square(vectors @ (axis / length).astype(np.float32), dtype=np.float64)
    return np.array(chosen, np.int64)


_CHOICES: dict[str, Callable[[FloatArray, int, int], IntArray]] = {
    "random": random_anchors,
    "k-means": central_anchors,
    "pivoted": pivoted_anchors,
}
