"""Centroid and product quantization: pq16, pq32 and pq48 spend so many bytes on the residual."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ..clustering import k_means
from ..kernels.nearest import WHOLE
from .words import WordCodec

ROUNDS = 6
VECTORS_PER_WORD = 64
"""Residuals for each entry of a codebook, at most."""


class PqCodec(WordCodec):
    """The direction of a vector as a centroid and `subspaces` codes of its residual, and a constant for its length.

    The rotation, random, spreads a vector evenly over subspaces of about equal size. The constant gives the decoded
    vector the length of the vector, without which coarsely coded tokens would be shorter and lose to others.
    """

    subspaces: ClassVar[int]
    rotated = True
    scaling: ClassVar[int] = WHOLE

    @classmethod
    def sizes(cls, dim: int) -> IntArray:
        """`(subspaces,)` int64 dimensions of each, equal or one apart; none for some if there are not enough."""
        whole, more = divmod(dim, cls.subspaces)
        return np.full(cls.subspaces, whole, np.int64) + (np.arange(cls.subspaces) < more)

    @classmethod
    def fit_book(cls, residuals: FloatArray, sizes: IntArray) -> FloatArray:
        """`(subspaces, 256, width)` float32 centroids of the residuals in each subspace."""
        book = np.zeros(cls.book_shape(residuals.shape[1]), np.float32)
        stops = np.cumsum(sizes)
        for m in np.flatnonzero(sizes):
            part = residuals[:, stops[m] - sizes[m] : stops[m]]
            book[m, :, : sizes[m]] = k_means(part, 256, ROUNDS, VECTORS_PER_WORD)
        return book


class Pq16Codec(PqCodec):
    """16 bytes of codes, up to 2 for the centroid and 2 for the constant."""

    name = "pq16"
    subspaces = 16


class Pq32Codec(PqCodec):
    """32 bytes of codes, up to 2 for the centroid and 2 for the constant."""

    name = "pq32"
    subspaces = 32


class Pq48Codec(PqCodec):
    """48 bytes of codes, up to 2 for the centroid and 2 for the constant."""

    name = "pq48"
    subspaces = 48
