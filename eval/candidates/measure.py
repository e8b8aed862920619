"""One encoding on one collection: every reduction and store behind it, their recall, bytes and time per query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import process_time
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...index.encodings.base import Encoding
from ...index.kernels.warmup import warm_up
from ...index.leanvec import LeanVec
from ..corpora import Corpus
from ..machine import peak_memory
from ..vectors import Vectors
from .encodings import RECIPES
from .peers import FaissGraph
from .plan import Depth, StoreName, Variant, variants
from .reductions import QuerySet, Reducer, Reduction
from .stores import Codes, Floats, Store, TwoLevels

TOP: Final = 10
CUTS: Final = (50, 100, 200, 500, 1000)
ASKED: Final = 200
"""How many candidates a timed query asks for."""
_TIMED, _ROUND_SECONDS = 100, 0.5
_STORES: Final[Mapping[StoreName, Callable[[], Store]]] = MappingProxyType(
    {
        "f32": Floats,
        "LVQ-4": lambda: Codes(4),
        "LVQ-8": lambda: Codes(8),
        "LVQ-4x8": TwoLevels,
        "faiss HNSW": FaissGraph,
    }
)


@dataclass(frozen=True)
class Figures:
    """A method on a collection.

    recall: of the exact top 10, by number of candidates. known: share of queries whose known document is among `ASKED`
    candidates, where it is known. loss: mean square error of the inner products of a reduction with the test queries,
    as a share of their mean square, and fitted_loss: with those it was fitted to; None behind codes. query_ms: CPU
    milliseconds from token vectors to `ASKED` candidates. yardstick_ms: of a float32 scan of mean vectors in the same
    seconds, which tells how fast the machine was. build_seconds: of CPU, from token vectors to what is searched.
    """

    reduction: str
    kind: str
    dim: int
    store: str
    bytes: float
    recall: Mapping[str, float]
    known: float | None
    loss: float | None
    fitted_loss: float | None
    query_ms: float
    yardstick_ms: float
    build_seconds: float


@dataclass(frozen=True)
class Folded:
    """A collection in single vectors, and what that took: CPU seconds, and bytes of memory at the peak."""

    encoding: Encoding
    documents: FloatArray
    fit_seconds: float
    encode_seconds: float
    peak: int


def measure(corpus: Corpus, recipe: str, *, depth: Depth = "usual", rounds: int = 5) -> dict[str, Any]:
    """All figures of one encoding, JSON-ready. Raises `MissingExtraError` where a part is not installed.

    rounds: of timing, of which the median counts.
    """
    folded = fold(corpus, RECIPES[recipe].make)
    bench = _Bench(corpus, folded, rounds)
    wishes = variants(recipe, real=corpus.training is not None, depth=depth)
    rows = [asdict(bench.run(wish)) for wish in wishes]
    return {
        "encoding": RECIPES[recipe].label,
        "dims": folded.documents.shape[1],
        "fit_seconds": folded.fit_seconds,
        "encode_seconds": folded.encode_seconds,
        "documents_per_second": len(corpus.documents) / max(folded.encode_seconds, 1e-9),
        "peak": folded.peak,
        "fold_ms": bench.fold_milliseconds(),
        "rows": rows,
    }


def fold(corpus: Corpus, make: Callable[[Corpus], Encoding]) -> Folded:
    """Fit an encoding and fold all documents, block by block, with kernels compiled before."""
    warm_up()
    before = process_time()
    encoding = make(corpus)
    fitted = process_time()
    documents = np.empty((len(corpus.documents), encoding.output_dim), np.float32)
    row = 0
    for block in corpus.documents.blocks():
        documents[row : row + len(block)] = encoding.encode_documents(block)
        row += len(block)
    return Folded(encoding, documents, fitted - before, process_time() - fitted, peak_memory())


class _Bench:
    """Runs variants behind one folded collection; reductions and exact answers are kept between them."""

    def __init__(self, corpus: Corpus, folded: Folded, rounds: int) -> None:
        self._corpus, self._folded, self._rounds = corpus, folded, rounds
        self._queries = folded.encoding.encode_queries(corpus.queries.read())
        self._single = [corpus.queries.take([row]) for row in range(min(_TIMED, len(corpus.queries)))]
        self._yardstick = _Yardstick(corpus)
        self._reducer: Reducer | None = None
        self._reduced: tuple[Reduction, LeanVec, FloatArray, float] | None = None

    def run(self, wish: Variant) -> Figures:
        """Build a variant, and take its recall, bytes and times."""
        documents, fit, seconds = self._vectors(wish.reduction)
        store = _STORES[wish.store]()
        before = process_time()
        store.build(documents)
        seconds += process_time() - before
        queries = self._queries if fit is None else fit.reduce_queries(self._queries)
        found = store.top(queries, min(CUTS[-1], len(documents)))
        encode = self._folded.encoding.encode_queries

        def answer(query: TokenEmbeddings) -> None:
            vector = encode(query)
            store.top(vector if fit is None else fit.reduce_queries(vector), min(ASKED, len(documents)))

        ours, reference = paired(answer, self._yardstick.answer, self._single, self._rounds)
        return Figures(
            reduction="" if wish.reduction is None else wish.reduction.label,
            kind="" if wish.reduction is None else wish.reduction.kind,
            dim=documents.shape[1],
            store=wish.store,
            bytes=store.bytes_per_document,
            recall=recalls(found, self._corpus.truth),
            known=known_share(found, self._corpus.relevant),
            loss=self._loss(wish, "test"),
            fitted_loss=self._loss(wish, wish.reduction.queries if wish.reduction else "test"),
            query_ms=ours,
            yardstick_ms=reference,
            build_seconds=self._folded.fit_seconds + self._folded.encode_seconds + seconds,
        )

    def fold_milliseconds(self) -> float:
        """CPU milliseconds of folding one query."""
        encode = self._folded.encoding.encode_queries
        return paired(encode, self._yardstick.answer, self._single, self._rounds)[0]

    def _vectors(self, wish: Reduction | None) -> tuple[FloatArray, LeanVec | None, float]:
        """Documents as a reduction leaves them, and the CPU seconds of fitting and applying it."""
        if wish is None:
            return self._folded.documents, None, 0.0
        if self._reduced is None or self._reduced[0] != wish:
            before = process_time()
            fit = self._fitter().fit(wish)
            reduced = fit.reduce_documents(self._folded.documents)
            self._reduced = wish, fit, reduced, process_time() - before
        return self._reduced[2], self._reduced[1], self._reduced[3]

    def _fitter(self) -> Reducer:
        if self._reducer is None:
            sets: dict[QuerySet, FloatArray] = {"pseudo": self._encoded(self._corpus.pseudo)}
            if self._corpus.training is not None:
                sets["real"] = self._encoded(self._corpus.training)
            sets["test"] = self._queries
            self._reducer = Reducer(self._folded.documents, sets)
        return self._reducer

    def _encoded(self, queries: Vectors) -> FloatArray:
        return self._folded.encoding.encode_queries(queries.read())

    def _loss(self, wish: Variant, queries: QuerySet) -> float | None:
        """Of a reduction without codes, for a set of queries."""
        if wish.reduction is None or wish.store != "f32":
            return None
        return self._fitter().loss(wish.reduction, queries)


class _Yardstick:
    """A float32 scan of mean vectors: the work that every method is timed in turn with."""

    def __init__(self, corpus: Corpus) -> None:
        documents = corpus.documents
        self._store = Floats()
        self._store.build(np.ascontiguousarray(documents.means[:, : documents.dim]))
        self._asked = min(ASKED, len(documents))

    def answer(self, query: TokenEmbeddings) -> None:
        """The candidates of one query."""
        self._store.top(query.vectors.sum(axis=0, keepdims=True), self._asked)


Answer = Callable[[TokenEmbeddings], object]


def paired(ours: Answer, other: Answer, queries: Sequence[TokenEmbeddings], rounds: int) -> tuple[float, float]:
    """CPU milliseconds a query of two ways to answer, timed in turns, the median of the rounds.

    Rounds of slow methods have fewer queries. Each has answered before its clock starts.
    """
    for answer in (other, ours):
        answer(queries[0])
    pilot = max(_seconds(ours, queries[:2]) / 2, 1e-6)
    chosen = queries[: max(2, min(len(queries), int(_ROUND_SECONDS / pilot)))]
    spent = [(_seconds(ours, chosen), _seconds(other, chosen)) for _ in range(rounds)]
    mine, theirs = np.median(np.array(spent), axis=0) * 1000 / len(chosen)
    return float(mine), float(theirs)


def _seconds(answer: Answer, queries: Sequence[TokenEmbeddings]) -> float:
    start = process_time()
    for query in queries:
        answer(query)
    return process_time() - start


def recalls(found: IntArray, truth: IntArray) -> dict[str, float]:
    """Mean share of the exact top 10 among the first N found, by N."""
    wanted = truth[:, :TOP]
    return {
        str(cut): float(np.mean([np.isin(want, rows[:cut]).mean() for want, rows in zip(wanted, found, strict=True)]))
        for cut in CUTS
        if cut < CUTS[0] + found.shape[1]
    }


def known_share(found: IntArray, relevant: Sequence[int] | None) -> float | None:
    """Share of queries whose known document is among the first `ASKED` found."""
    if relevant is None:
        return None
    return float(np.mean([row in rows[:ASKED] for row, rows in zip(relevant, found, strict=True)]))
