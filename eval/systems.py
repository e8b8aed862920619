"""Speed and size: indexing against the bare encoder, latency by stage, bytes by part, memory while indexing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from ..encoders.base import Encoder, Progress
from ..encoders.embeddings import FloatArray
from ..encoders.errors import LatefoldError
from ..retrieval.documents import encoded_text
from ..retrieval.index import Index
from ..retrieval.stats import IndexStats
from ..retrieval.types import Document, Mode
from .beir import Dataset
from .evaluate import warm_up
from .yardsticks import mean_pooled

_TOP = 10
STAGES = ("encode", "candidates", "rerank", "lexical", "fetch")


@dataclass(frozen=True)
class Build:
    """One corpus encoded alone and indexed, chunk by chunk in turn, so that both met the same machine.

    Seconds: bare_seconds for the encoder alone, index_seconds for `Index.add` (encoding included), calibrate_seconds
    for the calibration that follows. pooled: `(documents, dim)` float32 mean-pooled vectors of the bare encoding.
    """

    documents: int
    bare_seconds: float
    index_seconds: float
    calibrate_seconds: float
    pooled: FloatArray

    @property
    def ratio(self) -> float:
        """Documents a second of the bare encoder over those of indexing: 1 would mean that indexing is free."""
        return self.index_seconds / self.bare_seconds


@dataclass(frozen=True)
class Latency:
    """Milliseconds of single searches in one mode: p50 and p95 of the whole, p50 of each stage."""

    mode: Mode
    queries: int
    p50: float
    p95: float
    stages: Mapping[str, float]


@dataclass(frozen=True)
class Footprint:
    """Memory of a process that indexes: bytes resident before it started and at the peak."""

    documents: int
    before: int
    peak: int


@dataclass(frozen=True)
class Systems:
    """Everything measured about speed and size on one collection."""

    dataset: str
    build: Build
    latencies: Sequence[Latency]
    stats: IndexStats
    footprint: Footprint


def build(dataset: Dataset, index: Index, encoder: Encoder, progress: Progress | None = None) -> Build:
    """Fill an empty index with a collection and calibrate it, timing each chunk against the encoder alone."""
    documents = dataset.documents
    size = index.config.batch_documents
    encoder.encode_documents([encoded_text(document) for document in documents[:8]])
    bare = indexed = 0.0
    pooled: list[FloatArray] = []
    for number, start in enumerate(range(0, len(documents), size)):
        chunk = documents[start : start + size]
        # Either goes first in turn, so that neither always meets the warmer processor.
        if number % 2:
            indexed += _timed_add(index, chunk)
        seconds, vectors = _timed_encode(encoder, chunk)
        bare += seconds
        pooled.append(vectors)
        if not number % 2:
            indexed += _timed_add(index, chunk)
        if progress is not None:
            progress(f"index {dataset.name}", start + len(chunk), len(documents))
    start_calibration = perf_counter()
    index.calibrate(progress)
    return Build(len(documents), bare, indexed, perf_counter() - start_calibration, np.concatenate(pooled))


def _timed_encode(encoder: Encoder, documents: list[Document]) -> tuple[float, FloatArray]:
    texts = [encoded_text(document) for document in documents]
    start = perf_counter()
    embeddings = encoder.encode_documents(texts)
    return perf_counter() - start, mean_pooled(embeddings)


def _timed_add(index: Index, documents: list[Document]) -> float:
    start = perf_counter()
    index.add(documents)
    return perf_counter() - start


def latency(dataset: Dataset, path: Path, mode: Mode, count: int = 100) -> Latency:
    """Time the first `count` queries one by one.

    The index is opened afresh, so that its encoder answers none of them from a cache of earlier queries.
    """
    with Index.open(path) as index:
        warm_up(dataset, index, mode)
        totals, stages = [], []
        for text in list(dataset.queries.values())[:count]:
            start = perf_counter()
            result = index.search_timed(text, _TOP, mode=mode)
            totals.append(1000 * (perf_counter() - start))
            stages.append([result.timing.get(stage, 0.0) for stage in STAGES])
    medians = np.median(np.array(stages), axis=0)
    return Latency(
        mode,
        len(totals),
        float(np.percentile(totals, 50)),
        float(np.percentile(totals, 95)),
        dict(zip(STAGES, medians.tolist(), strict=True)),
    )


def footprint(folder: Path, encoder: str, documents: int = 5000) -> Footprint:
    """Peak memory of a fresh process that indexes the first documents of a BEIR folder.

    Raises `LatefoldError` with the process's own words when it fails.
    """
    command = [sys.executable, "-m", "latefold.eval.footprint", str(folder), encoder, str(documents)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this module's own
    if done.returncode:
        raise LatefoldError(f"indexing in a process of its own failed ({done.returncode}): {done.stderr[-2000:]}")
    return Footprint(**json.loads(done.stdout))
