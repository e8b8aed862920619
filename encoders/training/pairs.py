"""Training pairs read from JSON Lines files, and which of them are held out for evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..embeddings import IntArray
from ..errors import InvalidInputError

HASH_RANGE = 2**32


@dataclass(frozen=True, eq=False)
class Pairs:
    """`n` queries and what answers them.

    passages: each text once. positives: `(n,)` int64, the passage of each query. negatives: per query, passages that do
    not answer it. scores: per query, a teacher's scores of its passage and its negatives, or None. sources: `(n,)`
    int64, the file of each. files: path, SHA-256 and number of pairs of each file.
    """

    queries: list[str]
    passages: list[str]
    positives: IntArray
    negatives: list[tuple[int, ...]]
    scores: list[tuple[float, ...] | None]
    sources: IntArray
    files: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.queries)

    def split(self, share: float, seed: int) -> tuple[IntArray, IntArray]:
        """Rows to train on and rows held out, by a hash of the passage: none is asked for on both sides."""
        drawn = np.array([_hash(text, seed) < share * HASH_RANGE for text in self.passages], bool)
        held = drawn[self.positives] if len(self) else np.empty(0, bool)
        return np.flatnonzero(~held), np.flatnonzero(held)


def read_pairs(paths: Sequence[str | Path]) -> Pairs:
    """Read JSON Lines files. Raises `InvalidInputError` naming the file and line that cannot be used."""
    pairs = Pairs([], [], np.empty(0, np.int64), [], [], np.empty(0, np.int64), [])
    known: dict[str, int] = {}

    def number(text: str) -> int:
        if text not in known:
            known[text] = len(pairs.passages)
            pairs.passages.append(text)
        return known[text]

    positives: list[int] = []
    sources: list[int] = []
    for source, path in enumerate(map(Path, paths)):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidInputError(f"the training data {path} cannot be read: {error.strerror}") from error
        before = len(pairs)
        for query, passage, negatives, scores in _rows(path, content):
            pairs.queries.append(query)
            positives.append(number(passage))
            pairs.negatives.append(tuple(number(text) for text in negatives))
            pairs.scores.append(scores)
            sources.append(source)
        digest = hashlib.sha256(content).hexdigest()
        pairs.files.append({"file": str(path), "sha256": digest, "pairs": len(pairs) - before})
    return Pairs(
        pairs.queries, pairs.passages, np.array(positives, np.int64), pairs.negatives, pairs.scores,
        np.array(sources, np.int64), pairs.files,
    )  # fmt: skip


def _rows(path: Path, content: bytes) -> Iterator[tuple[str, str, list[str], tuple[float, ...] | None]]:
    for place, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _row(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInputError(f"{path}, line {place}: {error}") from error


def _row(record: Any) -> tuple[str, str, list[str], tuple[float, ...] | None]:
    if not isinstance(record, dict):
        raise TypeError("expected a JSON object with query and passage")
    query, passage, negatives = record.get("query"), record.get("passage"), record.get("negatives", [])
    if not (isinstance(query, str) and query.strip() and isinstance(passage, str) and passage.strip()):
        raise TypeError("query and passage must be texts, not empty")
    if not (isinstance(negatives, list) and all(isinstance(text, str) and text.strip() for text in negatives)):
        raise TypeError("negatives must be a list of texts")
    for text in (query, passage, *negatives):
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("a text holds a NUL character or half of a surrogate pair, which no index can store")
    scores = record.get("scores")
    if scores is None:
        return query, passage, negatives, None
    if not (isinstance(scores, list) and len(scores) == len(negatives) + 1 and np.isfinite(scores).all()):
        raise TypeError(f"scores must be {len(negatives) + 1} numbers: of the passage, then of each negative")
    return query, passage, negatives, tuple(float(score) for score in scores)


def _hash(text: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "replace")).digest()[:4], "big")
