"""Inner products of 16 stored rows with a query at a time, in whole vectors of codes.

Rows are given by their addresses, so that they may lie anywhere, one after another or not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .int8 import (
    BYTES,
    I8,
    I32,
    I64,
    LANES,
    Builder,
    Codes,
    Floats,
    Integers,
    Route,
    Value,
    call,
    constant,
    emit_dot,
    emit_dot_narrow,
    is_place,
    pick,
    place,
    route_of,
)

NIBBLE_ROWS = 2
"""Rows of nibbles that share a read of the weights. More of them, or two rows of bytes, are so many streams of memory
at once that processors stop fetching ahead."""


def emit_row_sums(builder: Builder, rows: list[Value]) -> Value:
    """A vector of the sums of 16 vectors, by four rounds of adding neighbours: 45 instructions, against 16 times 8."""
    gap = 1
    while len(rows) > 1:
        merged = []
        for a, b in zip(rows[::2], rows[1::2], strict=True):
            kept = [lane + (LANES if lane & gap else 0) for lane in range(LANES)]
            other = [(lane ^ gap) + (LANES if lane & gap else 0) for lane in range(LANES)]
            merged.append(builder.add(pick(builder, a, b, kept), pick(builder, a, b, other)))
        rows = merged
        gap *= 2
    return rows[0]


@intrinsic  # type: ignore[untyped-decorator]
def address(_context: Any, array: Any, offset: Any) -> Any:
    """Where an element of a uint8 array is in memory, for `products`; the array must outlive its use."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        return builder.ptrtoint(place(context, builder, signature, values, I8), I64)

    return (types.int64(array, offset), generate) if is_place(array, offset, (types.uint8,)) else None


def _row_chunk(builder: Builder, addresses: Value, row: Value, chunk: Value) -> Value:
    """Chunk `chunk` of 64 bytes of row `row`."""
    start = builder.load(builder.gep(addresses, [row]))
    begin = builder.add(start, builder.mul(chunk, I64(BYTES)))
    return builder.load(builder.inttoptr(begin, Codes.layout.as_pointer()), align=1)


def _accumulate(
    chosen: Route, builder: Builder, totals: list[Value], codes: Value, weights: list[Value], wide: bool
) -> None:
    """Add the products of a chunk to the row's `totals`, pointers: one a plane of weights if wide, else one for all."""
    if wide:
        for total, plane in zip(totals, weights, strict=True):
            builder.store(emit_dot(chosen, builder, builder.load(total), codes, plane), total)
        return
    lower = builder.and_(codes, constant(I8, BYTES, 15))
    upper = builder.lshr(codes, constant(I8, BYTES, 4))
    sums = emit_dot_narrow(chosen, builder, builder.load(totals[0]), lower, weights[0])
    builder.store(emit_dot_narrow(chosen, builder, sums, upper, weights[1]), totals[0])


@contextmanager
def _repeat(builder: Builder, count: Value) -> Iterator[Value]:
    """A loop that runs at least once and is not unrolled; gives the number of the round."""
    before, body, after = builder.block, builder.append_basic_block("repeat"), builder.append_basic_block("repeated")
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(I64)
    index.add_incoming(I64(0), before)
    yield index
    following = builder.add(index, I64(1))
    index.add_incoming(following, builder.block)
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], side_effect=True)  # which compilers do not unroll
    builder.cbranch(builder.icmp_signed("<", following, count), body, after)
    builder.position_at_end(after)


def _spread_sums(
    chosen: Route, builder: Builder, addresses: Value, rows: list[Value], weights: Value, chunks: Value, wide: bool
) -> list[list[Value]]:
    """Sums by plane and row, each still spread over 16 lanes. weights: pointer to `[chunk][plane][64]` int8."""
    planes = 2 if wide else 1
    totals = [[cgutils.alloca_once(builder, Integers.layout) for _ in range(planes)] for _ in rows]
    for total in itertools.chain.from_iterable(totals):
        builder.store(constant(I32, LANES, 0), total)
    together = 1 if wide else NIBBLE_ROWS
    for group in range(0, len(rows), together):
        with _repeat(builder, chunks) as chunk:
            first = builder.gep(weights, [builder.mul(chunk, I64(2 * BYTES))])
            pointers = [first, builder.gep(first, [I64(BYTES)])]
            both = [builder.load(builder.bitcast(p, Codes.layout.as_pointer()), align=1) for p in pointers]
            for i in range(group, min(group + together, len(rows))):
                codes = _row_chunk(builder, addresses, rows[i], chunk)
                _accumulate(chosen, builder, totals[i], codes, both, wide)
    return [[builder.load(row[plane]) for row in totals] for plane in range(planes)]


