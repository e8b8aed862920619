"""Evaluate an index on a test collection: effectiveness, recall against exact MaxSim, latency and size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..encoders.base import Encoder, Progress
from ..encoders.errors import InvalidInputError
from ..retrieval.index import Index
from ..retrieval.types import Mode
from .beir import Dataset
from .metrics import Rankings, quality, recall_at_k, write_run

SEARCHES_AT_ONCE = 64
TIMED_QUERIES = 50
_DEPTH = 100
"""Results that Recall@100 needs; also the depth at which mode `hybrid` ranks vectors before fusion."""
_TOP = 10
_TIES = 20
"""Further exact results that are fetched to know the documents tied with the last of the top 10."""


@dataclass(frozen=True)
class EvalReport:
    """What one evaluation measured.

    documents: documents searched. recall_vs_exact_at_10: share of the exact MaxSim top 10 that the vector side of the
    mode finds, None where it has none. p50_ms: median time of one search (text in, 10 hits out). bytes_per_document:
    size of the whole index on disk, texts included.
    """

    dataset: str
    encoder: str | None
    mode: Mode
    queries: int
    documents: int
    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float
    recall_vs_exact_at_10: float | None
    p50_ms: float
    bytes_per_document: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, with the customary names of the measures."""
        recall = self.recall_vs_exact_at_10
        return {
            "dataset": self.dataset,
            "encoder": self.encoder,
            "mode": self.mode,
            "queries": self.queries,
            "documents": self.documents,
            "ndcg@10": round(self.ndcg_at_10, 4),
            "recall@100": round(self.recall_at_100, 4),
            "mrr@10": round(self.mrr_at_10, 4),
            "recall_vs_exact@10": None if recall is None else round(recall, 4),
            "p50_ms": round(self.p50_ms, 3),
            "bytes_per_document": round(self.bytes_per_document, 1),
        }


def evaluate(
    dataset: Dataset,
    *,
    index: Index | None = None,
    encoder: str | Path | Encoder = "default",
    mode: Mode = "auto",
    k: int = _DEPTH,
    run_path: str | Path | None = None,
    progress: Progress | None = None,
) -> EvalReport:
    """Run the judged queries of a collection and measure the results.

    index: searched as it is; without one, a temporary index is built with `encoder` and removed afterwards. k: results
    fetched a query (at least 100). run_path: where to write the results as a TREC run file. Latency is measured first,
    so that no encoder answers from a cache of queries. Raises `InvalidInputError` when the index lacks documents of the
    collection, and whatever building and searching raise.
    """
    if k < _DEPTH:
        raise InvalidInputError(f"recall@100 needs k of at least {_DEPTH}, got {k}")
    if index is None:
        with temporary_index(dataset, encoder, progress) as built:
            return _evaluate(dataset, built, mode, k, run_path, progress)
    _require_documents(dataset, index)
    return _evaluate(dataset, index, mode, k, run_path, progress)


def _evaluate(
    dataset: Dataset, index: Index, mode: Mode, k: int, run_path: str | Path | None, progress: Progress | None
) -> EvalReport:
    p50 = float(np.median(latencies(dataset, index, mode)))
    run = search_all(dataset, index, mode, k, progress)
    if run_path is not None:
        write_run(run_path, run, tag=f"latefold-{mode}")
    measured = quality(run, dataset.qrels)
    facts = index.stats()
    return EvalReport(
        dataset=dataset.name,
        encoder=facts.encoder,
        mode=mode,
        queries=len(dataset.queries),
        documents=facts.documents,
        ndcg_at_10=measured.ndcg_at_10,
        recall_at_100=measured.recall_at_100,
        mrr_at_10=measured.mrr_at_10,
        recall_vs_exact_at_10=vector_recall(dataset, index, mode, progress=progress),
        p50_ms=p50,
        bytes_per_document=facts.bytes_per_document,
    )


