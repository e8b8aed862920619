"""Token vectors in IEEE half precision: two bytes a dimension, little-endian."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import FloatArray
from ..kernels.rows import FP16
from .base import Codes
from .common import check_values
from .rows import RowCodec

# Square of half a unit in the last place, by the five exponent bits of a half (0 and 1 share the spacing 2**-24).
_HALF_ULP_SQUARED = np.ldexp(1.0, 2 * (np.maximum(np.arange(32), 1) - 26))


class Fp16Codec(RowCodec):
    """Vectors rounded to the nearest halves."""

    name = "fp16"
    layout = FP16

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
        return 2 * self.dim

    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, 2 * dim)` uint8 rows. Raises `InvalidEmbeddingsError` on values beyond +-65,504 and NaN."""
        self._check_vectors(vectors)
        check_values(vectors)
        return np.ascontiguousarray(vectors, "<f2").view(np.uint8)

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32: the length of a vector of half units in the last place of the stored values."""
        self._check_codes(codes)
        exponents = (codes[:, 1::2] >> 2) & 31
        bounds: FloatArray = np.sqrt(_HALF_ULP_SQUARED[exponents].sum(axis=1)).astype(np.float32)
        return bounds * np.float32(1 + 1e-6)  # rounding of the bound itself
