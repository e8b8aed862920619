"""What codecs of LVQ rows share: MaxSim in integers, and a random rotation where codes have few levels."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ..encodings.streams import signs
from ..kernels import byte_maxsim
from ..kernels.targets import panels, products
from .base import Codes
from .rows import RowCodec

_SIGNS = (4, 0, 102)
"""Random stream of all rotations."""


def rotation(dim: int) -> FloatArray:
    """A `(dim, dim)` float32 orthogonal matrix that spreads every coordinate over all; it follows from `dim`.

    Random signs, then the Kronecker product of a cosine transform and a Hadamard matrix as large as divides `dim`.
    Codes of four bits lose as little by it as by a uniformly random one, and no factorization has to repeat itself
    to the last bit on another machine.
    """
    two = dim & -dim
    rest = dim // two
    hadamard = np.ones((1, 1))
    while len(hadamard) < two:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    cosine = np.cos(np.pi / rest * np.arange(rest)[:, None] * (np.arange(rest) + 0.5))
    cosine[0] /= np.sqrt(2)
    matrix: FloatArray = (np.kron(cosine, hadamard) * np.sqrt(2 / dim) * signs((dim,), _SIGNS)).astype(np.float32)
    return matrix


class LevelCodec(RowCodec):
    """LVQ rows, scored in integers without decoding.

    A search hands over the same queries again and again, for each segment and at each stage, so that a codec remembers
    what it prepared for the last `TokenEmbeddings` object, whose vectors must not be changed in place. That is one
    attribute, replaced as a whole, so that threads may share a codec; large batches are not kept alive.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._known: tuple[TokenEmbeddings, tuple[byte_maxsim.Asked, ...]] | None = None

    def score(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """MaxSim over the decoded vectors; see `TokenCodec.score`."""
        self._check_codes(codes)
        return byte_maxsim.score(self._prepared(queries), codes, self.layout, offsets, positions)

    def estimate(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Scores of queries in one signed byte a coordinate instead of two; see `TokenCodec.estimate`."""
        self._check_codes(codes)
        return byte_maxsim.estimate(self._prepared(queries), codes, self.layout, offsets, positions)

    def _prepared(self, queries: TokenEmbeddings) -> tuple[byte_maxsim.Asked, ...]:
        known = self._known
        if known is not None and known[0] is queries:
            return known[1]
        self._check_vectors(queries.vectors)
        prepared = byte_maxsim.prepare(self._turned(queries))
        if len(prepared) == 1:
            self._known = queries, prepared
        return prepared

    def _turned(self, queries: TokenEmbeddings) -> TokenEmbeddings:
        """Queries in the space of the codes."""
        return queries


class RotatedCodec(LevelCodec):
    """LVQ rows of randomly rotated vectors.

    A few levels suit coordinates of about equal spread, which a random rotation gives them; it changes no inner
    product. The rotation follows from the dimension.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        matrix = rotation(dim)
        self._forth, self._back = panels(matrix), panels(matrix.T)

    def decode(self, codes: Codes) -> FloatArray:
        """`(t, dim)` float32 vectors that the rows stand for, rotated back."""
        return self._rotate(super().decode(codes), self._back)

    def _turned(self, queries: TokenEmbeddings) -> TokenEmbeddings:
        return TokenEmbeddings(self._turned_vectors(queries.vectors), queries.offsets)

    def _turned_vectors(self, vectors: FloatArray) -> FloatArray:
        return self._rotate(vectors, self._forth)

    def _rotate(self, vectors: FloatArray, packed: FloatArray) -> FloatArray:
        return np.ascontiguousarray(products(vectors, packed)[:, : self.dim])

    def _rotation_error(self, codes: Codes) -> FloatArray:
        """`(t,)` float32: what rounding of `dim` products a coordinate adds to `error_bound`, there and back."""
        lengths = np.linalg.norm(super().decode(codes), axis=1)
        bound: FloatArray = lengths * np.float32(self.dim**1.5 * 2.0**-22)
        return bound
