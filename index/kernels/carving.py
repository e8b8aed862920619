"""Ball carving: greedy groups of near tokens, each replaced by its sum."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from .dots import dot
from .jit import frozen, in_threads, kernel


@kernel
def _carve(
    vectors: FloatArray, offsets: IntArray, threshold: float, out: FloatArray, counts: IntArray, first: int, last: int
) -> None:
    """Write the groups of each item from its own first row on, and how many there are."""
    dim = vectors.shape[1]
    absorbed = np.zeros(offsets[last] - offsets[first], np.bool_)
    for item in range(first, last):
        group = offsets[item]
        for t in range(offsets[item], offsets[item + 1]):
            if absorbed[t - offsets[first]]:
                continue
            for j in range(dim):
                out[group, j] = vectors[t, j]
            for u in range(t + 1, offsets[item + 1]):
                if not absorbed[u - offsets[first]] and dot(vectors, t, vectors, u, dim) >= threshold:
                    absorbed[u - offsets[first]] = True
                    for j in range(dim):
                        out[group, j] += vectors[u, j]
            group += 1
        counts[item] = group - offsets[item]


def carve(tokens: TokenEmbeddings, threshold: float) -> TokenEmbeddings:
    """The carved items; see `encodings.carving.carve`."""
    vectors, offsets = frozen(tokens.vectors, np.float32, 2), frozen(tokens.offsets, np.int64, 1)
    out = np.empty(vectors.shape, np.float32)
    counts = np.empty(len(tokens), np.int64)
    pairs = np.concatenate([[0], np.cumsum(tokens.lengths**2)])
    in_threads(partial(_carve, vectors, offsets, float(threshold), out, counts), pairs, tokens.dim)
    carved = np.concatenate([[0], np.cumsum(counts)])
    rows = np.repeat(offsets[:-1] - carved[:-1], counts) + np.arange(carved[-1])
    return TokenEmbeddings(out[rows], carved)
