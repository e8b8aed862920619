"""Calibration: how many candidates the single-vector stage needs, measured against exact MaxSim on this very index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..encoders.base import Encoder, Progress
from ..encoders.embeddings import TokenEmbeddings
from .documents import encoded_text
from .search import Ranking, candidates, exact
from .snapshot import Fitted, Snapshot
from .types import Document

DEPTHS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Candidate counts that are tried."""
_TOP = 10
_QUERIES = 64
_QUERY_WORDS = 12
_FLOPS = 2e12
"""Multiply-adds times two that the exact side may cost: about ten seconds of one core."""


@dataclass(frozen=True)
class Calibration:
    """What was measured, and the choice made from it.

    curve: `(candidates, recall)` pairs, recall being the share of the exact MaxSim top 10 among that many candidates.
    candidates: the smallest count that reaches the target, or the largest one tried. recall: its measured recall.
    """

    generation: int
    documents: int
    queries: int
    curve: tuple[tuple[int, float], ...]
    candidates: int
    recall: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def calibrate(
    snapshot: Snapshot, fitted: Fitted, encoder: Encoder | None, progress: Progress | None = None
) -> Calibration | None:
    """Measure candidate recall with pseudo-queries: short passages of stored documents, each against all others.

    The document a pseudo-query was cut from is left out of its truth, since it is too easy to find. Returns None for
    an index of fewer than 20 documents, where there is nothing to choose.
    """
    if snapshot.documents < 2 * _TOP:
        return None
    rng = np.random.default_rng(snapshot.catalog.generation)
    owners, queries = _pseudo_queries(snapshot, encoder, rng)
    if not len(queries):
        return None
    if progress is not None:
        progress("calibrate", 0, 2)
    allowed = snapshot.allowed(None)
    truth = _without_owner(exact(snapshot, fitted, queries, allowed, _TOP + 1), owners, _TOP)
    if progress is not None:
        progress("calibrate", 1, 2)
    found = candidates(snapshot, fitted, queries, allowed, min(DEPTHS[-1], snapshot.documents) + 1)
    depths = [depth for depth in DEPTHS if depth < snapshot.documents] or [snapshot.documents]
    curve = tuple((depth, _recall(truth, found, owners, depth)) for depth in depths)
    reached = [point for point in curve if point[1] >= snapshot.config.target_recall]
    count, recall = reached[0] if reached else curve[-1]
    if progress is not None:
        progress("calibrate", 2, 2)
    return Calibration(snapshot.catalog.generation, snapshot.documents, len(queries), curve, count, recall)


def _pseudo_queries(
    snapshot: Snapshot, encoder: Encoder | None, rng: np.random.Generator
) -> tuple[list[int], TokenEmbeddings]:
    per_query = 2.0 * snapshot.tokens * snapshot.dim * 2 * _QUERY_WORDS
    count = int(np.clip(_FLOPS / max(per_query, 1.0), 16, _QUERIES))
    live = [
        segment.rows if mask is None else segment.rows[mask]
        for segment, mask in zip(snapshot.segments, snapshot.live, strict=True)
    ]
    rows = np.concatenate(live)
    chosen = np.sort(rng.choice(rows, size=min(count, len(rows)), replace=False)).tolist()
    return _from_texts(snapshot, encoder, chosen, rng) if encoder else _from_vectors(snapshot, chosen, rng)


def _from_texts(
    snapshot: Snapshot, encoder: Encoder, rows: Sequence[int], rng: np.random.Generator
) -> tuple[list[int], TokenEmbeddings]:
    owners, texts = [], []
    for row, record in sorted(snapshot.catalog.records(rows).items()):
        words = encoded_text(Document(record.id, record.text, record.title)).split()
        if words:
            start = int(rng.integers(0, max(1, len(words) - _QUERY_WORDS + 1)))
            owners.append(row)
            texts.append(" ".join(words[start : start + _QUERY_WORDS])[:1000])
    return owners, encoder.encode_queries(texts)


def _from_vectors(
    snapshot: Snapshot, rows: Sequence[int], rng: np.random.Generator
) -> tuple[list[int], TokenEmbeddings]:
    owners, queries = [], []
    for row in rows:
        segment, position = snapshot.locate(row)
        begin, end = int(segment.offsets[position]), int(segment.offsets[position + 1])
        if end > begin and snapshot.fitted is not None:
            start = int(rng.integers(begin, max(begin + 1, end - 2 * _QUERY_WORDS + 1)))
            owners.append(row)
            queries.append(snapshot.fitted.codec.decode(segment.tokens[start : min(end, start + 2 * _QUERY_WORDS)]))
    return owners, TokenEmbeddings.from_list(queries, dim=snapshot.dim)


def _without_owner(rankings: Sequence[Ranking], owners: Sequence[int], k: int) -> list[list[int]]:
    return [[row for row, _ in ranking if row != owner][:k] for ranking, owner in zip(rankings, owners, strict=True)]


def _recall(truth: Sequence[Sequence[int]], found: Sequence[Any], owners: Sequence[int], depth: int) -> float:
    shares = []
    for expected, rows, owner in zip(truth, found, owners, strict=True):
        if expected:
            kept = rows[rows != owner][:depth]
            shares.append(np.isin(expected, kept).mean())
    return round(float(np.mean(shares)), 4) if shares else 0.0
