"""Centroids for many vectors, by clustering that compares no vector with all centroids.

`two_level` clusters a sample into groups and each group into centroids, with k-means of faiss: a vector meets the
groups and then the centroids of one, so that 2**18 centroids cost as much as 1,024. `by_token` splits the work along
token ids where they are known (token-aware clustering, TACHIOM, arXiv 2604.28142).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..encoders.embeddings import FloatArray, IntArray
from .kernels.targets import panels, products

SEED = 1
ROUNDS = 8
GROUP_SAMPLE = 256
"""Vectors for each group that the groups are fitted to, at most."""
CENTROID_SAMPLE = 64
"""Vectors for each centroid that it is fitted to, at most."""
BLOCK = 1 << 14
"""Vectors compared with centroids at a time."""


def nearest(vectors: FloatArray, centroids: FloatArray) -> IntArray:
    """`(n,)` int64: the nearest of `(K, dim)` centroids for each of `(n, dim)` vectors."""
    halves = (np.einsum("ij,ij->i", centroids, centroids, dtype=np.float64) / 2).astype(np.float32)
    packed = panels(centroids)
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), BLOCK):
        scores = products(vectors[start : start + BLOCK], packed)[:, : len(centroids)]
        found[start : start + BLOCK] = (scores - halves).argmax(axis=1)
    return found


def k_means(
    vectors: FloatArray, count: int, rounds: int = ROUNDS, sample: int = GROUP_SAMPLE, *, spherical: bool = False
) -> FloatArray:
    """`(count, dim)` float32 centroids of `(n, dim)` vectors, of which at most `sample` a centroid are looked at.

    The same for the same vectors. With no more than `count` vectors, these and zeros.
    spherical: for vectors of unit length; centroids have unit length too (Dhillon and Modha, 2001).
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if len(vectors) <= count:
        found = np.zeros((count, vectors.shape[1]), np.float32)
        found[: len(vectors)] = vectors
        return found
    from faiss import Kmeans

    means = Kmeans(
        vectors.shape[1],
        count,
        niter=rounds,
        seed=SEED,
        max_points_per_centroid=sample,
        min_points_per_centroid=1,
        spherical=spherical,
    )
    with _one_thread():
        means.train(vectors)
    return np.asarray(means.centroids, np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for faiss: sums in one order, and no threads that wait for each other on a busy machine."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def two_level(vectors: FloatArray, groups: int, per_group: int) -> FloatArray:
    """`(groups, per_group, dim)` float32 centroids of `(n, dim)` vectors."""
    if groups == 1:
        return k_means(vectors, per_group)[None]
    seeds = k_means(vectors, groups)
    chosen = nearest(vectors, seeds)
    order = np.argsort(chosen, kind="stable")
    bounds = np.searchsorted(chosen[order], np.arange(groups + 1))
    centroids = np.empty((groups, per_group, vectors.shape[1]), np.float32)
    for g in range(groups):
        members = vectors[order[bounds[g] : bounds[g + 1]]]
        centroids[g] = k_means(members, per_group, sample=CENTROID_SAMPLE)
        centroids[g, len(members) :] = seeds[g]
    return centroids


def allocate(counts: IntArray, total: int) -> IntArray:
    """`(t,)` int64 centroids for tokens that occur `counts` times: in proportion to the square root, `total` in all.

    None for a token that does not occur; else at least one and never more than its vectors. Fewer than `total` if there
    are fewer vectors, more if there are more tokens.
    """
    counts = np.asarray(counts, np.int64)
    roots = np.sqrt(counts)
    low, high = 0.0, float(total) + 1
    for _ in range(64):
        share = (low + high) / 2
        given = np.minimum(np.maximum(np.floor(share * roots), 1), counts)
        low, high = (share, high) if given.sum() <= total else (low, share)
    return np.minimum(np.maximum(np.floor(low * roots), 1), counts).astype(np.int64)


def by_token(vectors: FloatArray, tokens: IntArray, total: int) -> tuple[FloatArray, IntArray]:
    """Centroids of `(n, dim)` vectors, each token id clustered by itself, and the centroid of each vector.

    tokens: `(n,)` ids. Returns `(K, dim)` float32 and `(n,)` int64. Work grows with the vectors times the centroids of
    their own token.
    """
    ids, place, counts = np.unique(tokens, return_inverse=True, return_counts=True)
    given = allocate(counts, total)
    ends = np.cumsum(given)
    order = np.argsort(place, kind="stable")
    stops = np.cumsum(counts)
    centroids = np.empty((int(given.sum()), vectors.shape[1]), np.float32)
    chosen = np.empty(len(vectors), np.int64)
    for i in range(len(ids)):
        members = order[stops[i] - counts[i] : stops[i]]
        own = slice(ends[i] - given[i], ends[i])
        mine = np.ascontiguousarray(vectors[members], np.float32)
        centroids[own] = mine.mean(axis=0) if given[i] == 1 else k_means(mine, int(given[i]), sample=CENTROID_SAMPLE)
        chosen[members] = own.start + (nearest(mine, centroids[own]) if given[i] > 1 else 0)
    return centroids, chosen