def _products_512(builder: Builder, addresses: Value, weights: Value, chunks: Value, wide: bool) -> list[Value]:
    """16 accumulators at a time: as many as 32 registers hold beside a chunk and its weights."""
    rows = [I64(row) for row in range(LANES)]
    if not wide:
        (sums,) = _spread_sums(Route.VNNI_512, builder, addresses, rows, weights, chunks, wide)
        return [emit_row_sums(builder, sums)]
    halves = []
    for eight in (rows[:8], rows[8:]):
        coarse, fine = _spread_sums(Route.VNNI_512, builder, addresses, eight, weights, chunks, wide)
        halves.append(emit_row_sums(builder, coarse + fine))
    lanes = [[*range(8), *range(16, 24)], [*range(8, 16), *range(24, 32)]]
    return [pick(builder, halves[0], halves[1], indices) for indices in lanes]


def emit_products(
    chosen: Route, builder: Builder, addresses: Value, weights: Value, chunks: Value, wide: bool
) -> list[Value]:
    """`Integers` of 16 rows, one for each plane of weights if wide."""
    if chosen is Route.VNNI_512:
        return _products_512(builder, addresses, weights, chunks, wide)
    results = [cgutils.alloca_once(builder, Integers.layout) for _ in range(2 if wide else 1)]
    with _repeat(builder, I64(LANES)) as row:
        planes = _spread_sums(chosen, builder, addresses, [row], weights, chunks, wide)
        for result, (spread_sum,) in zip(results, planes, strict=True):
            value = call(builder, "llvm.vector.reduce.add.v16i32", I32, spread_sum)
            builder.store(value, builder.gep(builder.bitcast(result, I32.as_pointer()), [row]))
    return [builder.load(result) for result in results]


def _weights_pointer(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
    array = context.make_array(signature.args[1])(context, builder, values[1])
    return builder.gep(array.data, [context.cast(builder, values[2], signature.args[2], types.intp)])


def _products(wide: bool) -> Any:
    """Typing and code of the products of 16 rows."""

    def typing(_context: Any, addresses: Any, weights: Any, offset: Any, chunks: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
            where = context.make_array(signature.args[0])(context, builder, values[0]).data
            pointer = _weights_pointer(context, builder, signature, values)
            count = context.cast(builder, values[3], signature.args[3], types.int64)
            results = emit_products(route_of(context), builder, where, pointer, count, wide)
            return context.make_tuple(builder, signature.return_type, results) if wide else results[0]

        fits = is_place(addresses, chunks, (types.int64,)) and is_place(weights, offset, (types.int8,))
        result = types.UniTuple(Integers, 2) if wide else Integers
        return (result(addresses, weights, offset, chunks), generate) if fits else None

    return typing


nibble_products = intrinsic(_products(wide=False))
"""`Integers` products of the 16 rows at `addresses`, two codes a byte, with one query.

weights: int8 array, from `offset` on `chunks` times `[64 for the lower codes of 64 bytes][64 for the upper codes]`.
"""
byte_products = intrinsic(_products(wide=True))
"""Two `Integers` products of the 16 rows at `addresses`, a code a byte, with two planes of weights.

weights: int8 array, from `offset` on `chunks` times `[64 of the first plane][64 of the second]`.
"""


def floats_of_halves(builder: Builder, halves: Value) -> Value:
    """16 float32 of 16 halves in the lower bits of integers.

    Unlike `half.half_to_float` without float32 below the normal range on the way, at which processors stumble.
    """

    def every(number: int) -> Value:
        return constant(I32, LANES, number)

    magnitude = builder.and_(halves, every(0x7FFF))
    normal = builder.add(builder.shl(magnitude, every(13)), every(112 << 23))
    infinite = builder.add(normal, every(112 << 23))
    scale = ir.Constant(Floats.layout, [2.0**-24] * LANES)
    tiny = builder.bitcast(builder.fmul(builder.sitofp(magnitude, Floats.layout), scale), Integers.layout)
    bits = builder.select(builder.icmp_signed(">=", magnitude, every(0x7C00)), infinite, normal)
    bits = builder.select(builder.icmp_signed("<", magnitude, every(0x0400)), tiny, bits)
    sign = builder.shl(builder.and_(halves, every(0x8000)), every(16))
    return builder.bitcast(builder.or_(bits, sign), Floats.layout)


@intrinsic  # type: ignore[untyped-decorator]
def constants(_context: Any, addresses: Any, offset: Any) -> Any:
    """Two `Floats`: lower values and steps of the 16 rows at `addresses`, whose constants begin at byte `offset`."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        where = context.make_array(signature.args[0])(context, builder, values[0]).data
        offset = context.cast(builder, values[1], signature.args[1], types.int64)
        pairs: Value = ir.Constant(Integers.layout, ir.Undefined)
        for lane in range(LANES):
            pointer = builder.add(builder.load(builder.gep(where, [I64(lane)])), offset)
            word = builder.load(builder.inttoptr(pointer, I32.as_pointer()), align=1)
            pairs = builder.insert_element(pairs, word, I32(lane))
        lower = floats_of_halves(builder, pairs)
        step = floats_of_halves(builder, builder.lshr(pairs, constant(I32, LANES, 16)))
        return context.make_tuple(builder, signature.return_type, [lower, step])

    fits = is_place(addresses, offset, (types.int64,))
    return (types.UniTuple(Floats, 2)(addresses, offset), generate) if fits else None
