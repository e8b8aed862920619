"""Search of given vectors: our codes and graph against the indexes of others, by recall of the exact inner products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import process_time
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import LatefoldError
from ...index.leanvec import LeanVec
from ..corpora import Corpus
from ..truth import best
from .encodings import RECIPES
from .measure import fold
from .peers import INDEXES
from .reductions import Reducer, Reduction
from .stores import Index, Reduced

TOP: Final = 10
TARGET: Final = 0.95
_DIMS: Final = (64, 128, 192, 256, 384, 512)
_ROUNDS: Final = 5


@dataclass(frozen=True)
class Point:
    """One setting of an index: its effort, recall of the exact top 10, and CPU milliseconds a query."""

    effort: int
    recall: float
    query_ms: float


@dataclass(frozen=True)
class Contest:
    """An index on one set of vectors. curve: settings tried, by effort. best: the cheapest that reaches the target."""

    index: str
    bytes: float
    build_seconds: float
    curve: Sequence[Point]
    best: Point | None


@dataclass(frozen=True, eq=False)
class Problem:
    """Vectors to find, without their mean, and vectors to ask with. fitting: query vectors that are no test queries.

    Taking the mean off leaves the order for every query as it is, and graphs by inner product need it.
    """

    name: str
    documents: FloatArray
    queries: FloatArray
    fitting: FloatArray


def pooled(corpus: Corpus) -> Problem:
    """Mean vectors over all dimensions of the encoder, scaled to length 1."""
    documents, queries, pseudo = (_scaled(p.means) for p in (corpus.documents, corpus.queries, corpus.pseudo))
    name = f"mean-pooled vectors of {documents.shape[1]} dimensions, {len(documents):,} documents"
    return Problem(name, _centred(documents), queries, pseudo)


def folded(corpus: Corpus) -> Problem:
    """MUVERA encodings of 2,560 dimensions."""
    made = fold(corpus, RECIPES["muvera-2560"].make)
    queries, pseudo = (made.encoding.encode_queries(part.read()) for part in (corpus.queries, corpus.pseudo))
    name = f"MUVERA encodings of {made.documents.shape[1]:,} dimensions, {len(made.documents):,} documents"
    return Problem(name, _centred(made.documents), queries, pseudo)


def contest(problem: Problem) -> dict[str, Any]:
    """Every index on the same vectors, JSON-ready: curves, and times taken in turns at the target recall."""
    truth = best(problem.queries @ problem.documents.T, TOP)
    built, left_out = [], {}
    for make in (*_ours(problem), *INDEXES):
        index = make()
        try:
            before = process_time()
            index.build(problem.documents)
        except LatefoldError as error:
            left_out[index.label] = str(error)
            continue
        built.append((index, process_time() - before, _curve(index, problem, truth)))
    chosen = [(index, _cheapest(curve)) for index, _, curve in built]
    timed = dict(zip([index.label for index, _ in chosen], _in_turns(problem, chosen), strict=True))
    results = [
        Contest(index.label, index.bytes_per_document, seconds, curve, timed[index.label])
        for index, seconds, curve in built
    ]
    return {"problem": problem.name, "indexes": [asdict(result) for result in results], "left_out": left_out}


def _ours(problem: Problem) -> list[Callable[[], Index]]:
    """Scans at several numbers of dimensions, and graphs at some."""
    dims = problem.documents.shape[1]
    reducer = Reducer(problem.documents, {"pseudo": problem.fitting})
    tried = [dim for dim in _DIMS if dim < dims]
    made: list[Callable[[], Index]] = []
    for dim in tried:
        fit = reducer.fit(Reduction("Sphering", dim))
        made += [_maker(f"scan, LeanVec {dim} LVQ-4, LVQ-8", fit, 4)]
        if dim in tried[1:4]:
            made += [_maker(f"graph, LeanVec {dim} LVQ-8, LVQ-8", fit, 8, graph=True)]
    return made


def _maker(label: str, fit: LeanVec, bits: int, *, graph: bool = False) -> Callable[[], Index]:
    return lambda: Reduced(label, fit, bits, graph=graph)


def _curve(index: Index, problem: Problem, truth: IntArray) -> list[Point]:
    """Recall and CPU time of all queries together, until the recall is nearly complete."""
    points: list[Point] = []
    index.aim(index.efforts[0])
    index.top(problem.queries[:1], TOP)
    for effort in index.efforts:
        index.aim(effort)
        before = process_time()
        found = index.top(problem.queries, TOP)
        spent = (process_time() - before) * 1000 / len(problem.queries)
        hits = [np.isin(want, rows).mean() for want, rows in zip(truth, found, strict=True)]
        points.append(Point(effort, float(np.mean(hits)), spent))
        if points[-1].recall > 0.99:
            break
    return points


def _cheapest(curve: Sequence[Point]) -> Point | None:
    reached = [point for point in curve if point.recall >= TARGET]
    return min(reached, key=lambda point: point.query_ms) if reached else None


def _in_turns(problem: Problem, chosen: Sequence[tuple[Index, Point | None]]) -> list[Point | None]:
    """The chosen settings again, one query at a time, all indexes in each round; the median of the rounds."""
    queries = [problem.queries[row : row + 1] for row in range(len(problem.queries))]
    spent = np.full((len(chosen), _ROUNDS), np.nan)
    for turn in range(_ROUNDS):
        for number, (index, point) in enumerate(chosen):
            if point is None:
                continue
            index.aim(point.effort)
            before = process_time()
            for query in queries:
                index.top(query, TOP)
            spent[number, turn] = (process_time() - before) * 1000 / len(queries)
    return [
        None if point is None else Point(point.effort, point.recall, float(np.median(times)))
        for (_, point), times in zip(chosen, spent, strict=True)
    ]


def _centred(vectors: FloatArray) -> FloatArray:
    centred: FloatArray = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return centred


def _scaled(vectors: FloatArray) -> FloatArray:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: FloatArray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return scaled
