"""MaxSim over stored token rows: the best token of a document for every query vector, summed over each query.

Rows are decoded tile by tile, and every query vector meets a tile while it is in cache, so that memory does not grow
with the number or the length of documents. Query vectors lie in panels of sixteen; eight tokens by one panel, or four
by two, keep the multiply-add units busy. A product is summed in the order of the coordinates whatever is beside it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from .half import half_to_float
from .int8 import LANES, floats, load_floats, maximum, multiply_add, store_floats
from .jit import frozen, in_threads, inlined_borrowing, kernel
from .rows import FP16, Bytes, decode_tile
from .unpack import load_halves

TILE = 16
"""Tokens decoded at a time: a multiple of 8."""
QUERY_BYTES = 1 << 19
"""Query vectors that one pass over the documents scores: half of a common L2 cache."""


@inlined_borrowing
def _read_halves(rows: Bytes, start: int, count: int, tile: FloatArray) -> None:
    """`decode_tile` of halves, sixteen at a time."""
    dim = tile.shape[1]
    whole = dim // LANES * LANES
    for i in range(count):
        for j in range(0, whole, LANES):
            store_floats(tile, i * dim + j, load_halves(rows, 2 * ((start + i) * dim + j)))
        for j in range(whole, dim):
            tile[i, j] = half_to_float(rows[start + i, 2 * j], rows[start + i, 2 * j + 1])


@inlined_borrowing
def _products_8x1(tile: FloatArray, i: int, packed: FloatArray, p: int) -> Any:
    """Products of eight rows of the tile from `i` with panel `p`."""
    dim = tile.shape[1]
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = floats(np.float32(0))
    for j in range(dim):
        x = load_floats(packed, (p * dim + j) * LANES)
        a0, a1 = multiply_add(a0, floats(tile[i, j]), x), multiply_add(a1, floats(tile[i + 1, j]), x)
        a2, a3 = multiply_add(a2, floats(tile[i + 2, j]), x), multiply_add(a3, floats(tile[i + 3, j]), x)
        a4, a5 = multiply_add(a4, floats(tile[i + 4, j]), x), multiply_add(a5, floats(tile[i + 5, j]), x)
        a6, a7 = multiply_add(a6, floats(tile[i + 6, j]), x), multiply_add(a7, floats(tile[i + 7, j]), x)
    return a0, a1, a2, a3, a4, a5, a6, a7


@inlined_borrowing
def _products_4x2(tile: FloatArray, i: int, packed: FloatArray, p: int) -> Any:
    """Products of four rows of the tile from `i` with panels `p` and `p + 1`."""
    dim = tile.shape[1]
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = floats(np.float32(0))
    for j in range(dim):
        x, y = load_floats(packed, (p * dim + j) * LANES), load_floats(packed, ((p + 1) * dim + j) * LANES)
        v0, v1, v2, v3 = floats(tile[i, j]), floats(tile[i + 1, j]), floats(tile[i + 2, j]), floats(tile[i + 3, j])
        a0, b0, a1, b1 = (
            multiply_add(a0, v0, x),
            multiply_add(b0, v0, y),
            multiply_add(a1, v1, x),
            multiply_add(b1, v1, y),
        )
        a2, b2, a3, b3 = (
            multiply_add(a2, v2, x),
            multiply_add(b2, v2, y),
            multiply_add(a3, v3, x),
            multiply_add(b3, v3, y),
        )
    return a0, a1, a2, a3, b0, b1, b2, b3


@inlined_borrowing
def _raise_best(tile: FloatArray, count: int, packed: FloatArray, best: FloatArray) -> None:
    """Raise `best` to the largest products with the first `count` rows of `tile`, a multiple of 8."""
    panels = len(packed)
    for p in range(0, panels - 1, 2):
        x, y = load_floats(best, p * LANES), load_floats(best, (p + 1) * LANES)
        for i in range(0, count, 4):
            a0, a1, a2, a3, b0, b1, b2, b3 = _products_4x2(tile, i, packed, p)
            x = maximum(x, maximum(maximum(a0, a1), maximum(a2, a3)))
            y = maximum(y, maximum(maximum(b0, b1), maximum(b2, b3)))
        store_floats(best, p * LANES, x)
        store_floats(best, (p + 1) * LANES, y)
    if panels % 2:
        p = panels - 1
        x = load_floats(best, p * LANES)
        for i in range(0, count, 8):
            a0, a1, a2, a3, a4, a5, a6, a7 = _products_8x1(tile, i, packed, p)
            x = maximum(
                x, maximum(maximum(maximum(a0, a1), maximum(a2, a3)), maximum(maximum(a4, a5), maximum(a6, a7)))
            )
        store_floats(best, p * LANES, x)


@inlined_borrowing
def sum_queries(best: FloatArray, spans: IntArray, document: int, found: bool, out: FloatArray) -> None:
    """`out[q, document]` = sum of `best` over the lanes `spans[q, 0]` to `spans[q, 1]`; -inf if nothing was `found`."""
    for q in range(len(spans)):
        total = 0.0
        for c in range(spans[q, 0], spans[q, 1]):
            total += best[c]
        out[q, document] = total if found else -np.inf


@kernel
def _score(
    rows: Bytes,
    layout: int,
    documents: IntArray,
    packed: FloatArray,
    spans: IntArray,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    """Score documents `first` to `last`; `documents` is `(n, 2)`: first row of each and the row after its last."""
    tile = np.empty((TILE, packed.shape[1]), np.float32)
    best = np.empty(len(packed) * LANES, np.float32)
    for document in range(first, last):
        begin, end = documents[document, 0], documents[document, 1]
        best[:] = -np.inf
        for start in range(begin, end, TILE):
            count = min(TILE, end - start)
            if layout == FP16:
                _read_halves(rows, start, count, tile)
            else:
                decode_tile(rows, start, start + count, layout, tile)
            full = (count + 7) // 8 * 8
            for i in range(count, full):
                for j in range(tile.shape[1]):
                    tile[i, j] = tile[count - 1, j]
            _raise_best(tile, full, packed, best)
        sum_queries(best, spans, document, begin < end, out)


def maxsim(
    queries: TokenEmbeddings,
    rows: Bytes,
    layout: int,
    offsets: IntArray,
    positions: IntArray | None = None,
) -> FloatArray:
    """`(len(queries), n or p)` float32 MaxSim of queries and documents; -inf for a document without rows.

    rows: `(T, width)` uint8 in a layout of `rows`. offsets: `(n + 1,)` int64. positions: `(p,)` int64.
    Raises `InvalidInputError` when offsets or positions point outside.
    """
    rows = frozen(rows, np.uint8, 2)
    documents = document_spans(offsets, positions, len(rows))
    out = np.empty((len(queries), len(documents)), np.float32)
    costs = token_costs(documents)
    for first, last in query_groups(queries.offsets, 4 * queries.dim):
        part = query_range(queries, first, last)
        packed = _panels(part.vectors)
        spans = frozen(np.stack([part.offsets[:-1], part.offsets[1:]], axis=1), np.int64, 2)
        in_threads(partial(_score, rows, layout, documents, packed, spans, out[first:last]), costs, packed.size)
    return out


def _panels(vectors: FloatArray) -> FloatArray:
    """`(ceil(n / 16), dim, 16)` float32 of `(n, dim)` vectors, padded with zeros."""
    count, dim = vectors.shape
    padded = np.zeros((-(-count // LANES) * LANES, dim), np.float32)
    padded[:count] = vectors
    return frozen(padded.reshape(-1, LANES, dim).transpose(0, 2, 1), np.float32, 3)


def token_costs(documents: IntArray) -> IntArray:
    """`(n + 1,)` int64: the tokens before each document, for `in_threads`."""
    costs = np.zeros(len(documents) + 1, np.int64)
    np.cumsum(documents[:, 1] - documents[:, 0], out=costs[1:])
    return costs


@kernel
def _fill_spans(offsets: IntArray, positions: IntArray, everything: bool, total: int, spans: IntArray) -> int:
    """Fill `(n or p, 2)` spans. Returns 0, or 1 at a position and 2 at an offset that points outside."""
    for i in range(len(spans)):
        position = i if everything else positions[i]
        if position < 0 or position > len(offsets) - 2:
            return 1
        begin, end = offsets[position], offsets[position + 1]
        if begin < 0 or end > total or begin > end:
            return 2
        spans[i, 0], spans[i, 1] = begin, end
    return 0


def document_spans(offsets: IntArray, positions: IntArray | None, total: int) -> IntArray:
    """`(n or p, 2)` int64: first row of each document and the row after its last.

    Raises `InvalidInputError` when offsets or positions point outside the `total` rows.
    """
    offsets = frozen(offsets, np.int64, 1)
    everything = positions is None
    chosen = offsets if positions is None else frozen(positions, np.int64, 1)
    spans = np.empty((max(0, len(offsets) - 1) if everything else len(chosen), 2), np.int64)
    fault = _fill_spans(offsets, chosen, everything, total, spans)
    if fault == 1:
        raise InvalidInputError(f"positions must lie in 0 to {len(offsets) - 2}, the documents there are")
    if fault == 2:
        raise InvalidInputError(f"document offsets must rise within the {total} token rows")
    spans.flags.writeable = False
    return spans


def query_groups(offsets: IntArray, vector_bytes: int) -> list[tuple[int, int]]:
    """Consecutive ranges of queries whose vectors take about `QUERY_BYTES`, at least one query each."""
    most = max(1, QUERY_BYTES // max(1, vector_bytes))
    groups: list[tuple[int, int]] = []
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + most, "right")) - 1
        groups.append((first, max(last, first + 1)))
        first = groups[-1][1]
    return groups


def query_range(queries: TokenEmbeddings, first: int, last: int) -> TokenEmbeddings:
    """Queries `first` to `last`, as views."""
    if (first, last) == (0, len(queries)):
        return queries
    offsets = queries.offsets[first : last + 1]
    return TokenEmbeddings(queries.vectors[offsets[0] : offsets[-1]], offsets - offsets[0])
