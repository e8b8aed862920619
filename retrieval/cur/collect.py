"""Scores gathered before any search, for queries that stand for those to come; counted and bounded like all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import CallBudgetError, InvalidInputError
from ...encoders.scorers.counted import CountedScorer


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


def score_matrix(scorer: CountedScorer, queries: Sequence[str], texts: Sequence[str]) -> FloatArray:
    """`(k_q, n)` float32 exact scores of `k_q` queries by `n` texts, for `ItemVectors.fit`: `k_q n` calls at most.

    Raises `CallBudgetError` before the first call where the budget does not allow for all of them.
    """
    needed = len(set(queries)) * len(set(texts))
    if scorer.left is not None and needed > scorer.left:
        raise CallBudgetError(f"{needed} calls for all pairs of queries and texts, {scorer.left} left of the budget")
    matrix = np.empty((len(queries), len(texts)), np.float32)
    known: dict[str, int] = {}
    for row, query in enumerate(queries):
        if query in known:
            matrix[row] = matrix[known[query]]
        else:
            matrix[row] = scorer.score([(query, text) for text in texts])
        known[query] = row
    return matrix


def collect_scores(
    scorer: CountedScorer, queries: Sequence[str], texts: Sequence[str], candidates: npt.ArrayLike
) -> SparseScores:
    """Exact scores of the first-stage candidates of each query, for `refine_items`.

    candidates: `(k_q, k_d)` rows of `texts`, best first. Where the budget does not allow for all, each query gets as
    many of its first ones as all can have.

    Raises `InvalidInputError` on shapes that do not fit and on rows that do not exist.
    """
    rows = np.asarray(candidates, np.int64)
    if rows.ndim != 2 or len(rows) != len(queries):
        raise InvalidInputError(f"candidates have shape {rows.shape} for {len(queries)} queries; expected two axes")
    if rows.size and (rows.min() < 0 or rows.max() >= len(texts)):
        raise InvalidInputError(f"candidates have rows from {rows.min()} to {rows.max()}; there are {len(texts)} texts")
    if scorer.left is not None:
        rows = rows[:, : scorer.left // max(1, len(rows))]
    scores = [
        scorer.score([(query, texts[row]) for row in own.tolist()]) for query, own in zip(queries, rows, strict=True)
    ]
    flat = np.concatenate([np.empty(0, np.float32), *scores])
    return SparseScores(np.repeat(np.arange(len(rows)), rows.shape[1]), rows.reshape(-1), flat)
