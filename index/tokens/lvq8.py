"""Token vectors as LVQ-8 rows: one byte a dimension and four more."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import FloatArray
from ..kernels.rows import CONSTANT_BYTES, LVQ8
from ..lvq import LVQ
from .base import Codes
from .levels import LevelCodec


class Lvq8Codec(LevelCodec):
    """LVQ-8 around zero: without a dataset mean, rows added later equal those of a fresh build."""

    name = "lvq8"
    layout = LVQ8

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._lvq = LVQ(np.zeros(dim, np.float32))

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
        return self.dim + CONSTANT_BYTES

    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, dim + 4)` uint8 rows. Raises `InvalidEmbeddingsError` on values beyond +-65,504 and NaN."""
        return self._lvq.encode(vectors)

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32: `step / 2` in every coordinate, times the square root of `dim`, and float32 rounding."""
        self._check_codes(codes)
        return self._lvq.error_bound(codes)
