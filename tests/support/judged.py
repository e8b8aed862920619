"""Queries and documents whose exact scores are a matrix, behind the real scorer classes; every call is written down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latefold.encoders.scorers.base import Pair
from latefold.retrieval.cur.items import Items
from latefold.retrieval.cur.judge import Judge
from latefold.retrieval.cur.regression import Regression
from latefold.retrieval.cur.rounds import Surface


class TableScorer:
    """Scores from a `(queries, items)` table; texts are the row numbers. Notes every pair and every batch."""

    fingerprint = "table"

    def __init__(self, table: np.ndarray) -> None:
        self.table = np.atleast_2d(table)
        self.pairs: list[Pair] = []
        self.batches: list[int] = []

    def score(self, pairs: Sequence[Pair]) -> np.ndarray:
        self.pairs += pairs
        self.batches.append(len(pairs))
        return np.array([self.table[int(q), int(d)] for q, d in pairs], np.float32)


def texts_of(count: int) -> list[str]:
    return [str(row) for row in range(count)]


def judge_of(scores: np.ndarray, budget: int, **options) -> tuple[Judge, TableScorer]:
    """A judge of one query whose exact scores are `(n,)`, and the scorer behind it."""
    scorer = TableScorer(scores)
    return Judge(scorer, "0", texts_of(len(scores)), budget=budget, **options), scorer


def low_rank(rng: np.random.Generator, queries: int, items: int, rank: int, noise: float = 0.0):
    """Query factors, item factors, and their exact scores `(queries, items)` float32."""
    left, right = rng.standard_normal((queries, rank)), rng.standard_normal((items, rank))
    scores = left @ right.T + noise * rng.standard_normal((queries, items))
    return left.astype(np.float32), right.astype(np.float32), scores.astype(np.float32)


def estimates(items: Items, anchors: np.ndarray, scores: np.ndarray, regression: Regression) -> np.ndarray:
    """`(n,)` float32 CUR estimates of all items from `(k,)` exact scores of `(k,)` anchors: no scorer is asked."""
    surface = Surface(items, regression, len(anchors))
    surface.add(anchors, scores)
    return surface.estimate()
