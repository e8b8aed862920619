"""Least squares of a few scores on item vectors, with few new items a round: ridge, or a truncated pseudo-inverse.

All solve for `w` and `c` in `score(i) ~ <v_i, w> + c`, in float64, where `c` is free (or 0). Ridge minimises
`|a - V w - c|^2 + penalty |w|^2`. With v_i the i-th column of an anchor-query x item matrix R, `w = pinv(R_A)^T a` is
the CUR estimate of ANNCUR (arXiv 2210.12579, `s = a pinv(R_A) R`), and ridge its stable form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...encoders.errors import InvalidInputError

DoubleArray = npt.NDArray[np.float64]
MIN_RIDGE, MAX_RIDGE = 1e-6, 1e6


class Solver(Protocol):
    """Item vectors that were scored, and the regression of scores on them."""

    def add(self, vectors: npt.ArrayLike) -> None:
        """Take in `(b, d)` vectors of further items."""
        ...

    def solve(self, scores: npt.ArrayLike) -> tuple[DoubleArray, float]:
        """`w` `(d,)` and `c`, for the `(k,)` scores of all items taken in, in their order."""
        ...


@dataclass(frozen=True)
class Regression:
    """How scores are regressed on item vectors.

    ridge: the penalty, as a part of the mean squared length of an item vector (1e-6 to 1e6); its limit at 0 is the
    pseudo-inverse. rcond: where it is given, a pseudo-inverse without the singular values below `rcond` times the
    largest, in place of ridge. intercept: whether a constant column takes up the level of the query's scores.

    Raises `InvalidInputError` on values out of range.
    """

    ridge: float = 0.1
    rcond: float | None = None
    intercept: bool = True

    def __post_init__(self) -> None:
        if not MIN_RIDGE <= self.ridge <= MAX_RIDGE:
            raise InvalidInputError(f"ridge is {self.ridge}; expected {MIN_RIDGE} to {MAX_RIDGE}")
        if self.rcond is not None and not 0 < self.rcond < 1:
            raise InvalidInputError(f"rcond is {self.rcond}; expected a number between 0 and 1")

    def solver(self, dims: int, scale: float, capacity: int) -> Solver:
        """A solver for about `capacity` items of `dims` dimensions, whose mean squared length is `scale`."""
        if self.rcond is not None:
            return TruncatedSvd(dims, self.rcond, self.intercept)
        penalty = self.ridge * (scale if scale > 0 else 1.0)
        if capacity <= dims:
            return DualRidge(dims, penalty, capacity, self.intercept)
        return PrimalRidge(dims, penalty, self.intercept)


class _Rows:
    """`(k, d)` float64 vectors that grow by blocks."""

    def __init__(self, dims: int) -> None:
        self._store = np.empty((16, dims))
        self._count = 0

    @property
    def all(self) -> DoubleArray:
        return self._store[: self._count]

    def add(self, vectors: DoubleArray) -> None:
        end = self._count + len(vectors)
        if end > len(self._store):
            grown = np.empty((max(end, 2 * len(self._store)), self._store.shape[1]))
            grown[: self._count] = self.all
            self._store = grown
        self._store[self._count : end] = vectors
        self._count = end


class PrimalRidge:
    """Ridge by the `(d, d)` moments of the vectors: `b d^2` operations for `b` new items, `d^3` to solve."""

    def __init__(self, dims: int, penalty: float, intercept: bool = True) -> None:
        self._vectors = _Rows(dims)
        self._moments = penalty * np.eye(dims)
        self._sums = np.zeros(dims)
        self._intercept = intercept

    def add(self, vectors: npt.ArrayLike) -> None:
        """Take in `(b, d)` vectors of further items."""
        fresh = np.asarray(vectors, np.float64)
        self._vectors.add(fresh)
        self._moments += fresh.T @ fresh
        self._sums += fresh.sum(axis=0)

    def solve(self, scores: npt.ArrayLike) -> tuple[DoubleArray, float]:
        """`w` `(d,)` and `c`, for the `(k,)` scores of all items taken in."""
        given = np.asarray(scores, np.float64)
        if not self._intercept or not len(given):
            return _solve(self._moments, self._vectors.all.T @ given), 0.0
        mean, level = self._sums / len(given), given.mean()
        w = _solve(self._moments - np.outer(self._sums, mean), self._vectors.all.T @ (given - level))
        return w, float(level - mean @ w)


class DualRidge:
    """Ridge by the `(k, k)` products of the scored items: `b k^2 + b k d` operations for `b` new items, `k^2` to solve.

    `V V^T + penalty I = L L^T`, of which an inverse of `L` is kept and grows by a block row: the orthonormal
    coordinates of earlier items never change, which is the incremental factorisation of ADACUR (arXiv 2305.02996).
    """

    def __init__(self, dims: int, penalty: float, capacity: int, intercept: bool = True) -> None:
        self._vectors = _Rows(dims)
        self._penalty = penalty
        self._inverse = np.zeros((capacity, capacity))
        self._intercept = intercept

    def add(self, vectors: npt.ArrayLike) -> None:
        """Take in `(b, d)` vectors of further items; more than the capacity costs a copy."""
        fresh, known = np.asarray(vectors, np.float64), self._vectors.all
        k, end = len(known), len(known) + len(fresh)
        if end > len(self._inverse):
            grown = np.zeros((2 * end, 2 * end))
            grown[:k, :k] = self._inverse[:k, :k]
            self._inverse = grown
        inverse = self._inverse[:k, :k]
        below = (fresh @ known.T) @ inverse.T
        corner = fresh @ fresh.T + self._penalty * np.eye(len(fresh)) - below @ below.T
        block = _whitening(corner, self._penalty)
        self._inverse[k:end, :k] = -block @ (below @ inverse)
        self._inverse[k:end, k:end] = block
        self._vectors.add(fresh)

    def solve(self, scores: npt.ArrayLike) -> tuple[DoubleArray, float]:
        """`w` `(d,)` and `c`, for the `(k,)` scores of all items taken in."""
        vectors = self._vectors.all
        inverse = self._inverse[: len(vectors), : len(vectors)]
        whitened, c = inverse @ np.asarray(scores, np.float64), 0.0
        if self._intercept and len(vectors):
            ones = inverse.sum(axis=1)
            c = float(ones @ whitened / (ones @ ones))
            whitened = whitened - c * ones
        return vectors.T @ (inverse.T @ whitened), c


class TruncatedSvd:
    """The pseudo-inverse without small singular values, made anew each time: `k d min(k, d)` operations to solve."""

    def __init__(self, dims: int, rcond: float, intercept: bool = True) -> None:
        self._vectors = _Rows(dims)
        self._rcond = rcond
        self._intercept = intercept

    def add(self, vectors: npt.ArrayLike) -> None:
        """Take in `(b, d)` vectors of further items."""
        self._vectors.add(np.asarray(vectors, np.float64))

    def solve(self, scores: npt.ArrayLike) -> tuple[DoubleArray, float]:
        """`w` `(d,)` and `c`, for the `(k,)` scores of all items taken in."""
        vectors, given = self._vectors.all, np.asarray(scores, np.float64)
        if not self._intercept or not len(given):
            return np.linalg.pinv(vectors, rcond=self._rcond) @ given, 0.0
        mean, level = vectors.mean(axis=0), given.mean()
        w = np.linalg.pinv(vectors - mean, rcond=self._rcond) @ (given - level)
        return w, float(level - mean @ w)


def _solve(matrix: DoubleArray, right: DoubleArray) -> DoubleArray:
    try:
        return np.asarray(np.linalg.solve(matrix, right), np.float64)
    except np.linalg.LinAlgError:  # items so much longer than the others that the penalty is lost in rounding
        return np.asarray(np.linalg.lstsq(matrix, right)[0], np.float64)


def _whitening(matrix: DoubleArray, least: float) -> DoubleArray:
    """Some `B` with `B^T B` the inverse of a symmetric matrix, of eigenvalues of `least` and more but for rounding."""
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(matrix)), np.float64)
    except np.linalg.LinAlgError:
        values, directions = np.linalg.eigh(matrix)
        return np.asarray((directions / np.sqrt(np.maximum(values, least))).T, np.float64)
