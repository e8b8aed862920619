"""Inner products of queries with the two levels of LVQ-4x8 rows, at chosen positions only.

With codes of 4 bits and residual codes of 8, a vector is `lower - step / 2 + step / 255 * (255 * code + residual)`, and
its product with a query takes the same form.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from .blocks import byte_products, constants, nibble_products
from .int8 import BYTES, LANES, Signed, Value, add, floats, multiply, store_floats
from .jit import frozen, in_threads, inlined, kernel
from .queries import for_bytes, for_nibbles, quantize_queries
from .rows import CONSTANT_BYTES, Bytes
from .scan import place_rows

FINE_LEVELS = 255
"""Levels of a residual code."""


@inlined
def _products(
    addresses: IntArray, beside: IntArray, coarse: Signed, fine: Signed, both: Signed, factors: FloatArray, c: int
) -> Value:
    """Products of query `c` with `255 * code + residual` of 16 rows, at `addresses`, and their residuals, `beside`."""
    width, long = coarse.shape[1], both.shape[1]
    chunks = width // (2 * BYTES)
    more = byte_products(beside, both, c * long, long // (2 * BYTES))
    levels = floats(np.float32(FINE_LEVELS))
    first = add(multiply(levels, floats(nibble_products(addresses, coarse, c * width, chunks))), floats(more[0]))
    second = add(multiply(levels, floats(nibble_products(addresses, fine, c * width, chunks))), floats(more[1]))
    return add(multiply(floats(factors[c, 0]), first), multiply(floats(factors[c, 1]), second))


@kernel
def _rescore(
    primary: Bytes,
    secondary: Bytes,
    positions: IntArray,
    coarse: Signed,
    fine: Signed,
    both: Signed,
    factors: FloatArray,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    """Scores of queries `first` to `last` with their own rows."""
    addresses, beside = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    reach, long = coarse.shape[1] // 2, both.shape[1] // 2
    spare = np.empty((LANES, reach + CONSTANT_BYTES), np.uint8)
    spare_beside = np.empty((LANES, long), np.uint8)
    some = np.empty(LANES, np.float32)
    for c in range(first, last):
        chosen = positions[c]
        for p in range(0, len(chosen), LANES):
            stop = min(p + LANES, len(chosen))
            place_rows(primary, chosen, p, stop, reach, spare, addresses)
            place_rows(secondary, chosen, p, stop, long, spare_beside, beside)
            lower, step = constants(addresses, primary.shape[1] - CONSTANT_BYTES)
            products = _products(addresses, beside, coarse, fine, both, factors, c)
            low = add(lower, multiply(step, floats(np.float32(-0.5))))
            fine_step = multiply(step, floats(np.float32(1 / FINE_LEVELS)))
            scores = add(multiply(low, floats(factors[c, 2])), multiply(fine_step, products))
            store_floats(some, 0, add(scores, floats(factors[c, 3])))
            out[c, p:stop] = some[: stop - p]


def rescore(queries: FloatArray, mean: FloatArray, primary: Bytes, secondary: Bytes, positions: IntArray) -> FloatArray:
    """`(m, p)` float32 inner products of `(m, dim)` queries with two-level rows at `(m, p)` positions.

    primary: `(n, width)` LVQ-4 rows. secondary: `(n, dim)` uint8 residual codes.
    Raises `InvalidEmbeddingsError` on queries that are not finite and `InvalidInputError` on positions outside.
    """
    primary, secondary = frozen(primary, np.uint8, 2), frozen(secondary, np.uint8, 2)
    positions = frozen(positions, np.int64, 2)
    if positions.size and not 0 <= positions.min() <= positions.max() < len(primary):
        raise InvalidInputError(f"positions must lie in 0 to {len(primary) - 1}, the rows there are")
    codes, factors = quantize_queries(queries, mean, planes=2, code_max=FINE_LEVELS)
    out = np.empty(positions.shape, np.float32)
    weights = for_nibbles(codes[0]), for_nibbles(codes[1]), for_bytes(codes)
    score = partial(_rescore, primary, secondary, positions, *weights, factors, out)
    in_threads(score, len(out), positions.shape[1] * secondary.shape[1])
    return out
