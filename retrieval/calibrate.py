"""Calibration: what the single vectors find of the exact MaxSim ranking on this very index, and how many to rerank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..encoders.base import Encoder, Progress
from ..encoders.embeddings import TokenEmbeddings
from .pseudo import NOBODY, Queries, live_rows, pseudo_queries
from .rerank import coarse_order, exact
from .search import candidates
from .snapshot import Fitted, IntArray, Snapshot

DEPTHS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Candidate counts that are tried."""
TOP = 10
DEEP = 100
_QUERIES = 64
_REAL_QUERIES = 256
_FLOPS = 2e12
"""Multiply-adds times two that the exact side may cost: about ten seconds of one core."""

_NOWHERE = np.iinfo(np.int64).max

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Calibration:
    """What was measured, and the choice made from it.

    curve: `(candidates, recall)` pairs, recall being the share of the exact MaxSim top 10 among that many candidates;
    curve_100 the same of the top 100. candidates: the smallest count that reaches the target, or the largest one
    tried. recall: its measured recall. single and bytes: the single vector and what it takes a document. real: whether
    the queries were given, not cut from documents. options: what was tried in its stead (see `tune.Option`). codec: of
    the tokens. codecs: what was measured of codecs when it was chosen (see `codecs.CodecOption`). refined: where codes
    have two levels, how many of the candidates the first leaves to the second. drift: mean misfit of documents that
    came after the fit over that of those before; None when there are none. warning: what the reader should know, or
    None.
    """

    generation: int
    documents: int
    queries: int
    curve: Curve
    curve_100: Curve
    candidates: int
    recall: float
    target: float
    single: str
    bytes: int
    real: bool
    options: tuple[dict[str, Any], ...] = ()
    codec: str = ""
    codecs: tuple[dict[str, Any], ...] = ()
    refined: int | None = None
    drift: float | None = None
    warning: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def candidates_of(snapshot: Snapshot) -> tuple[int, int | None]:
    """How many candidates a search reranks, and how many of them by the second level of codes.

    As many as were measured to do, in proportion to what came since.
    """
    measured = snapshot.calibration
    count, refined, documents = (measured.get(name) for name in ("candidates", "refined", "documents"))
    if not isinstance(count, int) or not isinstance(documents, int) or count < 1 or documents < 1:
        return snapshot.config.candidates, None
    candidates = -(-count * max(snapshot.documents, documents) // documents)
    return candidates, refined if isinstance(refined, int) and refined > 0 else None


@dataclass(frozen=True, eq=False)
class Judged:
    """Queries with the rows of their exact MaxSim top 100, best first, without the document each was cut from."""

    queries: Queries
    truth: Sequence[IntArray]


def judge(
    snapshot: Snapshot, fitted: Fitted, encoder: Encoder | None, real: TokenEmbeddings | None, progress: Progress | None
) -> Judged | None:
    """Exact answers to held-out queries: real ones if given, else passages of documents. None if there is too little.

    An index of fewer than 20 documents offers no choice.
    """
    if snapshot.documents < 2 * TOP:
        return None
    rng = np.random.default_rng(snapshot.catalog.generation)
    if real is None:
        rows = live_rows(snapshot)
        chosen = rng.choice(rows, size=min(_affordable(snapshot, _QUERIES), len(rows)), replace=False)
        queries = pseudo_queries(snapshot, encoder, chosen, rng)
    else:
        count = min(len(real), _affordable(snapshot, _REAL_QUERIES))
        kept = real.take(np.sort(rng.choice(len(real), size=count, replace=False)))
        queries = Queries([NOBODY] * count, kept)
    if not len(queries):
        return None
    truth = []
    for number in range(len(queries)):
        if progress is not None:
            progress("judge", number, len(queries))
        ranking = exact(snapshot, fitted, queries.embeddings.take([number]), snapshot.allowed(None), DEEP + 1)[0]
        rows = np.array([row for row, _ in ranking], dtype=np.int64)
        truth.append(rows[rows != queries.owners[number]][:DEEP])
    if progress is not None:
        progress("judge", len(queries), len(queries))
    return Judged(queries, truth)


def _affordable(snapshot: Snapshot, most: int) -> int:
    per_query = 2.0 * snapshot.tokens * snapshot.dim * 16
    return int(np.clip(_FLOPS / max(per_query, 1.0), 16, most))


def measure(snapshot: Snapshot, fitted: Fitted, judged: Judged) -> tuple[Curve, Curve]:
    """Recall of the exact top 10 and top 100 within each number of candidates, found as a search finds them."""
    depths = depths_of(snapshot.documents)
    if not any(snapshot.graphs):  # the first of many that a scan finds are the few it finds
        ranks = _found(snapshot, fitted, judged, depths[-1])
        return recall_curve([r[:TOP] for r in ranks], depths), recall_curve(ranks, depths)
    top: Curve = ()
    deep: Curve = ()
    for depth in depths:
        ranks = _found(snapshot, fitted, judged, depth)
        top += recall_curve([r[:TOP] for r in ranks], [depth])
        deep += recall_curve(ranks, [depth])
    return top, deep


def _found(snapshot: Snapshot, fitted: Fitted, judged: Judged, depth: int) -> list[IntArray]:
    """Places, from 0, of each query's true answers among so many candidates."""
    found = candidates(snapshot, fitted, judged.queries.embeddings, snapshot.allowed(None), depth + 1)
    return [
        _ranks(truth, rows[rows != owner])
        for truth, rows, owner in zip(judged.truth, found, judged.queries.owners, strict=True)
    ]


def depths_of(documents: int) -> list[int]:
    """The candidate counts that say something about so many documents."""
    return [depth for depth in DEPTHS if depth < documents] or [documents]


def _ranks(truth: IntArray, found: IntArray) -> IntArray:
    """The place, from 0, of each row of the truth among the found; past any end when it is not there."""
    places = {row: place for place, row in enumerate(found.tolist())}
    return np.array([places.get(row, _NOWHERE) for row in truth.tolist()], dtype=np.int64)


def recall_curve(ranks: Sequence[IntArray], depths: Sequence[int]) -> Curve:
    """Mean share of the ranks (from 0) of a query's true answers that are below each depth."""
    answered = [r for r in ranks if len(r)]
    return tuple((d, round(float(np.mean([(r < d).mean() for r in answered])), 4) if answered else 0.0) for d in depths)


def needed(curve: Curve, target: float) -> tuple[int, float] | None:
    """The first point of a curve that reaches the target."""
    return next((point for point in curve if point[1] >= target), None)


def conclude(
    snapshot: Snapshot,
    fitted: Fitted,
    judged: Judged,
    target: float,
    *,
    options: Sequence[dict[str, Any]] = (),
    codecs: Sequence[dict[str, Any]] = (),
    drift: float | None = None,
) -> Calibration:
    """Measure the index as it stands and choose the number of candidates."""
    curve, deep = measure(snapshot, fitted, judged)
    count, recall = needed(curve, target) or curve[-1]
    refined = None
    if fitted.fine is not None:
        refined, recall = _refine(snapshot, fitted, judged, count, recall)
    return Calibration(
        generation=snapshot.catalog.generation,
        documents=snapshot.documents,
        queries=len(judged.queries),
        curve=curve,
        curve_100=deep,
        candidates=count,
        recall=recall,
        target=target,
        single=fitted.single.name,
        bytes=fitted.single.width,
        real=NOBODY in judged.queries.owners,
        options=tuple(options),
        codec=fitted.codec_name,
        codecs=tuple(codecs),
        refined=refined,
        drift=drift,
        warning=_warning(snapshot, target, count, recall, drift),
    )


_LEFT_OUT = 0.005
"""Recall that the first level of codes may cost."""


def _refine(snapshot: Snapshot, fitted: Fitted, judged: Judged, count: int, recall: float) -> tuple[int, float]:
    """The fewest candidates that the second level of codes must rank to cost next to nothing, and the recall then."""
    found = candidates(snapshot, fitted, judged.queries.embeddings, snapshot.allowed(None), count + 1)
    ranks = []
    for number, (rows, truth) in enumerate(zip(found, judged.truth, strict=True)):
        query = judged.queries.embeddings.take([number])
        order = coarse_order(snapshot, fitted, query, rows)
        ranks.append(_ranks(truth[:TOP], order[order != judged.queries.owners[number]]))
    depths = [*(depth for depth in DEPTHS if depth < count), count]
    curve = recall_curve(ranks, depths)
    return needed(curve, recall - _LEFT_OUT) or curve[-1]


_MANY = 0.05
_DRIFTED = 1.5
"""Dictionary entries have 1.3 times, abstracts on aerodynamics twice the misfit of the package descriptions that an
encoding was fitted to."""


def _warning(snapshot: Snapshot, target: float, count: int, recall: float, drift: float | None) -> str | None:
    if drift is not None and drift > _DRIFTED:
        return f"documents added since the fit are fitted {drift:.2f} times worse: run `latefold calibrate --refit`"
    if recall < target:
        return (
            f"the single vectors find {recall:.3f} of the exact top {TOP} among {count} candidates, short of the "
            f"target {target}: their data defeats them; search with mode exact where every answer counts"
        )
    if count > max(1000, _MANY * snapshot.documents):
        return f"{count} candidates are needed for recall {target}: searches will be slow; consider a lower target"
    return None
