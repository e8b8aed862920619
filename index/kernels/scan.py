"""Inner products of queries with LVQ-8 rows, straight from the codes.

`<q, x> = <q, mean> + lower * sum(q) + step * <q, codes>`: a row is read once for all queries of a pass.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from .dots import dot, dots_2x4, dots_8x1
from .jit import frozen, in_threads, inlined, kernel
from .rows import Bytes, lvq8_constants

Doubles = npt.NDArray[np.float64]

QUERY_BYTES = 1 << 19
"""Queries that one pass over the rows scores: half of a common L2 cache."""
NARROW = 4096
"""Dimensions of a query that stays in a common L1 cache beside a stream of codes. Up to here one row at a time, which
memory serves fastest; beyond, eight rows share each read of the query."""


@inlined
def _affine(rows: Bytes, s: int, product: np.float32, total: float, bias: float) -> float:
    lower, step = lvq8_constants(rows, s)
    return float(bias + lower * total + step * product)


@kernel
def _scan_four(
    rows: Bytes,
    positions: IntArray,
    queries: FloatArray,
    sums: Doubles,
    biases: Doubles,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    """Score rows `positions[first:last]` with queries whose number is a multiple of four."""
    for p in range(first, last, 2):
        r = min(p + 1, last - 1)  # an odd last row is its own pair
        s, t = positions[p], positions[r]
        for c in range(0, len(queries), 4):
            x, y = dots_2x4(rows, s, t, queries, c, queries.shape[1])
            for i in range(4):
                out[c + i, p] = _affine(rows, s, x[i], sums[c + i], biases[c + i])
                out[c + i, r] = _affine(rows, t, y[i], sums[c + i], biases[c + i])


@kernel
def _scan_one(
    rows: Bytes,
    positions: IntArray,
    queries: FloatArray,
    sums: Doubles,
    biases: Doubles,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    """Score rows `positions[first:last]` with each query in turn."""
    dim = queries.shape[1]
    products = np.empty(8, np.float32)
    eight = np.empty(8, np.int64)
    for c in range(len(queries)):
        if dim <= NARROW:
            for p in range(first, last):
                s = positions[p]
                out[c, p] = _affine(rows, s, dot(rows, s, queries, c, dim), sums[c], biases[c])
            continue
        for p in range(first, last, 8):
            for i in range(8):
                eight[i] = positions[min(p + i, last - 1)]
            dots_8x1(rows, eight, queries, c, dim, products)
            for i in range(min(8, last - p)):
                out[c, p + i] = _affine(rows, eight[i], products[i], sums[c], biases[c])


def lvq8_scores(queries: FloatArray, mean: FloatArray, rows: Bytes, positions: IntArray | None = None) -> FloatArray:
    """`(m, n or p)` float32 inner products of `(m, dim)` queries with the vectors that `(n, dim + 4)` rows stand for.

    positions: `(p,)` int64 rows to score. Raises `InvalidInputError` when one lies outside.
    """
    queries = frozen(queries, np.float32, 2)
    rows = frozen(rows, np.uint8, 2)
    positions = np.arange(len(rows)) if positions is None else frozen(positions, np.int64, 1)
    if len(positions) and not 0 <= positions.min() <= positions.max() < len(rows):
        raise InvalidInputError(f"positions must lie in 0 to {len(rows) - 1}, the rows there are")
    positions = frozen(positions, np.int64, 1)
    sums, biases = queries.sum(axis=1, dtype=np.float64), queries.astype(np.float64) @ mean
    out = np.empty((len(queries), len(positions)), np.float32)
    fours = len(queries) - len(queries) % 4
    group = max(4, QUERY_BYTES // (4 * max(1, queries.shape[1])) // 4 * 4)
    passes = [(_scan_four, slice(start, min(start + group, fours))) for start in range(0, fours, group)]
    for scan, part in [*passes, (_scan_one, slice(fours, None))]:
        score = partial(scan, rows, positions, queries[part], sums[part], biases[part], out[part])
        in_threads(score, len(positions), queries[part].size)
    return out
