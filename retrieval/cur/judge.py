"""One query before a scorer: rows in, exact scores out, each text paid for once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from ...encoders.scorers.base import ScoreFunction, Scorer
from ...encoders.scorers.counted import BATCH, CountedScorer

Texts = Sequence[str] | Callable[[IntArray], Sequence[str]]
"""The texts of all rows, or a function that reads those of `(k,)` int64 rows, in order."""


@dataclass(frozen=True, eq=False)
class Reranked:
    """What a query was answered with: all documents that were scored, best first by their exact scores, ties by row.

    rows: `(m,)` int64. scores: `(m,)` float32, on the scale of the scorer. calls: pairs that the scorer was asked;
    fewer than m where texts are equal. rounds: how often it was asked.
    """

    rows: IntArray
    scores: FloatArray
    calls: int
    rounds: int

    def __len__(self) -> int:
        return len(self.rows)

    def top(self, k: int) -> list[tuple[int, float]]:
        """The `k` best as `(row, score)`, fewer where fewer were scored."""
        return list(zip(self.rows[:k].tolist(), self.scores[:k].tolist(), strict=True))


class Judge:
    """Exact scores of the documents of one query, within a budget that cannot be exceeded."""

    def __init__(
        self, scorer: Scorer | ScoreFunction, query: str, texts: Texts, *, budget: int, batch: int = BATCH
    ) -> None:
        """Score documents for `query` by `scorer`, at most `budget` distinct texts, `batch` at a time.

        A scorer that is counted itself lends no more than it has left. Raises `InvalidInputError` on a budget below 1.
        """
        if budget < 1:
            raise InvalidInputError(f"budget is {budget}; expected at least 1 call of the scorer")
        left = scorer.left if isinstance(scorer, CountedScorer) else None
        self._scorer = CountedScorer(scorer, budget if left is None else min(budget, left), batch=batch)
        self._query = query
        self._texts = texts
        self._by_row: dict[int, np.float32] = {}
        self._by_text: dict[str, np.float32] = {}
        self._rounds = 0

    @property
    def calls(self) -> int:
        """Pairs that the scorer was asked for this query."""
        return self._scorer.calls

    @property
    def left(self) -> int:
        """Texts that may still be scored."""
        return self._scorer.left or 0

    def score(self, rows: npt.ArrayLike) -> FloatArray:
        """`(k,)` float32 scores of `(k,)` rows; rows and texts that were scored before cost nothing.

        Raises `CallBudgetError` before anything is scored where the new texts do not fit into the budget, and
        `ScorerError` on NaN and infinite scores.
        """
        asked = np.asarray(rows, np.int64).tolist()
        fresh = [row for row in dict.fromkeys(asked) if row not in self._by_row]
        texts = self._read(np.array(fresh, np.int64))
        unknown = [text for text in dict.fromkeys(texts) if text not in self._by_text]
        if unknown:
            found = self._scorer.score([(self._query, text) for text in unknown])
            self._by_text.update(zip(unknown, found, strict=True))
            self._rounds += 1
        self._by_row.update((row, self._by_text[text]) for row, text in zip(fresh, texts, strict=True))
        return np.array([self._by_row[row] for row in asked], np.float32)

    def result(self) -> Reranked:
        """All that was scored so far."""
        rows = np.array(list(self._by_row), np.int64)
        scores = np.array(list(self._by_row.values()), np.float32)
        order = np.lexsort((rows, -scores))
        return Reranked(rows[order], scores[order], self.calls, self._rounds)

    def _read(self, rows: IntArray) -> list[str]:
        if not len(rows):
            return []
        if callable(self._texts):
            texts = list(self._texts(rows))
        else:
            if rows.min() < 0 or rows.max() >= len(self._texts):
                raise InvalidInputError(f"rows from {rows.min()} to {rows.max()} of {len(self._texts)} texts")
            texts = [self._texts[row] for row in rows.tolist()]
        if len(texts) != len(rows):
            raise InvalidInputError(f"{len(texts)} texts were read for {len(rows)} rows")
        return texts
