"""Rows of bytes against query vectors: products of codes, and the largest of what they stand for.

A row stands for `offset + factor * code` in every dimension, so that its product with a signed query vector is
`offset * sum(query) + factor * <query, code>`. Some rows at a time meet one panel of sixteen query vectors or two:
their codes are read where they lie, a word of four dimensions for all lanes at once. Products are integers, and none
depends on what is beside it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...encoders.embeddings import FloatArray
from .blocks import floats_of_halves
from .int8 import (
    BYTES,
    I8,
    I32,
    LANES,
    Builder,
    Codes,
    Emit,
    Floats,
    Integers,
    Signed,
    Value,
    constant,
    emit_dot,
    emit_dot_narrow,
    floats,
    is_place,
    load,
    maximum,
    multiply,
    multiply_add,
    place,
    route_of,
    splat,
    store_floats,
    zeros,
)
from .jit import inlined_borrowing
from .rows import LVQ4X4, Bytes
from .unpack import CONVERTING, HALVES, prefetch

TILE = 64
"""Rows taken at a time: a multiple of 16."""
LARGEST = (255, 0, 15, 240)
"""Largest code, by layout."""


class Tile(NamedTuple):
    """`size` rows, at most `TILE`, for the kernels.

    codes: uint8 array, those of the first row from element `start`, those of the next `width` later; up to three bytes
    beyond the dimensions are read. factors: `(2, TILE)` float32 offsets and factors. rows, ahead: what may be fetched
    into the cache meanwhile, from that row on.
    """

    codes: Bytes
    start: int
    width: int
    size: int
    factors: FloatArray
    rows: Bytes
    ahead: int


def _dots(emit: Emit) -> Any:
    """Typing and code of a step of products."""

    def typing(_context: Any, codes: Any, offset: Any, width: Any, totals: Any, weights: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
            first = place(context, builder, signature, values, I8)
            step = context.cast(builder, values[2], signature.args[2], types.intp)
            results = []
            for row in range(signature.return_type.count):
                pointer = builder.gep(first, [builder.mul(step, step.type(row))])
                word = builder.load(builder.bitcast(pointer, I32.as_pointer()), align=1)
                spread = builder.bitcast(splat(builder, word, LANES), Codes.layout)
                results.append(
                    emit(route_of(context), builder, builder.extract_value(values[3], row), spread, values[4])
                )
            return context.make_tuple(builder, signature.return_type, results)

        fits = is_place(codes, offset, (types.uint8,)) and weights is Codes and isinstance(totals, types.UniTuple)
        return (totals(codes, offset, width, totals, weights), generate) if fits else None

    return typing


dots = intrinsic(_dots(emit_dot))
"""`int8.dot` of some rows at once: `totals`, a tuple of an item a row, with four codes of each row and the weights.

The codes are those of a uint8 array at `offset`, in the following row `width` later, and so on.
"""
dots_narrow = intrinsic(_dots(emit_dot_narrow))
"""The same for codes below 128, faster on some processors."""


@intrinsic  # type: ignore[untyped-decorator]
def row_constants(_context: Any, rows: Any, offset: Any, width: Any, last: Any) -> Any:
    """Two `Floats`: the halves at `offset` of a uint8 array, and those behind them, of 16 rows; none beyond `last`."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        start = place(context, builder, signature, [values[0], values[1].type(0)], I8)
        first, step, bound = (
            context.cast(builder, value, kind, types.intp)
            for value, kind in zip(values[1:], signature.args[1:], strict=True)
        )
        pairs: Value = ir.Constant(Integers.layout, ir.Undefined)
        for row in range(LANES):
            where = builder.add(first, builder.mul(step, step.type(row)))
            where = builder.select(builder.icmp_signed("<", where, bound), where, bound)
            word = builder.load(builder.bitcast(builder.gep(start, [where]), I32.as_pointer()), align=1)
            pairs = builder.insert_element(pairs, word, I32(row))
        both = [pairs, builder.lshr(pairs, constant(I32, LANES, 16))]
        return context.make_tuple(builder, signature.return_type, [_as_floats(context, builder, half) for half in both])

    fits = is_place(rows, offset, (types.uint8,))
    return (types.UniTuple(Floats, 2)(rows, offset, width, last), generate) if fits else None


