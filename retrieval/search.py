"""The search pipeline: candidates, MaxSim rerank, lexical ranking, fusion.

    exact    MaxSim over every allowed document
    ann      inner products of single vectors pick candidates, MaxSim over the stored tokens ranks them
    lexical  BM25
    hybrid   reciprocal rank fusion of the vector ranking and BM25

Everything here works on row numbers; texts are fetched for the winners alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import TokenEmbeddings
from .filters import CompiledFilter
from .fusion import reciprocal_rank_fusion
from .lexical import match_expression
from .snapshot import Fitted, IntArray, Mask, Snapshot
from .types import Mode

FloatArray = npt.NDArray[np.float32]
Ranking = list[tuple[int, float]]
"""`(row, score)`, best first."""

_SCORES_AT_ONCE = 1 << 26
_FUSION_DEPTH = 100


@dataclass
class Timing:
    """Milliseconds a search spent in each stage, summed over its queries."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a block to a stage (`encode`, `candidates`, `rerank`, `lexical`, `fetch`)."""
        start = perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + 1000 * (perf_counter() - start)


@dataclass(frozen=True)
class Request:
    """A batch of queries, already encoded. texts or embeddings may be None where the mode does not need them."""

    mode: Mode
    k: int
    candidates: int
    texts: Sequence[str] | None
    embeddings: TokenEmbeddings | None
    condition: CompiledFilter | None


def run(snapshot: Snapshot, request: Request, timing: Timing) -> list[Ranking]:
    """Rank documents for every query of the request."""
    if request.mode == "lexical":
        return _lexical(snapshot, request, request.k, timing)
    if request.mode != "hybrid":
        return _vectors(snapshot, request, request.k, timing)
    depth = max(2 * request.k, _FUSION_DEPTH)
    rankings = zip(_vectors(snapshot, request, depth, timing), _lexical(snapshot, request, depth, timing), strict=True)
    return [reciprocal_rank_fusion([[row for row, _ in ranking] for ranking in pair], request.k) for pair in rankings]


def _lexical(snapshot: Snapshot, request: Request, k: int, timing: Timing) -> list[Ranking]:
    condition = request.condition
    where, parameters = ("", ()) if condition is None else (condition.where, condition.parameters)
    with timing.stage("lexical"):
        expressions = [match_expression(text) for text in request.texts or ()]
        return [
            snapshot.catalog.match(expression, k, where, parameters) if expression else [] for expression in expressions
        ]


def _vectors(snapshot: Snapshot, request: Request, k: int, timing: Timing) -> list[Ranking]:
    queries = request.embeddings
    if queries is None or snapshot.fitted is None:
        return [[] for _ in request.texts or range(len(queries or ()))]
    with timing.stage("candidates"):
        allowed = snapshot.allowed(request.condition)
    if request.mode == "exact" or (request.mode == "hybrid" and scans_exactly(snapshot)):
        with timing.stage("rerank"):
            return exact(snapshot, snapshot.fitted, queries, allowed, k)
    with timing.stage("candidates"):
        found = candidates(snapshot, snapshot.fitted, queries, allowed, max(request.candidates, 4 * k))
    with timing.stage("rerank"):
        return [rerank(snapshot, snapshot.fitted, queries.take([i]), rows, k) for i, rows in enumerate(found)]


def scans_exactly(snapshot: Snapshot) -> bool:
    """Whether the index is small enough that the exact scan is the better first stage."""
    return snapshot.tokens <= snapshot.config.exact_below


def exact(
    snapshot: Snapshot, fitted: Fitted, queries: TokenEmbeddings, allowed: Sequence[Mask | None], k: int
) -> list[Ranking]:
    """MaxSim of every allowed document, `k` best a query."""
    chosen = [None if mask is None else np.flatnonzero(mask) for mask in allowed]
    rankings: list[Ranking] = []
    step = max(1, _SCORES_AT_ONCE // max(1, max((len(s) for s in snapshot.segments), default=1)))
    for start in range(0, len(queries), step):
        batch = queries.take(np.arange(start, min(start + step, len(queries))))
        parts = [
            (
                segment.rows if positions is None else segment.rows[positions],
                fitted.codec.score(batch, segment.tokens, segment.offsets, positions),
            )
            for segment, positions in zip(snapshot.segments, chosen, strict=True)
        ]
        rankings += _merge(parts, len(batch), k)
    return rankings


def candidates(
    snapshot: Snapshot,
    fitted: Fitted,
    queries: TokenEmbeddings,
    allowed: Sequence[Mask | None],
    count: int,
) -> list[IntArray]:
    """Rows of the `count` best allowed documents by inner product of single vectors, best first, one array a query."""
    encoded = fitted.single.encode_queries(queries)
    rows, scores = [], []
    for segment, mask, graph in zip(snapshot.segments, allowed, snapshot.graphs, strict=True):
        positions, values = fitted.single.top(encoded, segment.vectors, count, allowed=mask, graph=graph)
        rows.append(np.where(positions >= 0, segment.rows[positions], -1))
        scores.append(values)
    if not rows:
        return [np.empty(0, np.int64)] * len(queries)
    if len(rows) == 1:
        return [found[found >= 0] for found in rows[0]]
    pairs = zip(np.concatenate(rows, axis=1), np.concatenate(scores, axis=1), strict=True)
    return [_best(found[found >= 0], values[found >= 0], count) for found, values in pairs]


def _best(rows: IntArray, scores: FloatArray, count: int) -> IntArray:
    return rows[np.lexsort((rows, -scores))[:count]]


def rerank(snapshot: Snapshot, fitted: Fitted, query: TokenEmbeddings, rows: IntArray, k: int) -> Ranking:
    """MaxSim of one query against the given rows, `k` best."""
    rows = np.sort(rows)
    parts = []
    for segment in snapshot.segments:
        places = np.searchsorted(segment.rows, rows)
        inside = np.flatnonzero(places < len(segment))
        positions = places[inside][segment.rows[places[inside]] == rows[inside]]
        if len(positions):
            scores = fitted.codec.score(query, segment.tokens, segment.offsets, positions)
            parts.append((segment.rows[positions], scores))
    return _merge(parts, 1, k)[0]


def _merge(parts: Sequence[tuple[IntArray, FloatArray]], queries: int, k: int) -> list[Ranking]:
    if not parts:
        return [[] for _ in range(queries)]
    rows = np.concatenate([rows for rows, _ in parts])
    scores = np.concatenate([scores for _, scores in parts], axis=1)
    return [top_k(rows, row_scores, k) for row_scores in scores]


def top_k(rows: IntArray, scores: FloatArray, k: int) -> Ranking:
    """The `k` best finite scores, best first, ties by row: the same answer whatever the order of the input."""
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= threshold)
        rows, scores = rows[chosen], scores[chosen]
    order = np.lexsort((rows, -scores))[:k]
    return [(int(rows[i]), float(scores[i])) for i in order if np.isfinite(scores[i])]
