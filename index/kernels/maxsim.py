"""MaxSim over stored token rows: the best token of a document for every query vector, summed over each query.

Rows are decoded tile by tile and every query vector meets a tile while it is in cache, so that memory does not grow
with the number or the length of documents. A core runs this about as fast as a BLAS product of the same size, without
its copies of decoded tokens and similarities, and without threads that wait for each other on a busy machine.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from .dots import dots_2x4
from .jit import frozen, in_threads, inlined, kernel
from .rows import Bytes, decode_tile

TILE = 64
"""Tokens decoded at a time."""
QUERY_BYTES = 1 << 19
"""Query vectors that one pass over the documents scores: half of a common L2 cache."""


@inlined
def _raise_best(tile: FloatArray, count: int, queries: FloatArray, best: FloatArray) -> None:
    """Raise `best[c]` to the largest product of `queries[c]` with the first `count` rows of `tile`."""
    dim = tile.shape[1]
    for c in range(0, len(queries), 4):
        b0, b1, b2, b3 = best[c], best[c + 1], best[c + 2], best[c + 3]
        for t in range(0, count, 2):
            x, y = dots_2x4(tile, t, min(t + 1, count - 1), queries, c, dim)  # an odd last row is its own pair
            b0 = max(b0, max(x[0], y[0]))
            b1 = max(b1, max(x[1], y[1]))
            b2 = max(b2, max(x[2], y[2]))
            b3 = max(b3, max(x[3], y[3]))
        best[c], best[c + 1], best[c + 2], best[c + 3] = b0, b1, b2, b3


@inlined
def _sum_queries(best: FloatArray, spans: IntArray, document: int, out: FloatArray) -> None:
    """`out[q, document]` = sum of `best` over the columns `spans[q, 0]` to `spans[q, 1]`."""
    for q in range(len(spans)):
        total = 0.0
        for c in range(spans[q, 0], spans[q, 1]):
            total += best[c]
        out[q, document] = total


@kernel
def _score(
    rows: Bytes,
    layout: int,
    documents: IntArray,
    queries: FloatArray,
    spans: IntArray,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    """Score documents `first` to `last`; `documents` is `(n, 2)`: first row of each and the row after its last."""
    tile = np.empty((TILE, queries.shape[1]), np.float32)
    best = np.empty(len(queries), np.float32)
    for document in range(first, last):
        begin, end = documents[document]
        best[:] = -np.inf
        for start in range(begin, end, TILE):
            stop = min(start + TILE, end)
            decode_tile(rows, start, stop, layout, tile)
            _raise_best(tile, stop - start, queries, best)
        _sum_queries(best, spans, document, out)
        if begin == end:
            out[:, document] = -np.inf


def maxsim(
    queries: TokenEmbeddings,
    rows: Bytes,
    layout: int,
    offsets: IntArray,
    positions: IntArray | None = None,
) -> FloatArray:
    """`(len(queries), n or p)` float32 MaxSim of queries and documents; -inf for a document without rows.

    rows: `(T, width)` uint8 in the layout `LVQ8` or `FP16`. offsets: `(n + 1,)` int64. positions: `(p,)` int64.
    Raises `InvalidInputError` when offsets or positions point outside.
    """
    rows = frozen(rows, np.uint8, 2)
    documents = _document_spans(offsets, positions, len(rows))
    out = np.empty((len(queries), len(documents)), np.float32)
    costs = np.concatenate([[0], np.cumsum(documents[:, 1] - documents[:, 0])])
    for first, last in _query_groups(queries):
        vectors, spans = _padded(queries, first, last)
        score = partial(_score, rows, layout, documents, vectors, spans, out[first:last])
        in_threads(score, costs, vectors.size)
    return out


def _document_spans(offsets: IntArray, positions: IntArray | None, total: int) -> IntArray:
    """`(n or p, 2)` int64: first row of each document and the row after its last."""
    offsets = frozen(offsets, np.int64, 1)
    if positions is None:
        spans = np.stack([offsets[:-1], offsets[1:]], axis=1)
    else:
        positions = frozen(positions, np.int64, 1)
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(offsets) - 1:
            raise InvalidInputError(f"positions must lie in 0 to {len(offsets) - 2}, the documents there are")
        spans = np.stack([offsets[positions], offsets[positions + 1]], axis=1)
    if len(spans) and (spans.min() < 0 or spans.max() > total or (spans[:, 0] > spans[:, 1]).any()):
        raise InvalidInputError(f"document offsets must rise within the {total} token rows")
    return frozen(spans, np.int64, 2)


def _query_groups(queries: TokenEmbeddings) -> list[tuple[int, int]]:
    """Consecutive ranges of queries whose padded vectors take about `QUERY_BYTES`, at least one query each."""
    sizes = -(-queries.lengths // 4) * 16 * max(1, queries.dim)
    groups: list[tuple[int, int]] = []
    first = size = 0
    for q, more in enumerate(sizes.tolist()):
        if q > first and size + more > QUERY_BYTES:
            groups.append((first, q))
            first, size = q, 0
        size += more
    if len(queries):
        groups.append((first, len(queries)))
    return groups


def _padded(queries: TokenEmbeddings, first: int, last: int) -> tuple[FloatArray, IntArray]:
    """Vectors of queries `first` to `last`, each query padded with zeros to a multiple of four, and their columns.

    The padding gives a query the same arithmetic alone and in a batch.
    """
    lengths = queries.lengths[first:last]
    ends = np.cumsum(-(-lengths // 4) * 4)
    begins = np.concatenate([[0], ends[:-1]])
    spans = np.stack([begins, begins + lengths], axis=1)
    vectors = np.zeros((int(ends[-1]), queries.dim), np.float32)
    for q, (begin, end) in enumerate(spans.tolist(), start=first):
        vectors[begin:end] = queries[q]
    return frozen(vectors, np.float32, 2), frozen(spans, np.int64, 2)
