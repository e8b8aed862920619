"""The item vectors that scores are regressed on, wherever they lie, and those made of a matrix of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from .regression import DoubleArray

Mask = npt.NDArray[np.bool_]

RANK = 64
"""Dimensions that an item keeps at most; a query has no more anchors than tell a few more apart."""
RCOND = 1e-3
"""Directions of less than this part of the strongest are noise of the scorer."""
_BLOCK = 1 << 14
_SMALLEST = 1e-14


class Items(Protocol):
    """`n` items by number, each with a vector and with what is expected of it before a query is known, its mean.

    An estimate of all items is `beta * mean_i + <v_i, w>`, of which the best are found without the others.
    """

    def __len__(self) -> int: ...

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        ...

    @property
    def scale(self) -> float:
        """The mean squared length of a vector."""
        ...

    def take(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """`(b, d)` float32 vectors and `(b,)` float32 means of some items."""
        ...

    def scores(self, w: DoubleArray, beta: float) -> FloatArray:
        """`(n,)` float32 estimates, all finite; the caller may write into them."""
        ...

    def top(self, w: DoubleArray, beta: float, count: int, allowed: Mask) -> IntArray:
        """The `count` best of the allowed items by `scores`, best first; fewer where fewer are allowed."""
        ...


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """`Items` in memory: vectors of `n` items whose inner products with some vector of a query come near to its scores.

    vectors: `(n, d)` float32. means: `(n,)` float32, what is expected of each item before a query is known; 0 where
    none are given. scale: the mean squared length of a vector.

    Raises `InvalidInputError` on shapes that do not fit and on values that are not finite.
    """

    vectors: FloatArray
    means: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    scale: float = field(init=False)

    def __post_init__(self) -> None:
        vectors = checked_matrix(self.vectors, "vectors")
        given = self.means if np.size(self.means) else np.zeros(len(vectors))
        means = checked_matrix(np.reshape(given, (1, -1)), "means")[0]
        if len(means) != len(vectors):
            raise InvalidInputError(f"there are {len(means)} means for {len(vectors)} vectors")
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "scale", float(squares.mean()) if len(vectors) else 0.0)

    @classmethod
    def fit(
        cls, matrix: npt.ArrayLike, *, rank: int | None = RANK, rcond: float = RCOND, centred: bool = True
    ) -> ItemVectors:
        """Item vectors of `(k_q, n)` float32 exact scores R, anchor queries by items: the part of CUR made once.

        A vector holds the coordinates of the item's column in an orthonormal basis of the strongest directions, so that
        regression on vectors is regression on columns. rank: the most dimensions, None for all. rcond: directions below
        this part of the strongest are left out. centred: the level of each query and the mean of each item over queries
        are taken out first (and the means kept); without it the vectors hold R itself (ANNCUR, arXiv 2210.12579).

        Work is `k_q^2 n` operations, through the moments of R: directions below about 1e-7 of the strongest are lost.
        Raises `InvalidInputError` when R has no rows, or values that are not finite, or rank is below 1.
        """
        scores = checked_matrix(matrix, "the matrix of scores")
        if not len(scores) or (rank is not None and rank < 1) or not 0 <= rcond < 1:
            raise InvalidInputError(
                f"cannot fit items to scores of shape {scores.shape} with rank {rank} and rcond {rcond}"
            )
        levels, means = _centres(scores) if centred else (np.zeros(len(scores)), np.zeros(scores.shape[1]))
        basis = _basis(scores, levels, means, rank, rcond)
        parts = [block.T @ basis for block in _blocks(scores, levels, means)]
        vectors = np.concatenate([np.empty((0, basis.shape[1])), *parts]).astype(np.float32)
        return cls(vectors, means.astype(np.float32))

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.vectors.shape[1])

    def take(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Vectors and means of some items."""
        return self.vectors[rows], self.means[rows]

    def scores(self, w: DoubleArray, beta: float) -> FloatArray:
        """Estimates of all items; what float32 cannot hold becomes the largest number it can."""
        with np.errstate(over="ignore", invalid="ignore"):
            found: FloatArray = self.vectors @ w.astype(np.float32)
            found += np.float32(beta) * self.means
        return np.nan_to_num(found, copy=False)

    def top(self, w: DoubleArray, beta: float, count: int, allowed: Mask) -> IntArray:
        """The best of the allowed items."""
        return highest(np.where(allowed, self.scores(w, beta), np.float32(-np.inf)), count)


def _centres(scores: FloatArray) -> tuple[DoubleArray, DoubleArray]:
    """The mean of each query, and the mean of each item over queries without theirs."""
    if not scores.size:
        return np.zeros(len(scores)), np.zeros(scores.shape[1])
    levels = scores.mean(axis=1, dtype=np.float64)
    return levels, scores.mean(axis=0, dtype=np.float64) - levels.mean()


def _blocks(scores: FloatArray, levels: DoubleArray, means: DoubleArray) -> Iterator[DoubleArray]:
    """The centred matrix, some columns at a time."""
    for start in range(0, scores.shape[1], _BLOCK):
        stop = start + _BLOCK
        yield scores[:, start:stop] - levels[:, None] - means[start:stop]


def _basis(scores: FloatArray, levels: DoubleArray, means: DoubleArray, rank: int | None, rcond: float) -> DoubleArray:
    """`(k_q, r)` left singular vectors of the centred matrix, strongest first, each with a fixed sign."""
    moments = np.zeros((len(scores), len(scores)))
    for block in _blocks(scores, levels, means):
        moments += block @ block.T
    squares, directions = np.linalg.eigh(moments)
    squares, directions = squares[::-1], directions[:, ::-1]
    kept = int((squares > max(rcond**2, _SMALLEST) * squares[0]).sum()) if squares[0] > 0 else 0
    basis = directions[:, : kept if rank is None else min(rank, kept)]
    signs = np.sign(np.take_along_axis(basis, np.abs(basis).argmax(axis=0)[None], axis=0))
    return np.asarray(basis * signs, np.float64)


def highest(values: FloatArray, k: int) -> IntArray:
    """Rows of the `k` highest finite values, best first, ties by row; fewer where fewer are finite."""
    n = len(values)
    if k < 1:
        return np.empty(0, np.int64)
    if k < n:
        threshold = np.partition(values, n - k)[n - k]
        above = np.flatnonzero(values > threshold)
        rows = np.concatenate([above, np.flatnonzero(values == threshold)[: k - len(above)]])
    else:
        rows = np.arange(n)
    rows = rows[np.isfinite(values[rows])]
    order: IntArray = rows[np.lexsort((rows, -values[rows]))]
    return order


def checked_matrix(value: npt.ArrayLike, name: str) -> FloatArray:
    """A `(rows, columns)` float32 array of finite values. Raises `InvalidInputError` on anything else."""
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(value, np.float32)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise InvalidInputError(f"{name} has shape {matrix.shape}; expected two axes of finite numbers")
    return matrix
