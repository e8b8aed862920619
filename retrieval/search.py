"""The search pipeline: candidates, MaxSim rerank, lexical ranking, fusion.

    exact    MaxSim over every allowed document
    ann      inner products of single vectors pick candidates, MaxSim over the stored tokens ranks them, coarse codes
             before fine ones where there are two levels
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
from .page_ranking import MATCHES, WINDOWS, rank_pages
from .rerank import Ranking, Work, exact, rerank
from .snapshot import Fitted, IntArray, Mask, Snapshot
from .types import Mode

FloatArray = npt.NDArray[np.float32]

_FUSION_DEPTH = 100


@dataclass
class Timing:
    """Milliseconds a search spent in each stage, and what its exact stage did, summed over its queries.

    Stages are `encode`, `candidates`, `rerank`, `lexical`, `pages`, `score` and `fetch`.
    """

    stages: dict[str, float] = field(default_factory=dict)
    work: Work = field(default_factory=Work)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + 1000 * (perf_counter() - start)


@dataclass(frozen=True)
class Depth:
    """How many documents a stage passes on: at least `least`, and `per_hit` for each that the ranking is to hold."""

    least: int
    per_hit: int

    def of(self, k: int) -> int:
        """As many as a ranking of `k` needs."""
        return max(self.least, self.per_hit * k)


@dataclass(frozen=True)
class Request:
    """A batch of queries, already encoded. texts or embeddings may be None where the mode does not need them.

    candidates: documents ranked by MaxSim. refined: those of them that the finer of two levels of codes ranks. Both
    follow the length of the vector ranking, which fusion wants longer than `k`.
    """

    mode: Mode
    k: int
    candidates: Depth
    refined: Depth | None
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


def run_pages(snapshot: Snapshot, request: Request, timing: Timing) -> list[Ranking]:
    """Rank pages for every query of a request that reads vectors: the best document of each, scored as a page."""
    queries, fitted = request.embeddings, snapshot.fitted
    if queries is None or fitted is None:
        return run(snapshot, request, timing)
    vectors = _vectors(snapshot, request, max(WINDOWS, 4 * request.k), timing)
    lexical: list[Ranking | None] = [None] * len(vectors)
    if request.mode == "hybrid":
        lexical = [*_lexical(snapshot, request, max(MATCHES, 4 * request.k), timing)]
    with timing.stage("pages"):
        allowed = snapshot.allowed(request.condition)
        return [
            rank_pages(snapshot, fitted, queries.take([i]), *pair, allowed, request.k, timing.work)
            for i, pair in enumerate(zip(vectors, lexical, strict=True))
        ]


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
            return exact(snapshot, snapshot.fitted, queries, allowed, k, timing.work)
    with timing.stage("candidates"):
        found = candidates(snapshot, snapshot.fitted, queries, allowed, request.candidates.of(k))
    refined = None if request.refined is None else request.refined.of(k)
    with timing.stage("rerank"):
        return [
            rerank(snapshot, snapshot.fitted, queries.take([i]), rows, k, refined, timing.work)
            for i, rows in enumerate(found)
        ]


def scans_exactly(snapshot: Snapshot) -> bool:
    """Whether the index is small enough that the exact scan is the better first stage."""
    return snapshot.tokens <= snapshot.config.exact_below


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
