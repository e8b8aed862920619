"""A linear map from one kind of document vector to another, by which documents that were not scored get theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...encoders.embeddings import FloatArray
from .regression import DoubleArray

_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Penalties that are tried, as parts of the mean squared length of a vector."""
_EVERY = 5
"""One of so many documents judges the penalty, and takes no part in the fit that it judges."""


@dataclass(frozen=True, eq=False)
class LinearMap:
    """`y ~ x @ matrix + offset`. matrix: `(d, c)`, offset: `(c,)` float32. explained: share of the variance, held out.

    explained is at most 1; 0 and below say that the map knows no more than the mean.
    """

    matrix: FloatArray
    offset: FloatArray
    explained: float

    @classmethod
    def fit(cls, sources: FloatArray, targets: FloatArray) -> LinearMap:
        """The ridge regression of `(n, c)` targets on `(n, d)` sources; fewer than ten give the mean target."""
        count = len(sources)
        if count < 2 * _EVERY:
            mean = targets.mean(axis=0) if count else np.zeros(targets.shape[1])
            return cls(np.zeros((sources.shape[1], targets.shape[1]), np.float32), mean.astype(np.float32), 0.0)
        held = np.arange(count) % _EVERY == 0
        tried = _fits(sources[~held], targets[~held], _RIDGES)
        judged = [_explained(made, sources[held], targets[held]) for made in tried]
        ((matrix, offset),) = _fits(sources, targets, [_RIDGES[int(np.argmax(judged))]])
        return cls(matrix.astype(np.float32), offset.astype(np.float32), float(max(judged)))


def _fits(
    sources: FloatArray, targets: FloatArray, ridges: Sequence[float]
) -> Iterator[tuple[DoubleArray, DoubleArray]]:
    """Matrix and offset for each penalty, by the smaller of the two systems, whose moments are computed once."""
    x, y = sources.astype(np.float64), targets.astype(np.float64)
    means = x.mean(axis=0), y.mean(axis=0)
    x, y = x - means[0], y - means[1]
    size = max(float(np.square(x).sum()) / len(x), np.finfo(np.float64).tiny)
    dual = len(x) < x.shape[1]
    moments, right = (x @ x.T, y) if dual else (x.T @ x, x.T @ y)
    for ridge in ridges:
        found = np.linalg.solve(moments + ridge * size * np.eye(len(moments)), right)
        matrix = x.T @ found if dual else found
        yield matrix, means[1] - means[0] @ matrix


def _explained(made: tuple[DoubleArray, DoubleArray], sources: FloatArray, targets: FloatArray) -> float:
    left = np.square(targets - (sources @ made[0] + made[1])).sum()
    whole = np.square(targets - targets.mean(axis=0)).sum()
    return 1.0 - float(left / whole) if whole > 0 else 0.0
