"""MaxSim over rows of byte and nibble codes, in integers: nothing is decoded.

A row stands for `offset + factor * code` in every dimension, so that its product with a signed query is
`offset * sum(query) + factor * <query, code>`. Bytes are read where they lie; nibbles of some rows at a time become a
tile of bytes. Maxima stay in registers, and a lane's result does not depend on what is beside it. Rows left over at the
end of a tile are taken together with some before them, which changes no maximum. The next document is prefetched.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from .byte_rows import TILE, Tile, eight, fetch, four, one, pairs, products, read_constants
from .int8 import (
    BYTES,
    LANES,
    Signed,
    floats,
    largest,
    load_floats,
    maximum,
    multiply,
    multiply_add,
    store_floats,
)
from .jit import frozen, in_threads, inlined_borrowing, kernel
from .lanes import PLANES, UNIT, UP, Lanes, lanes
from .maxsim import document_spans, query_groups, query_range, sum_queries, token_costs
from .rows import CONSTANT_BYTES, LVQ4, LVQ8, Bytes
from .tiles import fill, tile_width

INT8_SPEED = 4
"""Products of bytes in the time of one of floats, which is what `in_threads` counts in."""
FINEST = 2.0**-30
"""Smallest scale of the second plane, of that of the first: below it nothing is left that a float32 would show."""


@inlined_borrowing
def _raised(best: Any, product: Any, factors: FloatArray, i: int, sums: Any) -> Any:
    """The larger of `best` and `offset * sums + factor * product` of row `i`."""
    part = multiply(floats(factors[0, i]), sums)
    return maximum(best, multiply_add(part, floats(factors[1, i]), floats(product)))


@inlined_borrowing
def _raised_4(best: Any, totals: Any, factors: FloatArray, i: int, sums: Any) -> Any:
    """`_raised` by rows `i` to `i + 3`."""
    a, b, c, d = totals
    best = _raised(_raised(best, a, factors, i, sums), b, factors, i + 1, sums)
    return _raised(_raised(best, c, factors, i + 2, sums), d, factors, i + 3, sums)


@inlined_borrowing
def _estimate_two(tile: Tile, packed: Signed, sums: FloatArray, p: int, narrow: bool, best: FloatArray) -> None:
    """Raise the lanes of panels `p` and `p + 1` in `best` by the rows of the tile."""
    v, w = p * packed.shape[2] * BYTES, (p + 1) * packed.shape[2] * BYTES
    sum_x, sum_y = load_floats(sums, p * LANES), load_floats(sums, (p + 1) * LANES)
    x, y = load_floats(best, p * LANES), load_floats(best, (p + 1) * LANES)
    i = 0
    while i < tile.size:
        if tile.size >= 4:
            j = min(i, tile.size - 4)
            if p == 0:
                fetch(tile, j, 4)
            a, b = pairs(four(), tile, j, packed, v, w, narrow)
            x, y = _raised_4(x, a, tile.factors, j, sum_x), _raised_4(y, b, tile.factors, j, sum_y)
            i += 4
        else:
            (c,), (d,) = pairs(one(), tile, i, packed, v, w, narrow)
            x, y = _raised(x, c, tile.factors, i, sum_x), _raised(y, d, tile.factors, i, sum_y)
            i += 1
    store_floats(best, p * LANES, x)
    store_floats(best, (p + 1) * LANES, y)


@inlined_borrowing
def _estimate_last(tile: Tile, packed: Signed, sums: FloatArray, narrow: bool, best: FloatArray) -> None:
    """Raise the lanes of the last panel in `best` by the rows of the tile."""
    p = packed.shape[1] - 1
    v = p * packed.shape[2] * BYTES
    sum_x, x = load_floats(sums, p * LANES), load_floats(best, p * LANES)
    i = 0
    while i < tile.size:
        if tile.size >= 8 and i + 4 < tile.size:
            j = min(i, tile.size - 8)
            if p == 0:
                fetch(tile, j, 8)
            a, b, c, d, e, f, g, h = products(eight(), tile, j, packed, v, narrow)
            x = _raised_4(x, (a, b, c, d), tile.factors, j, sum_x)
            x = _raised_4(x, (e, f, g, h), tile.factors, j + 4, sum_x)
            i += 8
        elif tile.size >= 4:
            j = min(i, tile.size - 4)
            x = _raised_4(x, products(four(), tile, j, packed, v, narrow), tile.factors, j, sum_x)
            i += 4
        else:
            (single,) = products(one(), tile, i, packed, v, narrow)
            x = _raised(x, single, tile.factors, i, sum_x)
            i += 1
    store_floats(best, p * LANES, x)


@inlined_borrowing
def _estimate_tile(tile: Tile, packed: Signed, sums: FloatArray, narrow: bool, best: FloatArray) -> None:
    """Raise `best` by the rows of the tile with the first plane, before scaling."""
    for p in range(0, packed.shape[1] - 1, 2):
        _estimate_two(tile, packed, sums, p, narrow, best)
    if packed.shape[1] % 2:
        _estimate_last(tile, packed, sums, narrow, best)


@inlined_borrowing
def _raised_by_both(best: Any, hi: Any, lo: Any, factors: FloatArray, i: int, sums: Any, ratio: Any) -> Any:
    """`_raised` with `ratio * hi + lo` for the product."""
    product = multiply_add(floats(lo), ratio, floats(hi))
    part = multiply(floats(factors[0, i]), sums)
    return maximum(best, multiply_add(part, floats(factors[1, i]), product))


@inlined_borrowing
def _score_tile(tile: Tile, packed: Signed, weights: FloatArray, narrow: bool, best: FloatArray) -> None:
    """Raise `best` by the rows of the tile with both planes, before scaling. weights: see `Asked.both`."""
    panels, size = packed.shape[1], packed.shape[2] * BYTES
    for p in range(panels):
        v, w = p * size, (panels + p) * size
        sums, ratio = load_floats(weights, p * LANES), load_floats(weights, (panels + p) * LANES)
        x = load_floats(best, p * LANES)
        i = 0
        while i < tile.size:
            if tile.size >= 4:
                j = min(i, tile.size - 4)
                if p == 0:
                    fetch(tile, j, 4)
                (a, b, c, d), (e, f, g, h) = pairs(four(), tile, j, packed, v, w, narrow)
                x = _raised_by_both(x, a, e, tile.factors, j, sums, ratio)
                x = _raised_by_both(x, b, f, tile.factors, j + 1, sums, ratio)
                x = _raised_by_both(x, c, g, tile.factors, j + 2, sums, ratio)
                x = _raised_by_both(x, d, h, tile.factors, j + 3, sums, ratio)
                i += 4
            else:
                (hi,), (lo,) = pairs(one(), tile, i, packed, v, w, narrow)
                x = _raised_by_both(x, hi, lo, tile.factors, i, sums, ratio)
                i += 1
        store_floats(best, p * LANES, x)


@inlined_borrowing
def _finish(
    best: FloatArray, weights: FloatArray, scales: int, spans: IntArray, document: int, found: bool, out: FloatArray
) -> None:
    """Scale the maxima of a document by the numbers at `scales` in `weights`, and sum them by query."""
    if found:
        for i in range(0, len(best), LANES):
            store_floats(best, i, multiply(load_floats(best, i), load_floats(weights, scales + i)))
    sum_queries(best, spans, document, found, out)


class Given(NamedTuple):
    """What the kernels read.

    rows: `(T, width)` uint8 of that `layout` and `dim`. documents: `(n, 2)` int64, the first row of each and the one
    after its last. packed, weights, spans: of `Asked`, weights `first` or `both`.
    """

    rows: Bytes
    layout: int
    dim: int
    documents: IntArray
    packed: Signed
    weights: FloatArray
    spans: IntArray


@kernel
def _score_bytes(given: Given, planes: int, out: FloatArray, longest: FloatArray, first: int, last: int) -> None:
    """Scores of documents `first` to `last` by one plane or both, and a bound on their coordinates."""
    rows, documents, packed, weights = given.rows, given.documents, given.packed, given.weights
    width = rows.shape[1]
    factors, best = np.empty((2, TILE), np.float32), np.empty(packed.shape[1] * LANES, np.float32)
    for document in range(first, last):
        begin, end = documents[document, 0], documents[document, 1]
        ahead = documents[min(document + 1, last - 1), 0] - begin
        best[:] = -np.inf
        size = floats(np.float32(0))
        for start in range(begin, end, TILE):
            count = min(TILE, end - start)
            size = read_constants(rows, start, count, LVQ8, width - CONSTANT_BYTES, factors, size)
            tile = Tile(rows, start * width, width, count, factors, rows, ahead + start)
            if planes == 1:
                _estimate_tile(tile, packed, weights, False, best)
            else:
                _score_tile(tile, packed, weights, False, best)
        longest[document] = largest(size)
        _finish(best, weights, planes * len(best), given.spans, document, begin < end, out)


@kernel
def _score_nibbles(given: Given, planes: int, out: FloatArray, longest: FloatArray, first: int, last: int) -> None:
    """`_score_bytes` for the codes of `LVQ4`, or both levels of `LVQ4X4`, made a tile of bytes."""
    rows, documents, packed, weights = given.rows, given.documents, given.packed, given.weights
    layout, dim = given.layout, given.dim
    codes = np.zeros((TILE, tile_width(dim)), np.uint8)
    factors, best = np.empty((2, TILE), np.float32), np.empty(packed.shape[1] * LANES, np.float32)
    for document in range(first, last):
        begin, end = documents[document, 0], documents[document, 1]
        ahead = documents[min(document + 1, last - 1), 0] - begin
        best[:] = -np.inf
        size = floats(np.float32(0))
        for start in range(begin, end, TILE):
            count = min(TILE, end - start)
            fill(rows, start, count, layout, dim, codes)
            size = read_constants(rows, start, count, layout, (dim + 1) // 2, factors, size)
            tile = Tile(codes, 0, codes.shape[1], count, factors, rows, ahead + start)
            if planes == 1:
                _estimate_tile(tile, packed, weights, layout == LVQ4, best)
            else:
                _score_tile(tile, packed, weights, layout == LVQ4, best)
        longest[document] = largest(size)
        _finish(best, weights, planes * len(best), given.spans, document, begin < end, out)


class Asked(NamedTuple):
    """Consecutive queries of a batch, prepared for `estimate` and `score`.

    queries: which they are. dim: of their vectors. packed: of `Lanes`, and spans. first: `(2, lanes)` float32, sums and
    scales of the first plane. both: `(3, lanes)` float32: the sums of both planes together, in units of the scale of
    the second; the scale of the first in these units; the unit. left_out: `(queries,)` float32, see `_left_out`.
    """

    queries: slice
    dim: int
    packed: Signed
    spans: IntArray
    first: FloatArray
    both: FloatArray
    left_out: FloatArray

    def work(self, planes: int) -> int:
        """Multiply-adds of a token, as `in_threads` counts them."""
        return max(1, planes * int(self.first.shape[1]) * self.dim // INT8_SPEED)


def prepare(queries: TokenEmbeddings) -> tuple[Asked, ...]:
    """All queries, in groups whose vectors stay in cache. Raises what `lanes` does."""
    groups = query_groups(queries.offsets, PLANES * queries.dim)
    return tuple(_asked(lanes(query_range(queries, *group)), queries.dim, slice(*group)) for group in groups)


def _asked(made: Lanes, dim: int, queries: slice) -> Asked:
    coarse, fine = made.scales.astype(np.float64)
    fine = np.maximum(fine, coarse * FINEST).astype(np.float32)
    fine[fine == 0] = made.scales[0, fine == 0]
    ratio = np.divide(coarse, fine, out=np.ones_like(coarse), where=fine > 0)
    both = np.array([ratio * made.sums[0] + made.sums[1], ratio, fine], np.float32)
    first = np.array([made.sums[0], made.scales[0]], np.float32)
    frozen_weights = frozen(first, np.float32, 2), frozen(both, np.float32, 2)
    return Asked(queries, dim, made.packed, made.spans, *frozen_weights, _left_out(made))


def _left_out(queries: Lanes) -> FloatArray:
    """`(len(queries),)` float32: how much `estimate` and `score` may differ over tokens of length 1.

    What the second plane adds in each lane, and the rounding of two sums to float32.
    """
    sums = np.zeros((2, len(queries.norms) + 1))
    np.cumsum([queries.rest, queries.norms], axis=1, out=sums[:, 1:])
    rest, norms = sums[:, queries.spans[:, 1]] - sums[:, queries.spans[:, 0]]
    bounds: FloatArray = ((rest + 4 * UNIT * norms) * UP).astype(np.float32)
    return bounds


def estimate(
    asked: tuple[Asked, ...], rows: Bytes, layout: int, offsets: IntArray, positions: IntArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """`(queries, n or p)` float32 estimates of `score`, and bounds on how far it may be from each.

    The first plane of the queries meets the codes. What it leaves of a query vector changes a product by at most its
    length times that of the token, which is at most `sqrt(dim)` times the largest coordinate there could be. (Exact
    lengths would take a third more time, which is more than the scores that they would spare.) Documents without
    rows: -inf and 0. Raises what `score` does.
    """
    out, longest = _run(asked, rows, layout, offsets, positions, planes=1)
    errors = np.empty_like(out)
    for group in asked:
        np.multiply(group.left_out[:, None], longest * np.float32(np.sqrt(group.dim) * UP), out=errors[group.queries])
    return out, errors


def score(
    asked: tuple[Asked, ...], rows: Bytes, layout: int, offsets: IntArray, positions: IntArray | None = None
) -> FloatArray:
    """`(queries, n or p)` float32 MaxSim of queries and documents; -inf for a document without rows.

    rows: `(T, width)` uint8 in the layout `LVQ8`, `LVQ4` or `LVQ4X4`. offsets: `(n + 1,)` int64. positions: `(p,)`
    int64. A coordinate of a query is rounded to 1/64,000 of the largest of its vector.
    Raises `InvalidInputError` when offsets or positions point outside.
    """
    return _run(asked, rows, layout, offsets, positions, PLANES)[0]


def _run(
    asked: tuple[Asked, ...], rows: Bytes, layout: int, offsets: IntArray, positions: IntArray | None, planes: int
) -> tuple[FloatArray, FloatArray]:
    """Scores by one plane or both, and `(n or p,)` float32 largest magnitudes that a coordinate may have."""
    rows = frozen(rows, np.uint8, 2)
    documents = document_spans(offsets, positions, len(rows))
    out = np.empty((asked[-1].queries.stop if asked else 0, len(documents)), np.float32)
    longest = np.empty(len(documents), np.float32)
    costs, run = token_costs(documents), _score_bytes if layout == LVQ8 else _score_nibbles
    for group in asked:
        weights = group.first if planes == 1 else group.both
        given = Given(rows, layout, group.dim, documents, group.packed, weights, group.spans)
        in_threads(partial(run, given, planes, out[group.queries], longest), costs, group.work(planes))
    return out, longest
