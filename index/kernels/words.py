"""MaxSim over rows of centroid and codes, in integers: a code is looked up as words, and nothing is decoded.

A row is `[centroid id][codes][constant, half]`, little-endian. The id takes 0 to 3 bytes, as many as the number of
centroids needs. Each code is a byte that stands for one or more words, each four signed bytes of a small codebook, kept
unsigned by adding 128: a word is what one instruction multiplies with a panel of sixteen query vectors. So

    score = constant * (centroid score + scale * sum of the products of words)

with one byte, one word and one product for a code (see `WHOLE` and `RESIDUAL` for what the constant multiplies).
Centroids are signed bytes too; a centroid's scores are found when the first token has it. Product quantization has one
codebook for each code and residuals of 1, 2 or 4 bits one for all; coordinates that fill no word are padded by zeros in
codebook and query. A constant below zero has that magnitude and marks a vector longer than most (`Words.longest`).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from .half import half_to_float
from .int8 import (
    BYTES,
    LANES,
    Signed,
    add,
    byte,
    dot,
    floats,
    load,
    load_floats,
    maximum,
    multiply,
    multiply_add,
    spread,
    store_floats,
    zeros,
)
from .jit import frozen, in_threads, inlined_borrowing, kernel
from .lanes import PLANES, UNIT, UP, Lanes, lanes
from .maxsim import document_spans, query_groups, query_range, sum_queries, token_costs
from .nearest import OFFSET, WHOLE
from .rows import Bytes

TILE = 32
"""Tokens whose constants and centroids are looked up at a time: a multiple of 8."""
INT8_SPEED = 8
"""Products of bytes in the time of one of floats, which is what `in_threads` counts in."""
TABLE_SHARE = 16
"""Centroid tables take at most so many times the bytes that a pass allows for queries."""


class Words(NamedTuple):
    """Codebooks for scoring.

    centroids: `(K, 4 * ceil(dim / 4))` uint8. words: uint8, `[M or 1][256][width]`. step: bytes from one code's book to
    the next, 0 if all share one. codes, id_bytes: bytes of a row. scaling: `WHOLE` or `RESIDUAL`. unit, scale:
    of centroids and words. longest: no decoded vector without a mark is longer. reach: `(2,)` float32, no centroid and
    no sum of words is longer.
    """

    centroids: Bytes
    words: Bytes
    width: int
    step: int
    codes: int
    id_bytes: int
    scaling: int
    unit: np.float32
    scale: np.float32
    longest: np.float32
    reach: FloatArray


class Asked(NamedTuple):
    """Queries for codes and for centroids: `packed` of `Lanes` each, scales and -128 times the sums of its lanes."""

    codes: Signed
    centroids: Signed
    scales: FloatArray
    offsets: FloatArray
    spans: IntArray


@inlined_borrowing
def _product(asked: Asked, total: Any, plane: int, lane: int) -> Any:
    """What unsigned products with a plane stand for, without the unit of the codebook."""
    centred = add(total, load_floats(asked.offsets, lane + plane * asked.offsets.shape[1]))
    return multiply(centred, load_floats(asked.scales, lane + plane * asked.scales.shape[1]))


@inlined_borrowing
def _score_centroid(book: Words, asked: Asked, planes: int, centroid: int, table: FloatArray) -> None:
    """Fill a row of the table: products of a centroid with all lanes."""
    panels, groups = asked.centroids.shape[1], asked.centroids.shape[2]
    unit, source = floats(book.unit), centroid * book.centroids.shape[1]
    for p in range(panels):
        value = floats(np.float32(0))
        for plane in range(planes - 1, -1, -1):
            x = (plane * panels + p) * groups * BYTES
            a, b = zeros(), zeros()
            for g in range(0, groups - 1, 2):
                a = dot(a, spread(book.centroids, source + 4 * g), load(asked.centroids, x + g * BYTES))
                b = dot(b, spread(book.centroids, source + 4 * g + 4), load(asked.centroids, x + (g + 1) * BYTES))
            if groups % 2:
                g = groups - 1
                a = dot(a, spread(book.centroids, source + 4 * g), load(asked.centroids, x + g * BYTES))
            value = add(value, _product(asked, add(floats(a), floats(b)), plane, p * LANES))
        store_floats(table, centroid * table.shape[1] + p * LANES, multiply(value, unit))


@inlined_borrowing
def _fill(
    rows: Bytes, start: int, count: int, book: Words, ids: IntArray, factors: FloatArray
) -> tuple[np.float32, np.float32]:
    """Centroids and factors of rows, the last repeated to a multiple of 8; largest and smallest constant."""
    low, high, end = np.float32(np.inf), np.float32(0), rows.shape[1]
    for i in range((count + 7) // 8 * 8):
        t = start + min(i, count - 1)
        centroid = 0
        for b in range(book.id_bytes):
            centroid |= int(rows[t, b]) << (8 * b)
        ids[i] = min(centroid, len(book.centroids) - 1)
        constant = half_to_float(rows[t, end - 2], rows[t, end - 1])
        low, high = min(low, constant), max(high, abs(constant))
        factors[0, i] = abs(constant) if book.scaling == WHOLE else np.float32(1)
        factors[1, i] = abs(constant) * book.scale
    return low, high


@inlined_borrowing
def _raised(best: Any, value: Any, factors: FloatArray, i: int, table: FloatArray, at: int) -> Any:
    """The larger of `best` and the score of token `i` of the tile."""
    part = multiply(floats(factors[0, i]), load_floats(table, at))
    return maximum(best, multiply_add(part, floats(factors[1, i]), value))


@inlined_borrowing
def _dots_8x1(rows: Bytes, t: int, last: int, book: Words, packed: Signed, x: int) -> Any:
    """Integer products of eight rows from `t`, none beyond `last`, with the panel at `x`."""
    width, step, stride = np.int64(book.width), np.int64(book.step), rows.shape[1]
    r0, r1, r2, r3 = t * stride, min(t + 1, last) * stride, min(t + 2, last) * stride, min(t + 3, last) * stride
    r4, r5, r6, r7 = (
        min(t + 4, last) * stride,
        min(t + 5, last) * stride,
        min(t + 6, last) * stride,
        min(t + 7, last) * stride,
    )
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = zeros()
    for m in range(book.codes):
        base, column = m * step, book.id_bytes + m
        c0, c1 = base + byte(rows, r0 + column) * width, base + byte(rows, r1 + column) * width
        c2, c3 = base + byte(rows, r2 + column) * width, base + byte(rows, r3 + column) * width
        c4, c5 = base + byte(rows, r4 + column) * width, base + byte(rows, r5 + column) * width
        c6, c7 = base + byte(rows, r6 + column) * width, base + byte(rows, r7 + column) * width
        w, g = 0, m * width * LANES
        while w < width:
            v = load(packed, x + g)
            a0, a1 = dot(a0, spread(book.words, c0 + w), v), dot(a1, spread(book.words, c1 + w), v)
            a2, a3 = dot(a2, spread(book.words, c2 + w), v), dot(a3, spread(book.words, c3 + w), v)
            a4, a5 = dot(a4, spread(book.words, c4 + w), v), dot(a5, spread(book.words, c5 + w), v)
            a6, a7 = dot(a6, spread(book.words, c6 + w), v), dot(a7, spread(book.words, c7 + w), v)
            w, g = w + 4, g + BYTES
    return a0, a1, a2, a3, a4, a5, a6, a7


@inlined_borrowing
def _dots_4x2(rows: Bytes, t: int, last: int, book: Words, packed: Signed, x: int, y: int) -> Any:
    """Integer products of four rows from `t`, none beyond `last`, with the panels at `x` and `y`."""
    width, step, stride = np.int64(book.width), np.int64(book.step), rows.shape[1]
    r0, r1, r2, r3 = t * stride, min(t + 1, last) * stride, min(t + 2, last) * stride, min(t + 3, last) * stride
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zeros()
    for m in range(book.codes):
        base, column = m * step, book.id_bytes + m
        c0, c1 = base + byte(rows, r0 + column) * width, base + byte(rows, r1 + column) * width
        c2, c3 = base + byte(rows, r2 + column) * width, base + byte(rows, r3 + column) * width
        w, g = 0, m * width * LANES
        while w < width:
            v, u = load(packed, x + g), load(packed, y + g)
            s = spread(book.words, c0 + w)
            a0, b0 = dot(a0, s, v), dot(b0, s, u)
            s = spread(book.words, c1 + w)
            a1, b1 = dot(a1, s, v), dot(b1, s, u)
            s = spread(book.words, c2 + w)
            a2, b2 = dot(a2, s, v), dot(b2, s, u)
            s = spread(book.words, c3 + w)
            a3, b3 = dot(a3, s, v), dot(b3, s, u)
            w, g = w + 4, g + BYTES
    return a0, a1, a2, a3, b0, b1, b2, b3


@inlined_borrowing
def _estimate_tile(
    rows: Bytes,
    start: int,
    count: int,
    book: Words,
    asked: Asked,
    table: FloatArray,
    ids: IntArray,
    factors: FloatArray,
    best: FloatArray,
) -> None:
    """Raise `best` by `count` rows from `start`, with the first plane."""
    panels, size, last, lanes_ = asked.codes.shape[1], asked.codes.shape[2] * BYTES, start + count - 1, table.shape[1]
    for p in range(0, panels - 1, 2):
        j, k = p * LANES, (p + 1) * LANES
        x, y = load_floats(best, j), load_floats(best, k)
        for i in range(0, count, 4):
            a0, a1, a2, a3, b0, b1, b2, b3 = _dots_4x2(
                rows, start + i, last, book, asked.codes, p * size, (p + 1) * size
            )
            c0, c1, c2, c3 = ids[i] * lanes_, ids[i + 1] * lanes_, ids[i + 2] * lanes_, ids[i + 3] * lanes_
            x = _raised(x, _product(asked, floats(a0), 0, j), factors, i, table, c0 + j)
            x = _raised(x, _product(asked, floats(a1), 0, j), factors, i + 1, table, c1 + j)
            x = _raised(x, _product(asked, floats(a2), 0, j), factors, i + 2, table, c2 + j)
            x = _raised(x, _product(asked, floats(a3), 0, j), factors, i + 3, table, c3 + j)
            y = _raised(y, _product(asked, floats(b0), 0, k), factors, i, table, c0 + k)
            y = _raised(y, _product(asked, floats(b1), 0, k), factors, i + 1, table, c1 + k)
            y = _raised(y, _product(asked, floats(b2), 0, k), factors, i + 2, table, c2 + k)
            y = _raised(y, _product(asked, floats(b3), 0, k), factors, i + 3, table, c3 + k)
        store_floats(best, j, x)
        store_floats(best, k, y)
    if panels % 2:
        j = (panels - 1) * LANES
        x = load_floats(best, j)
        for i in range(0, count, 8):
            a0, a1, a2, a3, a4, a5, a6, a7 = _dots_8x1(rows, start + i, last, book, asked.codes, (panels - 1) * size)
            x = _raised(x, _product(asked, floats(a0), 0, j), factors, i, table, ids[i] * lanes_ + j)
            x = _raised(x, _product(asked, floats(a1), 0, j), factors, i + 1, table, ids[i + 1] * lanes_ + j)
            x = _raised(x, _product(asked, floats(a2), 0, j), factors, i + 2, table, ids[i + 2] * lanes_ + j)
            x = _raised(x, _product(asked, floats(a3), 0, j), factors, i + 3, table, ids[i + 3] * lanes_ + j)
            x = _raised(x, _product(asked, floats(a4), 0, j), factors, i + 4, table, ids[i + 4] * lanes_ + j)
            x = _raised(x, _product(asked, floats(a5), 0, j), factors, i + 5, table, ids[i + 5] * lanes_ + j)
            x = _raised(x, _product(asked, floats(a6), 0, j), factors, i + 6, table, ids[i + 6] * lanes_ + j)
            x = _raised(x, _product(asked, floats(a7), 0, j), factors, i + 7, table, ids[i + 7] * lanes_ + j)
        store_floats(best, j, x)


@inlined_borrowing
def _both(asked: Asked, hi: Any, lo: Any, lane: int) -> Any:
    """What products with both planes stand for."""
    return add(_product(asked, floats(lo), 1, lane), _product(asked, floats(hi), 0, lane))


@inlined_borrowing
def _score_tile(
    rows: Bytes,
    start: int,
    count: int,
    book: Words,
    asked: Asked,
    table: FloatArray,
    ids: IntArray,
    factors: FloatArray,
    best: FloatArray,
) -> None:
    """Raise `best` by `count` rows from `start`, with both planes."""
    panels, size, last, lanes_ = asked.codes.shape[1], asked.codes.shape[2] * BYTES, start + count - 1, table.shape[1]
    for p in range(panels):
        j = p * LANES
        x = load_floats(best, j)
        for i in range(0, count, 4):
            a0, a1, a2, a3, b0, b1, b2, b3 = _dots_4x2(
                rows, start + i, last, book, asked.codes, p * size, (panels + p) * size
            )
            x = _raised(x, _both(asked, a0, b0, j), factors, i, table, ids[i] * lanes_ + j)
            x = _raised(x, _both(asked, a1, b1, j), factors, i + 1, table, ids[i + 1] * lanes_ + j)
            x = _raised(x, _both(asked, a2, b2, j), factors, i + 2, table, ids[i + 2] * lanes_ + j)
            x = _raised(x, _both(asked, a3, b3, j), factors, i + 3, table, ids[i + 3] * lanes_ + j)
        store_floats(best, j, x)


@kernel
def _score(
    rows: Bytes,
    documents: IntArray,
    book: Words,
    asked: Asked,
    planes: int,
    out: FloatArray,
    longest: FloatArray,
    first: int,
    last: int,
) -> None:
    """Scores of documents `first` to `last` by one plane or both, and bounds on the length of their vectors."""
    known = np.zeros(len(book.centroids), np.bool_)
    table = np.empty((len(book.centroids), asked.codes.shape[1] * LANES), np.float32)
    ids, factors = np.empty(TILE, np.int64), np.empty((2, TILE), np.float32)
    best = np.empty(table.shape[1], np.float32)
    for document in range(first, last):
        begin, end = documents[document, 0], documents[document, 1]
        best[:] = -np.inf
        low, high = np.float32(np.inf), np.float32(0)
        for start in range(begin, end, TILE):
            count = min(TILE, end - start)
            lowest, highest = _fill(rows, start, count, book, ids, factors)
            low, high = min(low, lowest), max(high, highest)
            for i in range(count):
                if not known[ids[i]]:
                    known[ids[i]] = True
                    _score_centroid(book, asked, planes, ids[i], table)
            if planes == 1:
                _estimate_tile(rows, start, count, book, asked, table, ids, factors, best)
            else:
                _score_tile(rows, start, count, book, asked, table, ids, factors, best)
        sum_queries(best, asked.spans, document, begin < end, out)
        longest[document] = _length(book, low, high) if begin < end else 0


@inlined_borrowing
def _length(book: Words, low: np.float32, high: np.float32) -> np.float32:
    """Bound on the length of decoded vectors with constants from `low`, negative if marked, to `high` in magnitude."""
    centroid, words = book.reach[0], np.float32(book.reach[1] * high)
    if book.scaling == WHOLE:
        centroid = np.float32(centroid * high)
    return np.float32(min(book.longest, centroid + words) if low >= 0 else centroid + words)


class Mapped(NamedTuple):
    """Query vectors in the coordinates of the centroids, and as the words of codes want them: permuted and padded."""

    centroids: TokenEmbeddings
    codes: TokenEmbeddings


def _asked(queries: Mapped, first: int, last: int, planes: int) -> tuple[Asked, Lanes]:
    """Queries `first` to `last` as the kernel takes them."""
    plain = lanes(query_range(queries.centroids, first, last))
    padded = lanes(query_range(queries.codes, first, last))
    offsets = frozen(plain.sums * np.float32(-OFFSET), np.float32, 2)
    packed = frozen(padded.packed[:planes], np.int8, 4), frozen(plain.packed[:planes], np.int8, 4)
    return Asked(*packed, plain.scales, offsets, plain.spans), plain


def _groups(queries: Mapped, book: Words) -> list[tuple[int, int]]:
    """Ranges of queries of which vectors and centroid tables are of bounded size."""
    wanted = max(PLANES * queries.codes.dim, len(book.centroids) * 4 // TABLE_SHARE)
    return query_groups(queries.codes.offsets, wanted)


def score(
    queries: Mapped,
    rows: Bytes,
    book: Words,
    offsets: IntArray,
    positions: IntArray | None = None,
    planes: int = PLANES,
) -> tuple[FloatArray, FloatArray]:
    """`(len(queries), n or p)` float32 MaxSim, -inf for a document without rows, and bounds on what is left out.

    rows: `(T, id_bytes + codes + 2)` uint8. offsets: `(n + 1,)` int64.
    positions: `(p,)` int64. planes: 2, or 1 for an estimate that is cheaper and off by at most the bound. Ids beyond
    the last centroid are taken for it. Raises `InvalidInputError` when offsets or positions point outside.
    """
    rows = frozen(rows, np.uint8, 2)
    documents = document_spans(offsets, positions, len(rows))
    out, errors = np.empty((2, len(queries.codes), len(documents)), np.float32)
    longest = np.empty(len(documents), np.float32)
    costs = token_costs(documents)
    for first, last in _groups(queries, book):
        asked, plain = _asked(queries, first, last, planes)
        unit = max(1, planes * len(plain.norms) * (book.codes * book.width + 64) // INT8_SPEED)
        in_threads(partial(_score, rows, documents, book, asked, planes, out[first:last], longest), costs, unit)
        errors[first:last] = _left_out(plain)[:, None] * longest
    return out, errors


def _left_out(queries: Lanes) -> FloatArray:
    """`(len(queries),)` float32: how much one plane and both may differ over tokens of length 1.

    What the second plane adds in each lane, and the rounding of two sums to float32.
    """
    sums = np.zeros((2, len(queries.norms) + 1))
    np.cumsum([queries.rest, queries.norms], axis=1, out=sums[:, 1:])
    rest, norms = sums[:, queries.spans[:, 1]] - sums[:, queries.spans[:, 0]]
    left: FloatArray = ((rest + 4 * UNIT * norms) * UP).astype(np.float32)
    return left
