"""Small codebooks of different vectors or centroids, on spheres or not."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import FloatArray
from ..clustering import k_means, nearest

ROUNDS = 15
"""Rounds of k-means."""


def codebook(sample: FloatArray, entries: int, *, spherical: bool) -> FloatArray:
    """`(K, dim)` float32, K <= entries: the different vectors of `(t, dim)`, if they are no more, else by k-means.

    spherical: centroids are directions, found by cosine, each as long as the vectors of its cluster are on average.
    Without a sample, one vector of zeros.
    """
    if not len(sample):
        return np.zeros((1, sample.shape[1]), np.float32)
    different = np.unique(sample, axis=0)
    if len(different) <= entries:
        return different
    lengths = np.sqrt(np.einsum("ij,ij->i", sample, sample))
    if not spherical or not lengths.all():
        return k_means(sample, entries, ROUNDS)
    directions = np.ascontiguousarray(sample / lengths[:, None])
    centroids = k_means(directions, entries, ROUNDS, spherical=True)
    members = nearest(directions, centroids)
    sizes = np.bincount(members, lengths, entries) / np.maximum(np.bincount(members, minlength=entries), 1)
    book: FloatArray = (centroids * sizes[:, None]).astype(np.float32)
    return book
