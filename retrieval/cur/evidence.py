"""All that an index knows of a query's likeliest documents, as item vectors to regress a scorer on.

A scorer agrees with MaxSim and BM25 more than with any single vector: so what these say of a document are coordinates
beside its stored vector, on a scale on which ridge regression hardly shrinks them. What they leave over is told by the
vectors of documents that are alike. This is AXN (arXiv 2405.03651) with its prior, the query's inner product scaled to
the scorer, made one of several that are weighed by what is scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ..filters import CompiledFilter
from ..fusion import reciprocal_rank_fusion
from ..lexical import match_expression
from ..rerank import rerank
from ..search import candidates
from ..snapshot import Fitted, Mask, Snapshot
from ..types import Mode
from .items import ItemVectors, highest
from .options import CrossEncoderSearch
from .regression import MIN_RIDGE, DoubleArray, Regression
from .stored import StoredItems

POOL = 1_000
PER_CALL = 5
"""Documents of each first stage that may be scored: for each call of the budget so many, and at least `POOL`."""
WEIGHT = 10.0
"""Length of a standardised first-stage score beside vectors of mean length 1: the penalty on it is `WEIGHT**2` less."""
_DIMS = 512
"""Dimensions of a document's vector beside these scores, at most."""
_FUSED = 100
"""Documents of each ranking that are fused, at least; as in mode `hybrid`."""
RIDGE = 0.03
"""Penalty on a vector of length 1, chosen on queries that the benchmark learns from: 1 loses most of the gain."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The documents that may be scored, `rows` (catalog rows, ascending), and an item vector for each.

    own: `(items.dim,)` float32, the query's vector among these: its products are the sum of the first-stage scores.
    first: places in `rows` as the search mode ranks them, best first, more than are scored before an estimate.
    """

    rows: IntArray
    items: ItemVectors
    own: FloatArray
    first: IntArray

    @property
    def regression(self) -> Regression:
        """How scores are regressed on these vectors."""
        return Regression(ridge=max(MIN_RIDGE, RIDGE / max(1.0, self.items.scale)))


@dataclass(frozen=True, eq=False)
class Sources:
    """What the evidence of all queries of one search is taken from.

    rows: `(n,)` int64, catalog rows of all stored documents, ascending, deleted ones included. allowed: for each
    segment which may be found, by `condition` too. depth: how many documents of each first stage may be scored.
    opening: how many are scored before anything is estimated.
    """

    snapshot: Snapshot
    fitted: Fitted
    rows: IntArray
    allowed: Sequence[Mask | None]
    condition: CompiledFilter | None
    depth: int
    opening: int

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        fitted: Fitted,
        rows: IntArray,
        condition: CompiledFilter | None,
        options: CrossEncoderSearch,
    ) -> Sources:
        """The sources of a search."""
        depth, opening = max(POOL, PER_CALL * options.budget), options.planned.opening(options.budget)
        return cls(snapshot, fitted, rows, snapshot.allowed(condition), condition, depth, opening)

    def mask(self) -> Mask:
        """`(n,)` bool: which of `rows` may be found."""
        parts = [
            np.ones(len(segment), np.bool_) if mask is None else mask
            for segment, mask in zip(self.snapshot.segments, self.allowed, strict=True)
        ]
        return np.concatenate([np.empty(0, np.bool_), *parts])

    def lexical(self, text: str) -> dict[int, float]:
        """The best rows by BM25, with their scores."""
        expression = match_expression(text)
        if not expression:
            return {}
        where, parameters = ("", ()) if self.condition is None else (self.condition.where, self.condition.parameters)
        return dict(self.snapshot.catalog.match(expression, self.depth, where, parameters))

    def nearest(self, embeddings: TokenEmbeddings) -> list[IntArray]:
        """The best rows by single vectors, one array a query."""
        return candidates(self.snapshot, self.fitted, embeddings, self.allowed, self.depth)

    def filled(self, rows: IntArray) -> IntArray:
        """`rows`, ascending, and the first others that may be found where they are fewer than `depth`."""
        if len(rows) >= self.depth:
            return rows
        others = np.setdiff1d(self.rows[self.mask()], rows)
        return np.sort(np.concatenate([rows, others[: self.depth - len(rows)]]))


