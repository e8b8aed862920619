"""Token vectors as rotated LVQ-4x4 rows: two levels of half a byte a dimension, and four bytes more."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import FloatArray
from ..kernels.rows import CONSTANT_BYTES, LVQ4, LVQ4X4, decode, quantize
from ..lvq import LVQ
from .base import Codes
from .levels import RotatedCodec

LEVELS = 15
"""Largest code of a level."""


class Lvq4x4Codec(RotatedCodec):
    """LVQ-4 of rotated vectors around zero, then of what it leaves over, in steps a fifteenth as large."""

    name = "lvq4x4"
    layout = LVQ4X4

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._lvq = LVQ(np.zeros(dim, np.float32), bits=4)

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
        return 2 * self._lvq.width - CONSTANT_BYTES

    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, 2 * ceil(dim / 2) + 4)` uint8 rows. Raises `InvalidEmbeddingsError` on values beyond +-65,504 and NaN.

        Each coordinate of the rotated vector is within a thirtieth of a step of what both levels stand for.
        """
        self._check_vectors(vectors)
        turned = self._turned_vectors(vectors)
        primary = self._lvq.encode(turned)
        step = _constants(primary)[:, 1]
        fine = np.stack([step / -2, step / np.float32(LEVELS)], axis=1)
        fine[step == 0, 1] = 1  # a constant vector leaves nothing over
        residual = np.zeros((len(primary), primary.shape[1] - CONSTANT_BYTES), np.uint8)
        quantize(turned - decode(primary, self.dim, LVQ4), fine, residual, LVQ4)
        return np.concatenate([primary, residual], axis=1)

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32: `step / 30` in every coordinate, times the square root of `dim`, and float32 rounding."""
        self._check_codes(codes)
        lower, step = _constants(codes[:, : self._lvq.width]).T
        largest = np.abs(lower) + (LEVELS + 1) * step
        coordinate = step * np.float32(1 / (2 * LEVELS) + 2.0**-14) + largest * np.float32(2.0**-22)
        bound: FloatArray = coordinate * np.float32(np.sqrt(self.dim)) + self._rotation_error(codes)
        return bound


def _constants(primary: Codes) -> FloatArray:
    """`(t, 2)` float32 lower values and steps of LVQ-4 rows."""
    return np.ascontiguousarray(primary[:, -CONSTANT_BYTES:]).view("<f2").astype(np.float32)
