"""What token codes leave of the ranking: nDCG@10 of exhaustive MaxSim over every codec's codes, and bytes a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import LatefoldError
from ...index.kernels.warmup import warm_up
from ..beir import load_beir
from ..corpora import Corpus
from ..metrics import Judgements, quality
from ..truth import best
from .coding import Coded, encoded

REFERENCE: Final = "fp16"
REFINED: Final = 64
"""Documents that the second level of a two-level code ranks anew."""
TOP: Final = 10
_DEPTH = 100


@dataclass(frozen=True)
class Kept:
    """A codec on a collection.

    bytes: of all codes over the number of document tokens. agreement: mean share of the reference's top 10 in its own.
    seconds are of CPU: to fit, to encode all documents, to score all queries with all of them.
    """

    codec: str
    bytes: float
    ndcg: float
    agreement: float
    fit_seconds: float
    encode_seconds: float
    score_seconds: float


class Judge:
    """Rankings of a collection's documents, judged. Only its first documents and queries when the corpus is a head."""

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        dataset = load_beir(folder)
        self._documents = [document.id for document in dataset.documents[: len(corpus.documents)]]
        self._queries = list(dataset.queries)[: len(corpus.queries)]
        self._qrels: Judgements = {query: dataset.qrels[query] for query in self._queries}

    def ndcg(self, rows: IntArray) -> float:
        """Of `(m, k)` rows, best first."""
        run = {
            query: [(self._documents[row], -float(rank)) for rank, row in enumerate(found)]
            for query, found in zip(self._queries, rows.tolist(), strict=True)
        }
        return quality(run, self._qrels).ndcg_at_10


def measure(corpus: Corpus, folder: Path, codecs: Sequence[str], dim: int) -> dict[str, Any]:
    """Every codec on the leading `dim` dimensions, JSON-ready; codecs that are not there are named with the reason.

    folder: of the collection, with its judgements. A name of two codecs joined by `+` ranks by the first and the best
    `REFINED` of that by the second.
    """
    warm_up()
    judge = Judge(corpus, folder)
    dim = min(dim, corpus.documents.dim)
    queries = corpus.queries.read().leading(dim)
    reference: IntArray | None = None
    scored: dict[str, tuple[FloatArray, Kept]] = {}
    left_out: dict[str, str] = {}
    rows: list[Kept] = []
    for name in codecs:
        try:
            scores, figures = _both(scored, name) if "+" in name else _ranked(corpus, name, queries, dim)
        except LatefoldError as error:
            left_out[name] = str(error)
            continue
        scored[name] = scores, figures
        found = best(scores, _DEPTH)
        reference = found[:, :TOP] if reference is None else reference
        rows.append(_judged(figures, judge.ndcg(found), shared(found[:, :TOP], reference)))
    return {
        "dim": dim,
        "rows": [asdict(row) for row in rows],
        "left_out": left_out,
        "tokens": corpus.documents.tokens,
    }


def shared(rows: IntArray, reference: IntArray) -> float:
    """Mean share of the reference's rows that are among the others', query by query."""
    return float(np.mean([np.isin(want, have).mean() for want, have in zip(reference, rows, strict=True)]))


def _ranked(corpus: Corpus, name: str, queries: TokenEmbeddings, dim: int) -> tuple[FloatArray, Kept]:
    """Scores of all documents by the codes of one codec."""
    coded = encoded(name, corpus.documents, dim)
    scores, seconds = _scores(coded, queries)
    size = float(coded.bytes_per_token)
    return scores, Kept(name, size, 0.0, 0.0, coded.fit_seconds, coded.encode_seconds, seconds)


def _scores(coded: Coded, queries: TokenEmbeddings) -> tuple[FloatArray, float]:
    start = process_time()
    scores = coded.codec.score(queries, coded.codes, coded.offsets)
    return scores, process_time() - start


def _both(scored: Mapping[str, tuple[FloatArray, Kept]], name: str) -> tuple[FloatArray, Kept]:
    """Scores by two levels, from those of each: documents beyond the first `REFINED` are out of the ranking."""
    coarse, fine = name.split("+")
    if coarse not in scored or fine not in scored:
        raise LatefoldError(f"{name} needs the figures of {coarse} and {fine}")
    (first, one), (second, two) = scored[coarse], scored[fine]
    scores = np.full_like(first, -np.inf)
    near = best(first, REFINED)
    np.put_along_axis(scores, near, np.take_along_axis(second, near, axis=1), axis=1)
    seconds = one.score_seconds + two.score_seconds * near.shape[1] / max(1, first.shape[1])
    spent = one.fit_seconds + two.fit_seconds, one.encode_seconds + two.encode_seconds, seconds
    return scores, Kept(name, one.bytes + two.bytes, 0.0, 0.0, *spent)


def _judged(figures: Kept, ndcg: float, agreement: float) -> Kept:
    return Kept(**{**asdict(figures), "ndcg": ndcg, "agreement": agreement})
