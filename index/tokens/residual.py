"""Centroid and residual of 1, 2 or 4 bits a dimension (ColBERTv2, Santhanam et al., NAACL 2022)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ..kernels.nearest import WHOLE
from .words import WordCodec


class ResidualCodec(WordCodec):
    """The direction of a vector as a centroid and `bits` of each coordinate of its residual.

    The values that bits stand for are quantiles of the residuals of all dimensions: of `2**bits` buckets of equal
    frequency, the medians. A coordinate becomes the nearest. A decoded vector has the length of the vector.
    """

    bits: ClassVar[int]
    rotated = False
    scaling = WHOLE

    @classmethod
    def sizes(cls, dim: int) -> IntArray:
        """`(ceil(dim * bits / 8),)` int64: the dimensions in a byte, the last perhaps with fewer."""
        per_byte = 8 // cls.bits
        sizes = np.full(-(-dim // per_byte), per_byte, np.int64)
        sizes[-1] -= sizes.sum() - dim
        return sizes

    @classmethod
    def book_shape(cls, dim: int) -> tuple[int, int, int]:  # noqa: ARG003 - the same for all
        """One book for all bytes, in whole words."""
        return 1, 256, max(4, 8 // cls.bits)

    @classmethod
    def fit_book(cls, residuals: FloatArray, sizes: IntArray) -> FloatArray:  # noqa: ARG003 - shared by all bytes
        """`(1, 256, width)` float32 values of the dimensions in a byte, the first in its lowest bits."""
        levels = 2**cls.bits
        values = np.quantile(residuals, (np.arange(levels) + 0.5) / levels)
        per_byte = 8 // cls.bits
        book = np.zeros(cls.book_shape(residuals.shape[1]), np.float32)
        codes = np.arange(256)[:, None] >> (cls.bits * np.arange(per_byte)) & (levels - 1)
        book[0, :, :per_byte] = values[codes]
        return book


class Residual1Codec(ResidualCodec):
    """One bit a dimension, up to 2 bytes for the centroid and 2 for the length."""

    name = "residual1"
    bits = 1


class Residual2Codec(ResidualCodec):
    """Two bits a dimension, up to 2 bytes for the centroid and 2 for the length."""

    name = "residual2"
    bits = 2


class Residual4Codec(ResidualCodec):
    """Four bits a dimension, up to 2 bytes for the centroid and 2 for the length."""

    name = "residual4"
    bits = 4
