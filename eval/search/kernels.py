"""How many documents of 100 tokens a second a query of 32 is scored with, by every codec and by what others have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter, process_time
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, TokenEmbeddings
from ...encoders.errors import LatefoldError
from ...index.kernels.int8 import compiled_route
from ...index.kernels.warmup import warm_up
from ..corpora import Corpus
from .coding import Coded, encoded
from .loops import int8_peak, read_peak
from .scans import scorers

QUERY_TOKENS: Final = 32
DOCUMENT_TOKENS: Final = 100
Work = Callable[[], object]


@dataclass(frozen=True)
class Speed:
    """Pairs of a query and a document scored in a second.

    pairs: the median of the rounds, of CPU time on one thread and of wall time on several. best: of the best round.
    bytes: of a token's code. products: multiplications and additions a second that MaxSim over vectors would take for
    as many pairs.
    """

    method: str
    pairs: float
    best: float
    bytes: float
    products: float


def kernels(
    corpus: Corpus, codecs: tuple[str, ...], *, threads: int, rounds: int, documents: int, seconds: float
) -> dict[str, Any]:
    """All methods in turns on the same vectors, JSON-ready, with what the machine can do at most.

    The documents are runs of token vectors of the collection, the query those of several of its queries. Methods whose
    package or codec is missing are named with the reason. seconds: what one turn of a method takes at least.
    """
    warm_up()
    tokens, query = _documents(corpus, documents), _query(corpus)
    methods: list[tuple[str, float, Work]] = []
    left_out: dict[str, str] = {}
    for name in codecs:
        try:
            methods += _of_codec(name, tokens, query)
        except LatefoldError as error:
            left_out[name] = str(error)
    for name, make in scorers(threads).items():
        try:
            methods.append((name, _bytes(name, tokens.dim), _asker(make(tokens).scores, query.vectors)))
        except LatefoldError as error:
            left_out[name] = str(error)
    clock = process_time if threads == 1 else perf_counter
    spent = _in_turns([work for _, _, work in methods], clock, rounds, seconds)
    found = [_speed(name, size, times, tokens) for (name, size, _), times in zip(methods, spent, strict=True)]
    return {
        "speeds": [asdict(speed) for speed in found],
        "left_out": left_out,
        "documents": len(tokens),
        "int8_peak": int8_peak(threads),
        "read_peak": read_peak(threads),
        "route": compiled_route().value,
    }


def _speed(name: str, size: float, times: FloatArray, tokens: TokenEmbeddings) -> Speed:
    rate = len(tokens) / times
    median = float(np.median(rate))
    return Speed(name, median, float(rate.max()), size, 2.0 * QUERY_TOKENS * DOCUMENT_TOKENS * tokens.dim * median)


def _of_codec(name: str, tokens: TokenEmbeddings, query: TokenEmbeddings) -> list[tuple[str, float, Work]]:
    """The score of a codec, and its estimate where that is something else."""
    coded = encoded(name, tokens)
    methods: list[tuple[str, float, Work]] = [(f"{name} score", coded.bytes_per_token, _scorer(coded, query))]
    if bool(coded.codec.estimate(query, coded.codes, coded.offsets)[1].any()):
        methods.append((f"{name} estimate", coded.bytes_per_token, _estimator(coded, query)))
    return methods


def _scorer(coded: Coded, query: TokenEmbeddings) -> Work:
    return lambda: coded.codec.score(query, coded.codes, coded.offsets)


def _estimator(coded: Coded, query: TokenEmbeddings) -> Work:
    return lambda: coded.codec.estimate(query, coded.codes, coded.offsets)


def _asker(scores: Callable[[FloatArray], FloatArray], query: FloatArray) -> Work:
    return lambda: scores(query)


def _in_turns(methods: list[Work], clock: Callable[[], float], rounds: int, seconds: float) -> list[FloatArray]:
    """Seconds of one call of each method, by round; a turn repeats short calls."""
    repetitions = []
    for work in methods:
        work()
        before = clock()
        work()
        repetitions.append(max(1, int(seconds / max(clock() - before, 1e-6))))
    spent = np.empty((len(methods), rounds), np.float32)
    for turn in range(rounds):
        for number, (work, count) in enumerate(zip(methods, repetitions, strict=True)):
            before = clock()
            for _ in range(count):
                work()
            spent[number, turn] = (clock() - before) / count
    return list(spent)


def _documents(corpus: Corpus, count: int) -> TokenEmbeddings:
    whole = min(corpus.documents.tokens // DOCUMENT_TOKENS, count)
    vectors = corpus.documents.halves(0, whole * DOCUMENT_TOKENS).astype(np.float32)
    return TokenEmbeddings(vectors, np.arange(whole + 1) * DOCUMENT_TOKENS)


def _query(corpus: Corpus) -> TokenEmbeddings:
    vectors = corpus.queries.halves(0, min(QUERY_TOKENS, corpus.queries.tokens)).astype(np.float32)
    return TokenEmbeddings(np.resize(vectors, (QUERY_TOKENS, vectors.shape[1])), np.array([0, QUERY_TOKENS]))


def _bytes(name: str, dim: int) -> float:
    return (2.0 if name == "torch bf16" else 4.0) * dim
