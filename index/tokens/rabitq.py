"""RaBitQ: a centroid and the signs of the rotated residual, with an unbiased estimate (Gao and Long, SIGMOD 2024)."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ..kernels.nearest import RESIDUAL
from .words import WordCodec


class RabitqCodec(WordCodec):
    """One bit a dimension of a randomly rotated residual `r`, and the factor that makes products unbiased.

    With `s` the unit vector of the signs of `r`, it is decoded as `s * |r|**2 / <s, r>`, whose product with `r` is
    `|r|**2`; what is orthogonal to `r` averages to zero over rotations, with an error of about `1 / sqrt(dim)`.
    """

    name = "rabitq"
    rotated = True
    scaling = RESIDUAL

    @classmethod
    def sizes(cls, dim: int) -> IntArray:
        """`(ceil(dim / 8),)` int64: eight dimensions a byte, the last perhaps with fewer."""
        sizes = np.full(-(-dim // 8), 8, np.int64)
        sizes[-1] -= sizes.sum() - dim
        return sizes

    @classmethod
    def book_shape(cls, dim: int) -> tuple[int, int, int]:  # noqa: ARG003 - the same for all
        """One book of signs for all bytes."""
        return 1, 256, 8

    @classmethod
    def fit_book(cls, residuals: FloatArray, sizes: IntArray) -> FloatArray:  # noqa: ARG003 - nothing is fitted
        """`(1, 256, 8)` float32 signs, a bit each, of the length of a coordinate of a unit vector."""
        signs = 2.0 * (np.arange(256)[:, None] >> np.arange(8) & 1) - 1
        return np.asarray(signs[None] / np.sqrt(residuals.shape[1]), np.float32)