def gather(
    sources: Sources,
    text: str,
    embeddings: TokenEmbeddings | None,
    mode: Mode,
    vectors: Sequence[tuple[StoredItems, FloatArray | None]],
) -> Evidence:
    """The best documents by single vectors and by BM25, and what is known of them for one query.

    embeddings: token vectors of the query, one item; without them any documents that may be found fill the pool.
    mode: what the order of the first ones goes by. vectors: item vectors of all stored documents, each with the query's
    own among them where it has one.
    """
    lexical = sources.lexical(text)
    near = [] if embeddings is None else sources.nearest(embeddings)
    rows = np.unique(np.concatenate([np.array(list(lexical), np.int64), *near]))
    if embeddings is None:  # words alone may match next to nothing
        rows = sources.filled(rows)
    scores: list[npt.NDArray[np.floating]] = [_column(lexical, rows, 0.0)]
    if embeddings is not None:
        exact = dict(rerank(sources.snapshot, sources.fitted, embeddings, rows, max(1, len(rows))))
        scores.append(_column(exact, rows, np.nan))
    first = _order(mode, scores, max(2 * sources.opening, _FUSED))
    places = np.searchsorted(sources.rows, rows)
    columns = []
    for stored, own in vectors:
        taken, means = stored.take(places)
        scores.append(means + (taken @ own if own is not None else 0.0))
        columns.append(narrowed(taken) / np.float32(np.sqrt(stored.scale) or 1.0))
    known = [WEIGHT * standardised(column)[:, None] for column in scores]
    items = ItemVectors(np.concatenate([*columns, *known], axis=1))
    query = np.zeros(items.dim, np.float32)
    query[-len(known) :] = 1 / WEIGHT
    return Evidence(rows, items, query, first)


def _order(mode: Mode, scores: Sequence[npt.NDArray[np.floating]], count: int) -> IntArray:
    """Places of the `count` best, as a search in this mode ranks them. scores: BM25, and MaxSim if it is known."""
    lexical, *exact = scores
    kept = [] if mode == "lexical" else [np.where(np.isfinite(own), own, -np.inf) for own in exact]
    if mode in ("lexical", "hybrid") or not kept:
        kept.append(np.where(lexical > 0, lexical, -np.inf))
    rankings = [highest(own.astype(np.float32), count) for own in kept]
    if len(rankings) == 1:
        return rankings[0]
    fused = reciprocal_rank_fusion([ranking.tolist() for ranking in rankings], count)
    return np.array([place for place, _ in fused], np.int64)


def narrowed(vectors: FloatArray, dims: int = _DIMS) -> FloatArray:
    """`(n, min(d, dims))` vectors with about the same inner products: a count sketch of wider ones, always the same.

    A fixed dimensional encoding of an index that is not calibrated has thousands of dimensions.
    """
    count, wide = vectors.shape
    if wide <= dims:
        return vectors
    signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), wide)
    made = np.zeros((count, dims), np.float32)
    for start in range(0, wide, dims):
        block = slice(start, min(start + dims, wide))
        made[:, : block.stop - start] += vectors[:, block] * signs[block]
    return made


def _column(found: Mapping[int, float], rows: IntArray, missing: float) -> DoubleArray:
    """The score of each row."""
    return np.array([found.get(row, missing) for row in rows.tolist()], np.float64)


def standardised(values: npt.NDArray[np.floating]) -> FloatArray:
    """Mean 0 and standard deviation 1, as float32; what is not finite becomes the lowest of the others."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values), np.float32)
    filled = np.where(finite, values, values[finite].min()).astype(np.float64)
    centred = filled - filled.mean()
    spread = centred.std()
    return np.asarray(centred / spread if spread > 0 else np.zeros(len(centred)), np.float32)
