"""A scorer behind a budget: what it is asked is counted, and it is never asked more than it may be."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from ..embeddings import FloatArray
from ..errors import CallBudgetError, InvalidInputError
from .base import Pair, ScoreFunction, Scorer, as_scorer, checked_pairs, checked_scores

BATCH = 128
"""Pairs handed to a scorer at once: enough for it to make batches of equal length."""


class CountedScorer:
    """Scores by another scorer, which sees each distinct pair of a call once, in batches, and no pair beyond a limit.

    The number of pairs is charged before the scorer sees them, and a failed call stays charged, so that `calls` is
    never below what the scorer was asked. Safe to use from several threads, one call at a time.
    """

    def __init__(self, scorer: Scorer | ScoreFunction, limit: int | None = None, *, batch: int = BATCH) -> None:
        """Count what `scorer` is asked, up to `limit` pairs in all (no limit when None), `batch` pairs at a time.

        Raises `InvalidInputError` on a negative limit, a batch below one, or what is no scorer.
        """
        if limit is not None and limit < 0:
            raise InvalidInputError(f"limit is {limit}; expected at least 0, or None for no limit")
        if batch < 1:
            raise InvalidInputError(f"batch is {batch}; expected at least 1")
        self._scorer = as_scorer(scorer)
        self._limit = limit
        self._batch = batch
        self._calls = 0
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """That of the scorer which is counted."""
        return self._scorer.fingerprint

    @property
    def limit(self) -> int | None:
        """Pairs that may be scored in all; None for any number."""
        return self._limit

    @property
    def calls(self) -> int:
        """Pairs that the scorer was asked so far."""
        return self._calls

    @property
    def left(self) -> int | None:
        """Pairs that may still be asked; None for any number."""
        return None if self._limit is None else self._limit - self._calls

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """`(n,)` float32 scores; a pair that occurs twice is asked once.

        Raises `CallBudgetError` before anything is scored when `pairs` do not fit into the budget, `InvalidInputError`
        on what are no pairs of texts, and `ScorerError` on scores that are no finite numbers.
        """
        asked = checked_pairs(pairs)
        distinct = list(dict.fromkeys(asked))
        with self._lock:
            if self._limit is not None and self._calls + len(distinct) > self._limit:
                raise CallBudgetError(
                    f"{len(distinct)} pairs to score, {self._limit - self._calls} left of a budget of {self._limit}"
                )
            found: dict[Pair, np.float32] = {}
            for start in range(0, len(distinct), self._batch):
                batch = distinct[start : start + self._batch]
                self._calls += len(batch)
                scores = checked_scores(self._scorer.score(batch), len(batch), "the scorer")
                found.update(zip(batch, scores, strict=True))
        return np.array([found[pair] for pair in asked], np.float32)
