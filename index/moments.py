"""Second moments of vectors, gathered in one pass: all that the reductions of `leanvec.py` learn from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import FloatArray
from ..encoders.errors import InvalidEmbeddingsError, InvalidInputError

DoubleArray = npt.NDArray[np.float64]

BLOCK_ROWS = 4096
"""Vectors multiplied at a time in float32; the products of the blocks are added in float64."""


class Moments:
    """Mean and second moment of the vectors seen so far, in `8 * dim * (dim + 1)` bytes."""

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise InvalidInputError(f"vectors need at least one dimension; got {dim}")
        self._sum: DoubleArray = np.zeros((dim, dim))
        self._total: DoubleArray = np.zeros(dim)
        self._count = 0

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return len(self._sum)

    @property
    def count(self) -> int:
        """Number of vectors seen."""
        return self._count

    @property
    def mean(self) -> DoubleArray:
        """`(dim,)` float64. Raises `InvalidInputError` before the first vector."""
        return self._total / self._some()

    @property
    def matrix(self) -> DoubleArray:
        """`(dim, dim)` float64 mean of `x x^T`: uncentred, as inner products are, and symmetric.

        Raises `InvalidInputError` before the first vector.
        """
        return self._sum / self._some()

    @property
    def centred(self) -> DoubleArray:
        """The same of `x - mean`: for documents, whose mean adds one number to all scores of a query and ranks none.

        Raises `InvalidInputError` before the first vector.
        """
        return self.matrix - np.outer(self.mean, self.mean)

    def _some(self) -> int:
        if not self._count:
            raise InvalidInputError("no vectors were added: they have no moments")
        return self._count

    def add(self, vectors: FloatArray) -> None:
        """Take in `(n, dim)` vectors, which may be a memory map; they are read block by block.

        Raises `InvalidEmbeddingsError` on another dimension, and on values that are not finite or whose squares are
        not; the vectors of one call are then taken in up to the block with such a value.
        """
        if np.ndim(vectors) != 2 or np.shape(vectors)[1] != self.dim:
            raise InvalidEmbeddingsError(f"vectors have shape {np.shape(vectors)}; expected (n, {self.dim})")
        for start in range(0, len(vectors), BLOCK_ROWS):
            block = np.asarray(vectors[start : start + BLOCK_ROWS], np.float32)
            with np.errstate(over="ignore", invalid="ignore"):
                product = block.T @ block
            if not np.isfinite(product.diagonal()).all():  # a bad element spoils its column's sum of squares
                raise InvalidEmbeddingsError("vectors hold NaN, infinite values, or values too large to be squared")
            self._sum += product
            self._total += block.sum(axis=0, dtype=np.float64)
            self._count += len(block)

    def merge(self, other: Moments) -> None:
        """Take in the vectors that `other` has seen. Raises `InvalidInputError` on another dimension."""
        if other.dim != self.dim:
            raise InvalidInputError(f"moments of {other.dim} dimensions cannot join those of {self.dim}")
        self._sum += other._sum
        self._total += other._total
        self._count += other._count
