"""Exact MaxSim rankings of a benchmark, kept on disk under the digests of the vectors they were computed from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..encoders.base import Progress
from ..encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ..encoders.errors import StorageError
from .vectors import Vectors

DEPTH = 100


def exact_top(folder: Path, documents: Vectors, queries: Vectors, progress: Progress | None = None) -> IntArray:
    """`(m, min(DEPTH, n))` int64: rows of the documents with the largest MaxSim for each query, best first.

    Ties go to the smaller row. Computed in float32 once, then read from `folder`. Raises `StorageError` when the folder
    cannot be written.
    """
    path = folder / f"maxsim-{documents.digest}-{queries.digest}.npy"
    if path.is_file():
        known: IntArray = np.load(path, allow_pickle=False)
        return known
    scores = maxsim_scores(documents, queries.read(), progress)
    rows = best(scores, DEPTH)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, rows, allow_pickle=False)
    except OSError as error:
        raise StorageError(f"the exact rankings cannot be written to {folder}: {error.strerror}") from error
    return rows


def maxsim_scores(documents: Vectors, queries: TokenEmbeddings, progress: Progress | None = None) -> FloatArray:
    """`(m, n)` float32: one matrix product a document, the maximum over its tokens, the sum over a query's tokens.

    A document without tokens scores minus infinity.
    """
    turned = np.ascontiguousarray(queries.vectors.T)
    scores = np.empty((len(queries), len(documents)), np.float32)
    highest = np.zeros(turned.shape[1] + 1, np.float32)  # one more, so that a last query without tokens has a start
    products = np.empty((int(np.diff(documents.offsets).max(initial=0)), turned.shape[1]), np.float32)
    row = 0
    for block in documents.blocks():
        for vectors in block:
            if len(vectors):
                np.matmul(vectors, turned, out=products[: len(vectors)]).max(axis=0, out=highest[:-1])
            else:
                highest[:-1] = -np.inf
            scores[:, row] = np.add.reduceat(highest, queries.offsets[:-1])
            row += 1
        if progress is not None:
            progress("exact MaxSim", row, len(documents))
    scores[queries.lengths == 0] = 0  # where reduceat gives its neighbour
    return scores


def best(scores: FloatArray, count: int) -> IntArray:
    """`(m, min(count, n))` int64: columns of the largest of each row, largest first, ties by the smaller column."""
    count = min(count, scores.shape[1])
    rows = np.empty((len(scores), count), np.int64)
    for query, values in enumerate(scores):
        floor = np.partition(values, len(values) - count)[len(values) - count]
        near = np.flatnonzero(values >= floor)
        rows[query] = near[np.argsort(-values[near], kind="stable")[:count]]
    return rows
