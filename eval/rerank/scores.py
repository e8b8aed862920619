"""All scores of a scorer for some queries and a whole collection, made once and kept on disk, row by row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...encoders.embeddings import FloatArray
from ...encoders.errors import StorageError
from ...encoders.scorers.base import Pair, Scorer

Said = Callable[[int, int], None]
_AT_ONCE = 2_048


def exact_scores(
    folder: Path, scorer: Scorer, queries: Sequence[str], texts: Sequence[str], said: Said | None = None
) -> FloatArray:
    """`(m, n)` float32 scores of all pairs, from `folder` as far as they are there.

    A row is written when it is whole: an interrupted run goes on with the next one. said: called with rows done and
    rows in all. Raises `StorageError` when the folder cannot be written, and what the scorer raises.
    """
    rows = np.empty((len(queries), len(texts)), np.float32)
    home = folder / digest(scorer.fingerprint, *texts)
    for number, query in enumerate(queries):
        path = home / f"{digest(query)}.npy"
        rows[number] = np.load(path, allow_pickle=False) if path.is_file() else _made(path, scorer, query, texts)
        if said is not None:
            said(number + 1, len(queries))
    return rows


def _made(path: Path, scorer: Scorer, query: str, texts: Sequence[str]) -> FloatArray:
    parts = [
        scorer.score([(query, text) for text in texts[start : start + _AT_ONCE]])
        for start in range(0, len(texts), _AT_ONCE)
    ]
    row: FloatArray = np.concatenate(parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".new").open("wb") as file:
            np.save(file, row, allow_pickle=False)
        path.with_suffix(".new").replace(path)
    except OSError as error:
        raise StorageError(f"scores cannot be kept in {path.parent}: {error.strerror}") from error
    return row


def digest(*texts: str) -> str:
    """A short hash of texts and of their order."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


class TableScorer:
    """A scorer whose scores are known: rows of queries, columns of texts. Equal texts have one column."""

    def __init__(self, fingerprint: str, queries: Sequence[str], texts: Sequence[str], scores: FloatArray) -> None:
        self.fingerprint = fingerprint
        self._rows = {query: row for row, query in enumerate(queries)}
        self._columns = {text: column for column, text in enumerate(texts)}
        self._scores = scores

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """`(n,)` float32 scores of known pairs."""
        rows = [self._rows[query] for query, _ in pairs]
        return np.asarray(self._scores[rows, [self._columns[text] for _, text in pairs]], np.float32)
