"""Milliseconds that choosing documents takes beside the scorer's own time, on an index of many short documents."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ...encoders.embeddings import FloatArray, TokenEmbeddings
from ...encoders.scorers.base import Pair
from ...index.kernels.warmup import warm_up
from ...retrieval.cur.options import CrossEncoderSearch, Method
from ...retrieval.index import Index
from ...retrieval.types import Document

DOCUMENTS, QUICK_DOCUMENTS = 50_000, 2_000
DIM, TOKENS, CLUSTERS = 128, 8, 500
LEARNED, BUDGET, QUERIES = 64, 200, 40
METHODS: Sequence[Method] = ("rerank", "axn", "adacur", "anncur")


class _Timed:
    """A scorer that reads numbers from a table, and the seconds it took."""

    fingerprint = "table of random numbers"

    def __init__(self, documents: int) -> None:
        self._table = np.random.default_rng(1).standard_normal((LEARNED + QUERIES, documents)).astype(np.float32)
        self.seconds = 0.0

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """`(n,)` float32."""
        start = perf_counter()
        rows = [int(query.rpartition(" ")[2]) for query, _ in pairs]
        found = self._table[rows, [int(text.rpartition(" ")[2]) for _, text in pairs]]
        self.seconds += perf_counter() - start
        return found


@dataclass(frozen=True)
class Overhead:
    """Medians over queries. candidates: ms before the first call. round_ms: ms a round beside the scorer's."""

    method: str
    rounds: int
    candidates: float
    round_ms: float


def measure(*, quick: bool = False) -> tuple[int, list[dict[str, Any]]]:
    """Number of documents, and the figures of each method, JSON-ready."""
    warm_up()
    count = QUICK_DOCUMENTS if quick else DOCUMENTS
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as home, Index.create(Path(home) / "many.index", dim=DIM) as index:
        for start in range(0, count, 10_000):
            rows = range(start, min(start + 10_000, count))
            documents = [Document(f"d{row}", f"word{row % 97} of document {row}") for row in rows]
            index.add(documents, embeddings=_tokens(rng, len(rows)))
        index.optimize()
        scorer = _Timed(count)
        index.factorize(scorer, [f"query {row}" for row in range(LEARNED)], LEARNED * count, kind="dense")
        queries = _tokens(rng, QUERIES)
        return count, [vars(_of(index, scorer, method, queries)) for method in METHODS]


def _of(index: Index, scorer: _Timed, method: Method, queries: TokenEmbeddings) -> Overhead:
    before, each, rounds = [], [], 0
    for number in range(QUERIES):
        scorer.seconds = 0.0
        options = CrossEncoderSearch(scorer, BUDGET, method)
        text, own = f"word{number} query {LEARNED + number}", queries.take([number])
        found = index.search_timed(text, 10, embeddings=own, mode="hybrid", rerank=options)
        rounds = found.spent[0].rounds
        timing = dict(found.timing)
        each.append((timing.pop("score") - 1000 * scorer.seconds) / rounds)
        before.append(sum(timing.get(stage, 0.0) for stage in ("candidates", "rerank", "lexical")))
    return Overhead(method, rounds, float(np.median(before)), float(np.median(each)))


def _tokens(rng: np.random.Generator, items: int) -> TokenEmbeddings:
    """Unit vectors around some centres, so that there is something to fit."""
    centres = np.random.default_rng(7).standard_normal((CLUSTERS, DIM))
    vectors = centres[rng.integers(0, CLUSTERS, items * TOKENS)] + rng.standard_normal((items * TOKENS, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenEmbeddings(vectors.astype(np.float32), TOKENS * np.arange(items + 1, dtype=np.int64))
