"""One collection, every way of searching it: the modes of an index, the yardsticks, and exact MaxSim as the measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..encoders.base import Progress
from ..encoders.embeddings import FloatArray
from ..encoders.errors import InvalidInputError
from ..retrieval.index import Index
from ..retrieval.types import Mode
from .beir import Dataset
from .evaluate import exact_scores, search_all, vector_recall
from .metrics import Quality, Rankings, quality
from .yardsticks import bm25_run, cosine_run, fused_run, mean_pooled

MODES: Final[tuple[Mode, ...]] = ("exact", "ann", "lexical", "hybrid")
BM25, POOLED, BM25_POOLED = "BM25 (bm25s)", "mean-pooled", "BM25 + mean-pooled"
YARDSTICKS: Final = (BM25, POOLED, BM25_POOLED)
_DEPTH = 100


@dataclass(frozen=True)
class Comparison:
    """Figures of one collection. quality: by mode and yardstick. recall_vs_exact: by mode that has a vector side."""

    dataset: str
    documents: int
    queries: int
    quality: Mapping[str, Quality]
    recall_vs_exact: Mapping[str, float]


def compare(dataset: Dataset, index: Index, pooled: FloatArray, progress: Progress | None = None) -> Comparison:
    """Measure every mode of an index of the collection, and the yardsticks.

    pooled: `(len(dataset.documents), dim)` float32, the mean-pooled document vectors of the index's encoder. Raises
    `MissingExtraError` without the extra `bench`.
    """
    measured = {name: quality(run, dataset.qrels) for name, run in _yardsticks(dataset, index, pooled).items()}
    truth = exact_scores(dataset, index, progress)
    recalls: dict[str, float] = {}
    for mode in MODES:
        measured[mode] = quality(search_all(dataset, index, mode, _DEPTH, progress), dataset.qrels)
        recall = vector_recall(dataset, index, mode, truth=truth, progress=progress)
        if recall is not None:
            recalls[mode] = recall
    return Comparison(dataset.name, len(dataset.documents), len(dataset.queries), measured, recalls)


def _yardsticks(dataset: Dataset, index: Index, pooled: FloatArray) -> dict[str, Rankings]:
    encoder = index.encoder
    if encoder is None:
        raise InvalidInputError(f"the index {index.path} has no encoder: the comparison needs one for the queries")
    bm25 = bm25_run(dataset, _DEPTH)
    queries = mean_pooled(encoder.encode_queries(list(dataset.queries.values())))
    cosine = cosine_run(dataset, pooled, queries, _DEPTH)
    return {BM25: bm25, POOLED: cosine, BM25_POOLED: fused_run([bm25, cosine], _DEPTH)}
