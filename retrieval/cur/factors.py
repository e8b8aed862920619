"""Item vectors moved to agree with a few exact scores: matrix factorisation that starts from, and stays near, the old.

The MF step of AXN (arXiv 2405.03651, MF_Trns) without gradient descent: of queries and items in turn, each vector is a
ridge regression towards the one of the first stage (alternating least squares). An item without scores keeps its
vector, so later documents need no fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from .collect import SparseScores
from .items import ItemVectors, checked_matrix
from .regression import DoubleArray

RIDGE = 1.0
EPOCHS = 5


@dataclass(frozen=True, eq=False)
class Factors:
    """Fitted vectors of items, and of the queries they were fitted with.

    queries: `(k_q, d)` float32. losses: what is minimised, at the start and after each epoch, never rising: the squared
    errors of the scores on the scale of the first stage, and ridge times the squared moves of all vectors.
    """

    items: ItemVectors
    queries: FloatArray
    losses: tuple[float, ...]


def refine_items(
    items: ItemVectors, queries: npt.ArrayLike, scores: SparseScores, *, ridge: float = RIDGE, epochs: int = EPOCHS
) -> Factors:
    """Move the vectors of `items` so that inner products with those of queries come nearer to exact scores.

    queries: `(k_q, d)` first-stage vectors of the queries that `scores` are of. ridge: what a squared move costs,
    in squared errors relative to the mean squared length of an item vector. The scores of each query are brought to the
    mean and the common spread of its first-stage scores, since the scorer's scale is its own.

    Raises `InvalidInputError` on shapes that do not fit, rows that do not exist, ridge not above 0 or epochs below 0.
    """
    first, vectors = checked_matrix(queries, "queries").astype(np.float64), items.vectors.astype(np.float64)
    if first.shape[1] != vectors.shape[1]:
        raise InvalidInputError(f"queries have {first.shape[1]} dimensions, items have {vectors.shape[1]}")
    if scores.queries.max(initial=-1) >= len(first) or scores.items.max(initial=-1) >= len(vectors):
        raise InvalidInputError(f"scores name rows beyond {len(first)} queries and {len(vectors)} items")
    if not ridge > 0 or epochs < 0:
        raise InvalidInputError(f"ridge is {ridge}, epochs is {epochs}; expected above 0, and at least 0")
    problem = _Problem(first, vectors, items.means, scores, ridge * (items.scale or 1.0))
    losses = [problem.loss(first, vectors)]
    left, right = first, vectors
    for _ in range(epochs):
        left = problem.moved(first, right, problem.by_query, scores.items)
        right = problem.moved(vectors, left, problem.by_item, scores.queries)
        losses.append(problem.loss(left, right))
    return Factors(ItemVectors(right.astype(np.float32), items.means), left.astype(np.float32), tuple(losses))


class _Problem:
    """The scores on the scale of the first stage, grouped both ways."""

    def __init__(
        self, first: DoubleArray, vectors: DoubleArray, means: FloatArray, scores: SparseScores, penalty: float
    ) -> None:
        self._start = first, vectors
        self._rows = scores.queries, scores.items
        self._penalty = penalty
        expected = means[scores.items]
        self._targets = _targets(_products(first, vectors, *self._rows) + expected, scores) - expected
        self.by_query = list(_groups(scores.queries))
        self.by_item = list(_groups(scores.items))

    def loss(self, left: DoubleArray, right: DoubleArray) -> float:
        errors = self._targets - _products(left, right, *self._rows)
        moves = np.square(left - self._start[0]).sum() + np.square(right - self._start[1]).sum()
        return float(errors @ errors + self._penalty * moves)

    def moved(
        self, start: DoubleArray, others: DoubleArray, groups: list[tuple[int, IntArray]], columns: IntArray
    ) -> DoubleArray:
        """The best vectors of one side, given `others`: `start`, where nothing was scored."""
        made = start.copy()
        for row, members in groups:
            design = others[columns[members]]
            rest = self._targets[members] - design @ start[row]
            made[row] += _ridge(design, rest, self._penalty)
        return made


def _products(left: DoubleArray, right: DoubleArray, queries: IntArray, items: IntArray) -> DoubleArray:
    return np.asarray(np.einsum("ij,ij->i", left[queries], right[items]), np.float64)


def _targets(first: DoubleArray, scores: SparseScores) -> DoubleArray:
    """Scores shifted to the mean of each query's first-stage scores, and shrunk to their common spread."""
    levels, goals = _means(scores.scores, scores.queries), _means(first, scores.queries)
    own, wanted = scores.scores - levels, first - goals
    spread = float(own @ own)
    return goals + own * (np.sqrt(float(wanted @ wanted) / spread) if spread > 0 else 0.0)


def _means(values: npt.NDArray[np.floating], groups: IntArray) -> DoubleArray:
    """The mean of each value's group, at each value."""
    sums = np.bincount(groups, values)
    return np.asarray((sums / np.maximum(1, np.bincount(groups)))[groups], np.float64)


def _groups(rows: IntArray) -> Iterator[tuple[int, IntArray]]:
    order = np.argsort(rows, kind="stable")
    found, starts = np.unique(rows[order], return_index=True)
    if len(found):
        yield from zip(found.tolist(), np.split(order, starts[1:]), strict=True)


def _ridge(design: DoubleArray, rest: DoubleArray, penalty: float) -> DoubleArray:
    """Minimiser of `|rest - design x|^2 + penalty |x|^2`, by the smaller of the two systems."""
    count, dims = design.shape
    if count < dims:
        return np.asarray(design.T @ np.linalg.solve(design @ design.T + penalty * np.eye(count), rest), np.float64)
    return np.asarray(np.linalg.solve(design.T @ design + penalty * np.eye(dims), design.T @ rest), np.float64)
