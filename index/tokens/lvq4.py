"""Token vectors as rotated LVQ-4 rows: half a byte a dimension and four bytes more."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import FloatArray
from ..kernels.rows import LVQ4
from ..lvq import LVQ
from .base import Codes
from .levels import RotatedCodec


class Lvq4Codec(RotatedCodec):
    """LVQ-4 of rotated vectors around zero."""

    name = "lvq4"
    layout = LVQ4

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._lvq = LVQ(np.zeros(dim, np.float32), bits=4)

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
        return self._lvq.width

    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, ceil(dim / 2) + 4)` uint8 rows. Raises `InvalidEmbeddingsError` on values beyond +-65,504 and NaN."""
        self._check_vectors(vectors)
        return self._lvq.encode(self._turned_vectors(vectors))

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32: `step / 2` in every coordinate, times the square root of `dim`, and float32 rounding."""
        self._check_codes(codes)
        return self._lvq.error_bound(codes) + self._rotation_error(codes)
