"""Certified pruning: how many documents the estimates of a codec rule out, and that the best stay the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import process_time
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...index.kernels.warmup import warm_up
from ...retrieval.rerank import contenders, top_k
from ..corpora import Corpus
from .coding import Coded, encoded

DEPTHS: Final = (10, 100)


@dataclass(frozen=True)
class Pruned:
    """Searches for the best `depth` of all documents, by a codec.

    documents, tokens: mean share of documents, and of their tokens, that are never scored. same: share of queries whose
    results equal those of scoring everything, documents and scores to the last bit. all_ms, pruned_ms: CPU milliseconds
    a query of scoring everything, and of estimating everything and scoring what is left.
    """

    codec: str
    depth: int
    queries: int
    documents: float
    tokens: float
    same: float
    all_ms: float
    pruned_ms: float


def prune(corpus: Corpus, name: str, queries: int) -> dict[str, Any]:
    """Figures of a codec on a collection, JSON-ready. Raises `InvalidInputError` for an unknown codec."""
    warm_up()
    coded = encoded(name, corpus.documents)
    asked = [corpus.queries.take([row]) for row in range(min(queries, len(corpus.queries)))]
    coded.codec.estimate(asked[0], coded.codes, coded.offsets)
    found = [_Searched(coded, query) for query in asked]
    return {"rows": [asdict(_figures(name, coded, found, depth)) for depth in DEPTHS]}


class _Searched:
    """One query, scored in full and estimated."""

    def __init__(self, coded: Coded, query: TokenEmbeddings) -> None:
        self.query = query
        start = process_time()
        self.scores: FloatArray = coded.codec.score(query, coded.codes, coded.offsets)[0]
        self.score_seconds = process_time() - start
        start = process_time()
        estimates, errors = coded.codec.estimate(query, coded.codes, coded.offsets)
        self.estimate_seconds = process_time() - start
        self.estimates, self.errors = estimates[0], errors[0]


def _figures(name: str, coded: Coded, found: list[_Searched], depth: int) -> Pruned:
    lengths = np.diff(coded.offsets)
    every: IntArray = np.arange(len(lengths))
    left_documents, left_tokens, same, seconds = [], [], 0, 0.0
    for item in found:
        start = process_time()
        if item.errors.any():
            chosen = contenders(item.estimates, item.errors, depth)
            scores = coded.codec.score(item.query, coded.codes, coded.offsets, chosen)[0]
        else:
            chosen, scores = every[:0], item.estimates
        rows = chosen if item.errors.any() else every
        ranking = top_k(rows, scores, depth)
        seconds += item.estimate_seconds + process_time() - start
        same += ranking == top_k(every, item.scores, depth)
        left_documents.append(len(chosen) / max(1, len(every)))
        left_tokens.append(lengths[chosen].sum() / max(1, lengths.sum()))
    return Pruned(
        codec=name,
        depth=depth,
        queries=len(found),
        documents=1 - float(np.mean(left_documents)),
        tokens=1 - float(np.mean(left_tokens)),
        same=same / len(found),
        all_ms=1000 * float(np.mean([item.score_seconds for item in found])),
        pruned_ms=1000 * seconds / len(found),
    )