@contextmanager
def temporary_index(dataset: Dataset, encoder: str | Path | Encoder, progress: Progress | None) -> Iterator[Index]:
    """An index of the documents of a collection, calibrated as `latefold index` leaves it; removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="latefold-eval-") as folder,
        Index.create(Path(folder) / "collection.index", encoder=encoder) as index,
    ):
        index.add(dataset.documents, progress=progress)
        index.calibrate(progress)
        yield index


def _require_documents(dataset: Dataset, index: Index) -> None:
    present = set(index.ids())
    # Ingestion leaves out a document that says nothing; no query can miss it.
    said = [document for document in dataset.documents if (document.title + document.text).strip()]
    missing = [document.id for document in said if document.id not in present]
    if missing:
        raise InvalidInputError(
            f"the index {index.path} lacks {len(missing)} of the {len(dataset.documents)} documents of {dataset.name} "
            f"(the first is {missing[0]!r}; the index holds {len(index)}): index the collection's folder, or name no "
            "index to have a temporary one built"
        )


def latencies(dataset: Dataset, index: Index, mode: Mode) -> list[float]:
    """Milliseconds of single searches (text in, 10 hits out) over the first 50 queries, after a warm-up."""
    warm_up(dataset, index, mode)
    times = []
    for text in list(dataset.queries.values())[:TIMED_QUERIES]:
        start = perf_counter()
        index.search(text, _TOP, mode=mode)
        times.append(1000 * (perf_counter() - start))
    return times


def warm_up(dataset: Dataset, index: Index, mode: Mode) -> None:
    """Load the encoder, compile kernels and touch the index, with texts that are none of the queries."""
    texts = (f"{document.title} {document.text}"[:100].strip() for document in dataset.documents)
    for text in [text for text in texts if text][:3]:
        index.search(text, _TOP, mode=mode)


def search_all(dataset: Dataset, index: Index, mode: Mode, k: int, progress: Progress | None = None) -> Rankings:
    """Results of all queries, searched in batches."""
    run: Rankings = {}
    for batch in _query_batches(dataset):
        results = index.search([dataset.queries[query] for query in batch], k, mode=mode)
        for query, hits in zip(batch, results, strict=True):
            run[query] = [(hit.id, hit.score) for hit in hits]
        if progress is not None:
            progress(f"search ({mode})", len(run), len(dataset.queries))
    return run


def exact_scores(dataset: Dataset, index: Index, progress: Progress | None = None) -> dict[str, dict[str, float]]:
    """For each query the exact MaxSim scores of the best documents: the top 10 and those that may be tied with it."""
    run = search_all(dataset, index, "exact", _TOP + _TIES, progress)
    return {query: dict(found) for query, found in run.items()}


def vector_recall(
    dataset: Dataset,
    index: Index,
    mode: Mode,
    *,
    truth: Mapping[str, Mapping[str, float]] | None = None,
    progress: Progress | None = None,
) -> float | None:
    """Mean share of the exact MaxSim top 10 that the vector side of a mode finds; None where there is none.

    truth: `exact_scores` of the same index, if they are known. Modes `hybrid` and `auto` are judged by the vector
    ranking that they fuse: a search by embeddings alone, at the depth of the fusion.
    """
    encoder = index.encoder if mode != "lexical" else None
    if encoder is None:
        return None
    vector_mode: Mode = mode if mode in ("exact", "ann") else "auto"
    depth = _TOP if vector_mode == mode else _DEPTH
    if truth is None:
        truth = exact_scores(dataset, index, progress)
    shares: list[float] = []
    for batch in _query_batches(dataset):
        embeddings = encoder.encode_queries([dataset.queries[query] for query in batch])
        results = index.search(embeddings=embeddings, k=depth, mode=vector_mode)
        shares += [
            recall_at_k([hit.id for hit in hits], truth[query], _TOP)
            for query, hits in zip(batch, results, strict=True)
        ]
        if progress is not None:
            progress("recall against exact", len(shares), len(dataset.queries))
    return float(np.mean(shares))


def _query_batches(dataset: Dataset) -> Iterator[Sequence[str]]:
    ids = list(dataset.queries)
    return (ids[start : start + SEARCHES_AT_ONCE] for start in range(0, len(ids), SEARCHES_AT_ONCE))
