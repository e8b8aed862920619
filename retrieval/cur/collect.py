"""Scores gathered before any search, for queries that stand for those to come; counted and bounded like all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...encoders.base import Progress
from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import CallBudgetError, InvalidInputError
from ...encoders.scorers.base import Scorer
from ...encoders.scorers.counted import CountedScorer

AT_ONCE = 128
"""Pairs handed over at once: so many are lost at most when a run is interrupted, if the scorer remembers the others."""


@dataclass(frozen=True, eq=False)
class SparseScores:
    """Exact scores of some pairs of `queries` by `items`: three `(m,)` arrays, int64 rows, int64 rows, float32 scores.

    Raises `InvalidInputError` on lengths that differ, negative rows, and scores that are not finite.
    """

    queries: IntArray
    items: IntArray
    scores: FloatArray

    def __post_init__(self) -> None:
        for name, kind in (("queries", np.int64), ("items", np.int64), ("scores", np.float32)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), kind))
        if not self.queries.shape == self.items.shape == self.scores.shape == (np.size(self.scores),):
            raise InvalidInputError(f"shapes {self.queries.shape}, {self.items.shape}, {self.scores.shape} differ")
        if not np.isfinite(self.scores).all() or min(self.queries.min(initial=0), self.items.min(initial=0)) < 0:
            raise InvalidInputError("sparse scores hold a negative row or a score that is not finite")

    def __len__(self) -> int:
        return len(self.scores)


def score_matrix(
    scorer: Scorer, queries: Sequence[str], texts: Sequence[str], progress: Progress | None = None
) -> FloatArray:
    """`(k_q, n)` float32 exact scores of `k_q` queries by `n` texts, for `ItemVectors.fit`: `k_q n` calls at most.

    Equal queries and equal texts are paid for once. Raises `CallBudgetError` before the first call where the budget of
    a counted scorer does not allow for all of them.
    """
    each, distinct = list(dict.fromkeys(queries)), list(dict.fromkeys(texts))
    needed, left = len(each) * len(distinct), _left(scorer)
    if left is not None and needed > left:
        raise CallBudgetError(f"{needed} calls for all pairs of queries and texts, {left} left of the budget")
    made = np.empty((len(each), len(distinct)), np.float32)
    for row, query in enumerate(each):
        for start in range(0, len(distinct), AT_ONCE):
            block = distinct[start : start + AT_ONCE]
            made[row, start : start + len(block)] = scorer.score([(query, text) for text in block])
            _tell(progress, row * len(distinct) + start + len(block), needed)
    return made[np.ix_(_places(queries, each), _places(texts, distinct))]


def collect_scores(
    scorer: Scorer,
    queries: Sequence[str],
    texts: Sequence[str],
    candidates: npt.ArrayLike,
    progress: Progress | None = None,
) -> SparseScores:
    """Exact scores of the first-stage candidates of each query, for `refine_items`.

    candidates: `(k_q, k_d)` rows of `texts`, best first. Where the budget of a counted scorer does not allow for all,
    each query gets as many of its first ones as all can have. Equal texts of a query's candidates are paid for once.

    Raises `InvalidInputError` on shapes that do not fit and on rows that do not exist.
    """
    rows = np.asarray(candidates, np.int64)
    if rows.ndim != 2 or len(rows) != len(queries):
        raise InvalidInputError(f"candidates have shape {rows.shape} for {len(queries)} queries; expected two axes")
    if rows.size and (rows.min() < 0 or rows.max() >= len(texts)):
        raise InvalidInputError(f"candidates have rows from {rows.min()} to {rows.max()}; there are {len(texts)} texts")
    left = _left(scorer)
    if left is not None:
        rows = rows[:, : left // max(1, len(rows))]
    scores = np.empty(rows.shape, np.float32)
    for number, (query, own) in enumerate(zip(queries, rows, strict=True)):
        scores[number] = score_matrix(scorer, [query], [texts[row] for row in own.tolist()])[0]
        _tell(progress, (number + 1) * rows.shape[1], rows.size)
    return SparseScores(np.repeat(np.arange(len(rows)), rows.shape[1]), rows.reshape(-1), scores.reshape(-1))


def _places(values: Sequence[str], distinct: Sequence[str]) -> IntArray:
    """Where each value is among the distinct ones."""
    places = {value: place for place, value in enumerate(distinct)}
    return np.array([places[value] for value in values], np.int64)


def _left(scorer: Scorer) -> int | None:
    return scorer.left if isinstance(scorer, CountedScorer) else None


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress("score", done, total)
