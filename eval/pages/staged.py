"""Two stages over pages: a cheap ranking of all of them, and MaxSim in half precision over its first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ...index.encodings.fde import FDE, FDEConfig
from ...index.encodings.learned import Learned, LearnedConfig
from ...index.kernels.patches import patch_scores
from ...index.kernels.warmup import warm_up
from ...index.leanvec import sphering
from ...index.lvq import LVQ
from ...index.moments import Moments
from ...index.single import SingleVectors
from ...index.tokens.hamming import SignCodec
from ...index.tokens.patch import Patch256Codec
from ..beir import Dataset
from ..search.coding import encoded
from ..truth import best
from .page_vectors import PageVectors
from .ranking import page_quality, run_of

RERANKED: Final = (50, 100)
"""Pages of the first stage that the second ranks."""
TOP: Final = 5
_FIT_TOKENS: Final = 1 << 16
_FORMS: Final = ((128, 8), (256, 4))
"""Dimensions and bits of learned vectors, beside all of them."""
_ID_BITS: Final = 8


@dataclass(frozen=True)
class Staged:
    """A first stage. bytes: of a page in it, beside the vectors of the second stage.

    found: mean share of the exact first 5 pages among the first 50 and 100. alone, ndcg: nDCG@5 of the first stage by
    itself, and after each number of pages was ranked anew. All by number as text.
    """

    name: str
    bytes: float
    alone: float
    found: dict[str, float]
    ndcg: dict[str, float]


def staged(dataset: Dataset, vectors: PageVectors) -> dict[str, Any]:
    """Every first stage, JSON-ready, and nDCG@5 of ranking all pages by the second (`whole`)."""
    warm_up()
    fine = encoded("fp16", vectors.pages)
    exact = fine.codec.score(vectors.queries, fine.codes, fine.offsets)
    pages, queries = [document.id for document in dataset.documents], list(dataset.queries)

    def ndcg(rows: IntArray) -> float:
        return page_quality(run_of(queries, pages, rows), dataset.qrels).ndcg_at_5

    truth = best(exact, TOP)
    rows = []
    for name, size, scores in _first_stages(vectors):
        order = best(scores, max(RERANKED))
        found, after = {}, {}
        for count in RERANKED:
            near = order[:, :count]
            found[str(count)] = float(np.mean([np.isin(t, n).mean() for t, n in zip(truth, near, strict=True)]))
            refined = np.full_like(exact, -np.inf)
            np.put_along_axis(refined, near, np.take_along_axis(exact, near, axis=1), axis=1)
            after[str(count)] = ndcg(best(refined, TOP))
        rows.append(asdict(Staged(name, size, ndcg(order[:, :TOP]), found, after)))
    return {"rows": rows, "whole": ndcg(truth)}


def _first_stages(vectors: PageVectors) -> Iterator[tuple[str, float, FloatArray]]:
    """Names, bytes a page, and scores `(queries, pages)`."""
    pages = vectors.pages
    count = len(pages.vectors) / max(1, len(pages))
    sign = encoded("sign", pages)
    assert isinstance(sign.codec, SignCodec)
    yield "Hamming distance of signs", 16 * count, sign.codec.coarse(vectors.queries, sign.codes, sign.offsets)
    yield "Hamming distance of patch ids", count, _by_ids(vectors)
    for single in _singles(vectors):
        rows = single.encode_documents(pages)
        scores = single.lvq.scores(single.encode_queries(vectors.queries), rows)
        yield single.name, single.width, scores


def _by_ids(vectors: PageVectors) -> FloatArray:
    """MaxSim of the bits of patch ids that agree less those that do not; near centroids have near ids."""
    coded = encoded("patch256", vectors.pages)
    assert isinstance(coded.codec, Patch256Codec)
    bits = np.where(np.arange(1 << _ID_BITS)[:, None] >> np.arange(_ID_BITS) & 1, 1, -1).astype(np.float32)
    asked = bits[coded.codec.ids(coded.codec.encode(vectors.queries.vectors))]
    turned = type(vectors.queries)(asked, vectors.queries.offsets)
    return patch_scores(turned, bits[None], coded.codes, coded.offsets)


def _singles(vectors: PageVectors) -> Iterator[SingleVectors]:
    """One vector a page: MUVERA, and the learned one whole and reduced, fitted to passages of the pages."""
    pages = vectors.pages
    fde = FDE(FDEConfig(), pages.dim)
    yield SingleVectors(fde, None, LVQ(fde.encode_documents(_sample(vectors)).mean(axis=0)))
    sample = _sample(vectors)
    learned = Learned.fit(LearnedConfig(), sample, vectors.passages)
    folded = learned.encode_documents(sample)
    yield SingleVectors(learned, None, LVQ(folded.mean(axis=0)))
    documents, queries = Moments(learned.output_dim), Moments(learned.output_dim)
    documents.add(folded)
    queries.add(learned.encode_queries(vectors.passages))
    whole = sphering(queries.matrix, documents.centred, max(dim for dim, _ in _FORMS), samples=len(vectors.passages))
    for dim, bits in _FORMS:
        reduction = whole.truncated(dim).rotated(7)
        yield SingleVectors(learned, reduction, LVQ(reduction.reduce_documents(folded).mean(axis=0), bits=bits))


def _sample(vectors: PageVectors) -> Any:
    """Pages with about `_FIT_TOKENS` vectors, drawn at random."""
    order = np.random.default_rng(0).permutation(len(vectors.pages))
    enough = int(np.searchsorted(np.cumsum(vectors.pages.lengths[order]), _FIT_TOKENS)) + 1
    return vectors.pages.take(np.sort(order[:enough]))
