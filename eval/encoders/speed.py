"""How fast encoders are, in turns on the same texts, so that a machine that is slow for one is slow for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter, process_time
from typing import Any, Final

import numpy as np

from ...encoders.base import Encoder, load_encoder
from ...encoders.errors import InvalidInputError, LatefoldError
from ..corpora import passages

WORDS: Final = 12
"""Of a query."""
_DOCUMENTS, _QUERIES = 48, 30

Spent = tuple[float, float]
"""Seconds of CPU, of all threads, and of wall clock."""


def speed(names: Sequence[str], texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """Documents a second and milliseconds a query, medians of the rounds, against the first encoder, JSON-ready.

    Ratios are medians of those of the rounds, above 1 where an encoder is faster than the first. Encoders that cannot
    be loaded are named with the reason. Raises `InvalidInputError` without documents.
    """
    encoders, left_out = _loaded(names)
    queries = passages(texts, rounds * _QUERIES, WORDS)
    asked = len(queries) // rounds
    if not asked or not encoders:
        raise InvalidInputError(f"encoding speed needs an encoder and {rounds} documents at least")
    documents = list(texts[:_DOCUMENTS])
    for encoder in encoders.values():
        encoder.encode_documents(documents[:4])
        encoder.encode_queries(documents[:1])
    folded: dict[str, list[Spent]] = {name: [] for name in encoders}
    answered: dict[str, list[Spent]] = {name: [] for name in encoders}
    for number in range(rounds):
        fresh = queries[number * asked : (number + 1) * asked]  # an encoder remembers the queries of before
        for name, encoder in encoders.items():
            folded[name].append(_timed(partial(encoder.encode_documents, documents)))
            answered[name].append(_timed(partial(_one_by_one, encoder, fresh)))
    first = next(iter(encoders))
    rows = [
        {
            "encoder": name,
            "documents_per_cpu_second": len(documents) / _median(folded[name], 0),
            "documents_per_second": len(documents) / _median(folded[name], 1),
            "document_ratio": _ratio(folded[first], folded[name]),
            "query_cpu_ms": 1000 * _median(answered[name], 0) / asked,
            "query_ms": 1000 * _median(answered[name], 1) / asked,
            "query_ratio": _ratio(answered[first], answered[name]),
        }
        for name in encoders
    ]
    return {"rows": rows, "left_out": left_out, "documents": len(documents), "queries": asked * rounds}


def _loaded(names: Sequence[str]) -> tuple[dict[str, Encoder], dict[str, str]]:
    encoders: dict[str, Encoder] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            encoders[name] = load_encoder(name, offline=True)
        except LatefoldError as error:
            left_out[name] = str(error)
    return encoders, left_out


def _one_by_one(encoder: Encoder, texts: Sequence[str]) -> None:
    for text in texts:
        encoder.encode_queries([text])


def _timed(work: Callable[[], object]) -> Spent:
    cpu, wall = process_time(), perf_counter()
    work()
    return max(process_time() - cpu, 1e-9), max(perf_counter() - wall, 1e-9)


def _median(spent: Sequence[Spent], clock: int) -> float:
    return float(np.median([item[clock] for item in spent]))


def _ratio(reference: Sequence[Spent], own: Sequence[Spent]) -> float:
    """Of CPU seconds, by rounds."""
    return float(np.median([theirs[0] / ours[0] for theirs, ours in zip(reference, own, strict=True)]))
