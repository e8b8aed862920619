"""How fast MUVERA encodings are made, ours and those of `muvera-python`, in turns on the same documents."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

import numpy as np

from ...index.kernels.warmup import warm_up
from ..corpora import Corpus
from .encodings import RECIPES

_DOCUMENTS, _QUERIES = 400, 100


def generation(corpus: Corpus, rounds: int) -> dict[str, Any]:
    """Documents a CPU second and CPU milliseconds a query at 10,240 dimensions, medians of the rounds, JSON-ready.

    Raises `MissingExtraError` without `muvera-python`.
    """
    warm_up()
    ours, theirs = (RECIPES[name].make(corpus) for name in ("muvera-10240", "muvera-python"))
    documents = corpus.documents.take(list(range(min(_DOCUMENTS, len(corpus.documents)))))
    queries = [corpus.queries.take([row]) for row in range(min(_QUERIES, len(corpus.queries)))]
    for encoding in (ours, theirs):
        encoding.encode_documents(documents)
        encoding.encode_queries(queries[0])
    both = (ours, theirs)
    folds = [[_seconds(partial(e.encode_documents, documents)) for e in both] for _ in range(rounds)]
    asks = [[sum(_seconds(partial(e.encode_queries, q)) for q in queries) for e in both] for _ in range(rounds)]
    ratios = np.array(folds)[:, 1] / np.array(folds)[:, 0]
    per_second = len(documents) / np.median(folds, axis=0)
    per_query = 1000 * np.median(asks, axis=0) / len(queries)
    return {
        "documents": len(documents),
        "rounds": rounds,
        "documents_per_second": per_second.tolist(),
        "query_ms": per_query.tolist(),
        "ratio": float(np.median(ratios)),
        "least_ratio": float(ratios.min()),
    }


def _seconds(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start
