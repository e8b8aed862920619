"""Inner products of queries with LVQ rows, straight from the codes, and the best of them.

`<q, x> = <q, mean> + lower * sum(q) + step * <q, codes>`, with the integer product of `blocks`, 16 rows at a time and
every query of a group before the next 16. A score does not depend on the rows and queries beside it, on threads, or on
whether all are asked for or only the best.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from .blocks import address, byte_products, constants, nibble_products
from .int8 import BYTES, LANES, Signed, Value, above, add, floats, lowest, multiply, store_floats
from .jit import frozen, in_threads, inlined_borrowing, kernel
from .queries import Weights
from .rows import CONSTANT_BYTES, Bytes
from .select import MOST_POSITIONS, NO_KEY, Keys, best_first, key_of, score_of, select_largest

QUERY_BYTES = 1 << 19
"""Queries that one pass over the rows scores: half of a common L2 cache."""
KEY_BYTES = 1 << 22
"""Candidates that one pass keeps for its queries."""
MORE_KEYS = 256
"""Candidates beyond the wanted ones that are kept before the best are selected, at least."""
SPARSE = 4
"""A mask that allows less than one row in so many is scored by position; any other after scoring."""

Mask = npt.NDArray[np.bool_]
NO_POSITIONS = frozen(np.empty(0), np.int64, 1)
NO_MASK = frozen(np.empty(0), np.bool_, 1)


@inlined_borrowing
def place_rows(
    rows: Bytes, positions: IntArray, first: int, last: int, reach: int, spare: Bytes, addresses: IntArray
) -> None:
    """Addresses of rows `positions[first:last]`, at most 16, or of rows `first` to `last` if there are no positions.

    The last one is repeated to make 16. Rows of which `reach` bytes are not all within the array are copied to `spare`.
    """
    width = rows.shape[1]
    base = address(rows, 0)
    if not len(positions) and last - first == LANES and (last - 1) * width + reach <= rows.size:
        for i in range(LANES):
            addresses[i] = base + (first + i) * width
        return
    beside = address(spare, 0)
    for i in range(LANES):
        p = min(first + i, last - 1)
        row = positions[p] if len(positions) else p
        start = row * width
        addresses[i] = base + start
        if start + reach > rows.size:
            for j in range(width):
                spare[i, j] = rows[row, j]
            addresses[i] = beside + i * spare.shape[1]


@inlined_borrowing
def score_block(
    addresses: IntArray, codes: Signed, factors: FloatArray, c: int, wide: bool, lower: Value, step: Value
) -> Value:
    """Scores of the 16 rows at `addresses` with query `c`, given their lower values and steps."""
    width = codes.shape[1]
    chunks = width // (2 * BYTES)
    scale = floats(factors[c, 0])
    if wide:
        coarse, fine = byte_products(addresses, codes, c * width, chunks)
        products = add(multiply(scale, floats(coarse)), multiply(floats(factors[c, 1]), floats(fine)))
    else:
        products = multiply(scale, floats(nibble_products(addresses, codes, c * width, chunks)))
    offsets = multiply(lower, floats(factors[c, 2]))
    return add(add(offsets, multiply(step, products)), floats(factors[c, 3]))


@kernel
def _score(
    rows: Bytes,
    positions: IntArray,
    codes: Signed,
    factors: FloatArray,
    wide: bool,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    """Score rows `positions[first:last]`, or rows `first` to `last`, with each query."""
    spare = np.empty((LANES, codes.shape[1] // 2 + CONSTANT_BYTES), np.uint8)
    addresses, some = np.empty(LANES, np.int64), np.empty(LANES, np.float32)
    for p in range(first, last, LANES):
        stop = min(p + LANES, last)
        place_rows(rows, positions, p, stop, codes.shape[1] // 2, spare, addresses)
        lower, step = constants(addresses, rows.shape[1] - CONSTANT_BYTES)
        for c in range(len(codes)):
            scores = score_block(addresses, codes, factors, c, wide, lower, step)
            if stop - p == LANES:
                store_floats(out, c * out.shape[1] + p, scores)
            else:
                store_floats(some, 0, scores)
                out[c, p:stop] = some[: stop - p]


@kernel
def _best(
    rows: Bytes,
    positions: IntArray,
    allowed: Mask,
    codes: Signed,
    factors: FloatArray,
    wide: bool,
    k: int,
    keys: Keys,
    first: int,
    last: int,
) -> None:
    """Keys of the `k` best of those rows for each query, at the front of `keys[query]`; positions must ascend.

    A score must beat the `k`-th best of those before it: an equal one at a later position does not.
    """
    spare = np.empty((LANES, codes.shape[1] // 2 + CONSTANT_BYTES), np.uint8)
    addresses, some = np.empty(LANES, np.int64), np.empty(LANES, np.float32)
    counts, bounds = np.zeros(len(codes), np.int64), np.full(len(codes), -np.inf, np.float32)
    for p in range(first, last, LANES):
        stop = min(p + LANES, last)
        place_rows(rows, positions, p, stop, codes.shape[1] // 2, spare, addresses)
        lower, step = constants(addresses, rows.shape[1] - CONSTANT_BYTES)
        for c in range(len(codes)):
            scores = score_block(addresses, codes, factors, c, wide, lower, step)
            hits = np.int64(above(scores, floats(bounds[c]))) & ((1 << (stop - p)) - 1)
            if hits:
                store_floats(some, 0, scores)
            while hits:
                i = lowest(hits)
                hits &= hits - 1
                row = positions[p + i] if len(positions) else p + i
                if not some[i] > bounds[c] or (len(allowed) and not allowed[row]):
                    continue
                keys[c, counts[c]] = key_of(some[i], row)
                counts[c] += 1
                if counts[c] == keys.shape[1]:
                    select_largest(keys[c], counts[c], k)
                    counts[c] = k
                    bounds[c] = score_of(keys[c, k - 1])
    for c in range(len(codes)):
        if counts[c] > k:
            select_largest(keys[c], counts[c], k)
        keys[c, min(counts[c], k) :] = NO_KEY


def lvq_scores(weights: Weights, rows: Bytes, bits: int, positions: IntArray | None = None) -> FloatArray:
    """`(m, n or p)` float32 inner products of queries with the vectors that `(n, width)` rows stand for.

    bits: 4 or 8. positions: `(p,)` int64 rows to score. Raises `InvalidInputError` when one lies outside.
    """
    rows = frozen(rows, np.uint8, 2)
    chosen = _chosen(positions, len(rows))
    count = len(rows) if positions is None else len(chosen)
    out = np.empty((len(weights.codes), count), np.float32)
    if not count:
        return out
    for first, group in weights.groups(QUERY_BYTES // weights.codes.shape[1]):
        part = out[first : first + len(group.codes)]
        in_threads(partial(_score, rows, chosen, *group, bits == 8, part), count, group.codes.size // 2)
    return out


def lvq_top(
    weights: Weights, rows: Bytes, bits: int, k: int, positions: IntArray | None = None, allowed: Mask | None = None
) -> tuple[IntArray, FloatArray]:
    """`(m, k)` int64 positions and float32 scores of the best rows, best first, equal scores in order of position.

    The same as the best of `lvq_scores`, without them: memory grows with `k`, not with the rows. positions: `(p,)`
    int64 rows to score, in any order. allowed: `(n,)` bool. Fewer than `k` rows leave -1 and -inf.
    Raises `InvalidInputError` on positions outside and a mask of another length.
    """
    rows = frozen(rows, np.uint8, 2)
    if len(rows) > MOST_POSITIONS:
        raise InvalidInputError(f"got {len(rows)} rows; the best are found among at most {MOST_POSITIONS}")
    chosen, count, mask = _candidates(positions, allowed, len(rows))
    wanted = min(k, count)
    if not wanted:
        return best_first(np.empty((len(weights.codes), 0), np.uint64), k)
    capacity = wanted + max(wanted, MORE_KEYS)
    best = np.empty((len(weights.codes), wanted), np.uint64)
    size = min(QUERY_BYTES // weights.codes.shape[1], KEY_BYTES // (8 * capacity))
    for first, group in weights.groups(size):
        scan = partial(_best, rows, chosen, mask, *group, bits == 8, wanted)
        best[first : first + len(group.codes)] = _merged(scan, count, group, wanted, capacity)
    return best_first(best, k)


def _merged(scan: Callable[..., None], count: int, group: Weights, wanted: int, capacity: int) -> Keys:
    """`(len(group), wanted)` best keys of all threads' shares of `count` rows."""
    shares: list[Keys] = []

    def collect(start: int, stop: int) -> None:
        keys = np.empty((len(group.codes), capacity), np.uint64)
        scan(keys, start, stop)
        shares.append(keys[:, :wanted])

    in_threads(collect, count, group.codes.size // 2)
    if len(shares) == 1:
        return shares[0]
    return np.sort(np.concatenate(shares, axis=1), axis=1)[:, -wanted:]


def _chosen(positions: IntArray | None, count: int) -> IntArray:
    """Checked positions, none for all rows."""
    if positions is None:
        return NO_POSITIONS
    chosen = frozen(positions, np.int64, 1)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < count:
        raise InvalidInputError(f"positions must lie in 0 to {count - 1}, the rows there are")
    return chosen


def _candidates(positions: IntArray | None, allowed: Mask | None, count: int) -> tuple[IntArray, int, Mask]:
    """Ascending positions (none for all rows), how many rows there are to score, and a mask still to apply."""
    chosen = _chosen(positions, count)
    if positions is not None and not (chosen[1:] > chosen[:-1]).all():
        chosen = frozen(np.unique(chosen), np.int64, 1)
    if allowed is None:
        return chosen, count if positions is None else len(chosen), NO_MASK
    mask = frozen(allowed, np.bool_, 1)
    if len(mask) != count:
        raise InvalidInputError(f"the mask is for {len(mask)} rows; there are {count}")
    if positions is not None:
        chosen = frozen(chosen[mask[chosen]], np.int64, 1)
        return chosen, len(chosen), NO_MASK
    passing = int(np.count_nonzero(mask))
    if passing * SPARSE < count:
        chosen = frozen(np.flatnonzero(mask), np.int64, 1)
        return chosen, passing, NO_MASK
    return chosen, count, NO_MASK if passing == count else mask
