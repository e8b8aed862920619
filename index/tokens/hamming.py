"""Sign codes: a bit a dimension of the rotated vector, scored asymmetrically, or by Hamming distance to rank ahead.

A random rotation spreads what the vectors have over all dimensions, so that every sign says about as much (Charikar,
2002). The codes keep directions only: they are for vectors of unit length.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from ..kernels.hamming import WORD_BYTES, hamming_scores, sign_scores
from ..kernels.targets import panels, products
from .base import Codes, Params
from .common import Codec, check_dim, check_values

WORD_BITS = 8 * WORD_BYTES
_SEED = 0
_ORTHOGONAL = 1e-3
"""Largest error of an element of the product of a stored rotation's columns, which must be those of an isometry."""


class SignCodec(Codec):
    """Signs of `rotation @ x`, as many bits as there are dimensions, rounded up to a multiple of 32.

    rotation: `(bits, dim)` float32 with orthonormal columns, so that additional bits are of use.
    """

    name: ClassVar[str] = "sign"
    fitted: ClassVar[bool] = False

    def __init__(self, rotation: FloatArray) -> None:
        self.rotation = np.ascontiguousarray(rotation, np.float32)
        self.bits: int = self.rotation.shape[0]
        self.dim: int = self.rotation.shape[1]
        self._rows = panels(self.rotation)
        # The length of a sign vector that is nearest, on average, to a unit vector of random direction.
        self._unit = np.float32(np.sqrt(2 / (np.pi * self.bits)))

    @classmethod
    def planned_bytes(cls, dim: int) -> int:
        """See `TokenCodec.planned_bytes`."""
        return cls.fit(np.zeros((1, dim), np.float32)).bytes_per_token

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
        return self.bits // 8

    @classmethod
    def fit(cls, sample: FloatArray) -> Self:
        """A codec for vectors of the dimension of `sample`, `(t, dim)`, whose values do not matter."""
        dim = np.shape(sample)[1]
        check_dim(dim)
        bits = -(-dim // WORD_BITS) * WORD_BITS
        random = np.random.Generator(np.random.Philox(_SEED)).standard_normal((bits, dim))
        return cls(np.linalg.qr(random)[0].astype(np.float32))

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """`rotation`: `(bits, dim)` float32."""
        return {"rotation": self.rotation}

    @classmethod
    def from_params(cls, dim: int, params: Params) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when the array does not fit or is no rotation."""
        check_dim(dim)
        if sorted(params) != ["rotation"]:
            raise InvalidInputError(f"codec {cls.name} has the parameter rotation; got {sorted(params)}")
        rotation = np.asarray(params["rotation"])
        shape = (-(-dim // WORD_BITS) * WORD_BITS, dim)
        if rotation.dtype != np.float32 or rotation.shape != shape:
            raise InvalidInputError(f"the rotation is {rotation.dtype} of {rotation.shape}; expected float32 {shape}")
        if not np.abs(rotation).max() <= 2 or not np.abs(rotation.T @ rotation - np.eye(dim)).max() <= _ORTHOGONAL:
            raise InvalidInputError("the rotation of the sign codec has columns that are not orthonormal")
        return cls(rotation)

    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, bytes_per_token)` uint8 rows. Raises `InvalidEmbeddingsError` on values beyond +-65,504 and NaN."""
        self._check_vectors(vectors)
        check_values(vectors)
        return np.packbits(self._rotated(vectors) > 0, axis=1, bitorder="little")

    def decode(self, codes: Codes) -> FloatArray:
        """`(t, dim)` float32 vectors that the rows stand for."""
        self._check_codes(codes)
        signs = np.where(np.unpackbits(codes, axis=1, bitorder="little"), self._unit, -self._unit)
        return products(signs.astype(np.float32), panels(self.rotation.T))[:, : self.dim]

    def score(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """MaxSim over the decoded vectors; see `TokenCodec.score`."""
        self._check_vectors(queries.vectors)
        self._check_codes(codes)
        turned = TokenEmbeddings(self._rotated(queries.vectors) * self._unit, queries.offsets)
        return sign_scores(turned, codes, offsets, positions)

    def coarse(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """MaxSim of the signs of queries with the signs of documents (Hamming distance); see `TokenCodec.coarse`.

        Whole numbers: a pair of vectors counts the bits that agree less those that do not. No bound relates it to
        `score`.
        """
        self._check_codes(codes)
        return hamming_scores(self.encode(queries.vectors), queries.offsets, codes, offsets, positions)

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32 infinities: signs say nothing of a vector's length."""
        self._check_codes(codes)
        return np.full(len(codes), np.inf, np.float32)

    def _rotated(self, vectors: FloatArray) -> FloatArray:
        """`(t, bits)` float32, the same for a vector whatever is beside it."""
        return products(np.ascontiguousarray(vectors, np.float32), self._rows)[:, : self.bits]