def _as_floats(context: Any, builder: Builder, halves: Value) -> Value:
    """16 float32 of 16 halves in the lower bits of integers."""
    _, _, features = context.codegen().magic_tuple()
    if CONVERTING in features.split(","):
        bits = builder.bitcast(builder.trunc(halves, HALVES), ir.VectorType(ir.HalfType(), LANES))
        return builder.fpext(bits, Floats.layout)
    return floats_of_halves(builder, builder.and_(halves, constant(I32, LANES, 0xFFFF)))


@inlined_borrowing
def one() -> Any:
    """The products of no dimension yet of one row."""
    return (zeros(),)


@inlined_borrowing
def four() -> Any:
    """The same of four rows."""
    return zeros(), zeros(), zeros(), zeros()


@inlined_borrowing
def eight() -> Any:
    """The same of eight rows."""
    return zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()


@inlined_borrowing
def products(totals: Any, tile: Tile, i: int, packed: Signed, x: int, narrow: bool) -> Any:
    """`totals` and the integer products of as many rows of the tile from `i` with the panel at `x`."""
    s, groups = tile.start + i * tile.width, packed.shape[2]
    if narrow:
        for g in range(groups):
            totals = dots_narrow(tile.codes, s + 4 * g, tile.width, totals, load(packed, x + g * BYTES))
    else:
        for g in range(groups):
            totals = dots(tile.codes, s + 4 * g, tile.width, totals, load(packed, x + g * BYTES))
    return totals


@inlined_borrowing
def pairs(totals: Any, tile: Tile, i: int, packed: Signed, x: int, y: int, narrow: bool) -> Any:
    """`products` with the panel at `x`, and with that at `y`."""
    s, groups = tile.start + i * tile.width, packed.shape[2]
    a = b = totals
    if narrow:
        for g in range(groups):
            c, v, w = s + 4 * g, load(packed, x + g * BYTES), load(packed, y + g * BYTES)
            a, b = dots_narrow(tile.codes, c, tile.width, a, v), dots_narrow(tile.codes, c, tile.width, b, w)
    else:
        for g in range(groups):
            c, v, w = s + 4 * g, load(packed, x + g * BYTES), load(packed, y + g * BYTES)
            a, b = dots(tile.codes, c, tile.width, a, v), dots(tile.codes, c, tile.width, b, w)
    return a, b


@inlined_borrowing
def read_constants(
    rows: Bytes, start: int, count: int, layout: int, offset: int, factors: FloatArray, size: Any
) -> Any:
    """Write offsets and factors of `count` rows from `start`, whose constants are at byte `offset`, into `factors`.

    Returns `size`, in any lane raised to the largest magnitude that a coordinate of these rows may have.
    """
    width = rows.shape[1]
    levels, minus = floats(np.float32(LARGEST[layout])), floats(np.float32(-1))
    last = (start + count - 1) * width + offset
    for i in range(0, count, LANES):
        lower, step = row_constants(rows, (start + i) * width + offset, width, last)
        if layout == LVQ4X4:
            lower = multiply_add(lower, step, floats(np.float32(-0.5)))
            step = multiply(step, floats(np.float32(1 / 15)))
        store_floats(factors, i, lower)
        store_floats(factors, TILE + i, step)
        upper = multiply_add(lower, step, levels)
        size = maximum(size, maximum(maximum(lower, multiply(lower, minus)), maximum(upper, multiply(upper, minus))))
    return size


@inlined_borrowing
def fetch(tile: Tile, i: int, count: int) -> None:
    """Begin to fetch `count` rows from `tile.ahead + i`, which may lie beyond the last."""
    width = tile.rows.shape[1]
    first = (tile.ahead + i) * width
    for k in range(first, first + count * width, BYTES):
        prefetch(tile.rows, k)
