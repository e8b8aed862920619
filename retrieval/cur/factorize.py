"""The part of CUR that is paid for before any search: scores of some queries, and item vectors made of them.

Two kinds. *dense* asks the scorer about every document for as many queries as the budget allows, and factorizes that
matrix (ANNCUR, arXiv 2210.12579); *sparse* asks about the first-stage candidates of every query, and moves the stored
vectors of these documents so that they agree (the MF step of AXN, arXiv 2405.03651). Scores are remembered in a file,
so that an interrupted run goes on where it stopped, and a later one pays for what is new alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ...encoders.base import Progress
from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from ...encoders.scorers.base import ScoreFunction, Scorer
from ...encoders.scorers.cache import CachedScorer, ScoreCache
from ...encoders.scorers.counted import CountedScorer
from ...index.factors import ItemFactors
from ...index.lvq import LVQ
from ..pseudo import live_rows
from ..search import candidates
from ..snapshot import Fitted, Snapshot
from .anchors import choose_anchors
from .collect import SparseScores, collect_scores, score_matrix
from .factors import refine_items
from .fold import LinearMap
from .items import RANK, ItemVectors
from .stage import DENSE, texts_of

Kind = Literal["auto", "dense", "sparse"]
MIN_DENSE = 8
"""Queries of which all scores are known, at least: fewer tell documents apart by chance."""
ENOUGH_DENSE = 16
"""From so many on, a dense matrix is the better use of a budget, in the choice that is made for the caller."""
MIN_SPARSE = 8
"""Documents a query, at least, where not all are scored."""
MAX_ANCHORS = 500
BITS: Literal[8] = 8


@dataclass(frozen=True)
class FactorizePlan:
    """What will be asked: `calls` pairs at most, of `queries` of the queries and `each` documents for every one."""

    kind: Literal["dense", "sparse"]
    queries: int
    each: int

    @property
    def calls(self) -> int:
        """Pairs that the scorer is asked, if none is remembered."""
        return self.queries * self.each


@dataclass(frozen=True)
class Factorization:
    """What was made. calls: pairs that the scorer was asked, equal texts once. remembered: those that the file knew.

    dims: of an item vector. bytes: a document. fit: how well a document that is added later is described without a
    call: share of the variance of item vectors that their map explains, held out; None where there is no map (sparse).
    """

    kind: str
    scorer: str
    queries: int
    documents: int
    calls: int
    remembered: int
    dims: int
    anchors: int
    bytes: int
    fit: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def planned(documents: int, queries: int, budget: int, kind: Kind = "auto") -> FactorizePlan:
    """How a budget of scorer calls is spent on an index of so many documents and so many queries.

    Raises `InvalidInputError` where it is too small for the kind, naming what would do.
    """
    if kind not in get_args(Kind):
        raise InvalidInputError(f"no kind of factors {kind!r:.40}; there are {', '.join(get_args(Kind))}")
    if isinstance(budget, bool) or not isinstance(budget, int):
        raise InvalidInputError(f"budget is a whole number of calls, got {budget!r:.40}")
    if documents < 1 or queries < 1 or budget < 1:
        raise InvalidInputError(
            f"factorizing takes documents, queries and calls; there are {documents} documents, {queries} queries and a "
            f"budget of {budget}"
        )
    whole = min(queries, budget // documents)
    enough = whole >= min(ENOUGH_DENSE, max(queries, MIN_DENSE))
    if kind == "sparse" or (kind == "auto" and not enough):
        used = min(queries, max(1, budget // min(MIN_SPARSE, documents)))
        return FactorizePlan("sparse", used, min(documents, budget // used))
    if whole < MIN_DENSE:
        raise InvalidInputError(
            f"kind dense scores all {documents} documents for {MIN_DENSE} queries at least, which takes "
            f"{MIN_DENSE * documents} calls; there are {queries} queries and a budget of {budget}: raise them, or use "
            "kind sparse"
        )
    return FactorizePlan("dense", whole, documents)


def score_and_fit(
    snapshot: Snapshot,
    fitted: Fitted,
    scorer: Scorer | ScoreFunction,
    queries: Sequence[str],
    embeddings: TokenEmbeddings | None,
    plan: FactorizePlan,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[ItemFactors, IntArray, FloatArray, Factorization]:
    """Gather the scores of a plan and make factors: these, the catalog rows that have vectors, `(n, columns)` vectors.

    queries: distinct, of which evenly spaced ones are used. embeddings: their token vectors, which kind sparse needs.
    cache: file of remembered scores; not used when None. Raises what the scorer and the file raise.
    """
    counted = CountedScorer(scorer, plan.calls)
    chosen = np.unique(np.linspace(0, len(queries) - 1, plan.queries).astype(np.int64))
    texts = [queries[i] for i in chosen.tolist()]
    rows = live_rows(snapshot)
    with nullcontext() if cache is None else ScoreCache(cache) as remembered:
        asked = CountedScorer(counted if remembered is None else CachedScorer(counted, remembered))
        if plan.kind == DENSE:
            factors, vectors, explained = _dense(
                snapshot, fitted, score_matrix(asked, texts, texts_of(snapshot, rows), progress), rows
            )
        else:
            if embeddings is None:
                raise InvalidInputError("kind sparse takes the token vectors of the queries: use kind dense")
            own = embeddings.take(chosen)
            scores = _candidate_scores(snapshot, fitted, asked, texts, own, plan.each, rows, progress)
            factors, vectors, explained = _sparse(snapshot, fitted, scores, own)
    result = Factorization(
        plan.kind, counted.fingerprint, len(texts), len(rows), counted.calls, asked.calls - counted.calls,
        factors.dim, len(factors.anchors), factors.width, explained,
    )  # fmt: skip
    facts = {key: value for key, value in result.to_dict().items() if key != "bytes"}
    return replace(factors, facts=facts), rows, vectors, result


def _dense(
    snapshot: Snapshot, fitted: Fitted, matrix: FloatArray, rows: IntArray
) -> tuple[ItemFactors, FloatArray, float | None]:
    """Factors of a `(k_q, n)` matrix of scores, and how well the first-stage vectors predict them."""
    items = ItemVectors.fit(matrix, rank=RANK)
    length = np.sqrt(items.scale) if items.scale > 0 else 1.0
    spread = float(items.means.std(dtype=np.float64)) * np.sqrt(max(1, items.dim))  # squares may leave float32
    unit = spread if spread > 0 else 1.0
    # codes of a row share one step: the means are to spread as widely as a coordinate does
    vectors = np.concatenate([items.vectors / length, items.means[:, None] / unit], axis=1).astype(np.float32)
    fold = LinearMap.fit(first_stage(snapshot, fitted), vectors)
    anchors = rows[choose_anchors(items.vectors, min(MAX_ANCHORS, len(rows)))]
    lvq = LVQ.fit(vectors, BITS)
    return ItemFactors(fitted.single, fold.matrix, fold.offset, lvq, unit, anchors), vectors, fold.explained


def _candidate_scores(
    snapshot: Snapshot,
    fitted: Fitted,
    scorer: Scorer,
    texts: Sequence[str],
    own: TokenEmbeddings,
    each: int,
    rows: IntArray,
    progress: Progress | None,
) -> SparseScores:
    """Scores of the best candidates of each query; items are places among `rows`."""
    found = candidates(snapshot, fitted, own, snapshot.live, each)
    depth = min(len(best) for best in found)
    wanted = np.stack([best[:depth] for best in found])
    read = np.unique(wanted)
    scores = collect_scores(scorer, texts, texts_of(snapshot, read), np.searchsorted(read, wanted), progress)
    return SparseScores(scores.queries, np.searchsorted(rows, read)[scores.items], scores.scores)


def _sparse(
    snapshot: Snapshot, fitted: Fitted, scores: SparseScores, own: TokenEmbeddings
) -> tuple[ItemFactors, FloatArray, float | None]:
    """The first-stage vectors, those with scores moved; later documents have the vector that they would have had."""
    single = fitted.single
    moved = refine_items(ItemVectors(first_stage(snapshot, fitted)), single.encode_queries(own), scores)
    vectors = moved.items.vectors
    none = np.empty(0, np.int64)
    return ItemFactors(single, None, None, LVQ.fit(vectors, BITS), 0.0, none), vectors, None


def first_stage(snapshot: Snapshot, fitted: Fitted) -> FloatArray:
    """`(n, d)` float32: the stored single vectors of the live documents."""
    parts = [
        fitted.single.lvq.decode(np.ascontiguousarray(segment.vectors if mask is None else segment.vectors[mask]))
        for segment, mask in zip(snapshot.segments, snapshot.live, strict=True)
    ]
    return np.concatenate([np.empty((0, fitted.single.lvq.dim), np.float32), *parts])
