"""Products of a few rows with a matrix that is packed into panels of sixteen columns.

LLVM's loop vectorizer keeps one accumulator a loop; the products of a matrix that is only sixteen columns wide need
several at once. So the inner loop is written as vectors of sixteen, which LLVM splits into what the machine has: one
register with AVX-512, two with AVX2, four on arm64. Every product is summed in the order of the coordinates, with fused
multiply-adds where the machine has them, whatever rows and columns are beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .sketch import LANES

ROWS = 4
"""Rows of a tile: as many accumulators keep the multiply-add units of all named machines busy."""
SPAN = 64
"""Columns of a sum of rows."""

_FUSE = ("contract",)


def _pointer(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, *position: ir.Value) -> ir.Value:
    """Where the element at `position` of an array lies; not checked."""
    view = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, view, position)


def _load(builder: ir.IRBuilder, start: ir.Value, lanes: int) -> ir.Value:
    return builder.load(builder.bitcast(start, ir.VectorType(ir.FloatType(), lanes).as_pointer()), align=4)


def _store(builder: ir.IRBuilder, value: ir.Value, start: ir.Value) -> None:
    builder.store(value, builder.bitcast(start, value.type.as_pointer()), align=4)


def _splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    undefined = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _zeros(builder: ir.IRBuilder, lanes: int) -> ir.Value:
    """A variable, which LLVM turns into registers."""
    return cgutils.alloca_once_value(builder, ir.Constant(ir.VectorType(ir.FloatType(), lanes), [0.0] * lanes))


def _emit_tile(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
    rows, chosen, sizes, panels, r, p, out, places = args
    kinds = signature.args
    zero, lanes = (context.get_constant(types.intp, value) for value in (0, LANES))
    numbers = [builder.extract_value(chosen, i) for i in range(ROWS)]
    sources = [_pointer(context, builder, kinds[0], rows, number, zero) for number in numbers]
    panel = _pointer(context, builder, kinds[3], panels, r, p, zero, zero)
    sums = [_zeros(builder, LANES) for _ in range(ROWS)]
    shape = context.make_array(kinds[0])(context, builder, rows).shape
    with cgutils.for_range(builder, builder.extract_value(shape, 1)) as loop:
        column = _load(builder, builder.gep(panel, [builder.mul(loop.index, lanes)]), LANES)
        for source, total in zip(sources, sums, strict=True):
            value = _splat(builder, builder.load(builder.gep(source, [loop.index])))
            product = builder.fmul(value, column, flags=_FUSE)
            builder.store(builder.fadd(builder.load(total), product, flags=_FUSE), total)
    for i, total in enumerate(sums):
        mean = builder.fdiv(builder.load(total), _splat(builder, builder.extract_value(sizes, i)))
        _store(builder, mean, _pointer(context, builder, kinds[6], out, builder.extract_value(places, i)))
    return context.get_dummy_value()


def _tile(
    _typing: Any, rows: Any, chosen: Any, sizes: Any, panels: Any, r: Any, p: Any, out: Any, places: Any
) -> tuple[Any, Any]:
    """Products of the rows `chosen` of `rows` with panel `p` of matrix `r`, each divided by one of `sizes`.

    chosen, sizes, places: four each. out: one-dimensional; receives the sixteen products of a row from its place on.
    Whole numbers are int64, others float32. Nothing is checked.
    """
    return types.void(rows, chosen, sizes, panels, r, p, out, places), _emit_tile


def _emit_sum(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
    rows, listed, first, last, column, out, target = args
    kinds = signature.args
    total = _zeros(builder, SPAN)
    with cgutils.for_range_slice(builder, first, last, context.get_constant(types.intp, 1)) as (i, _):
        number = builder.load(_pointer(context, builder, kinds[1], listed, i))
        source = _pointer(context, builder, kinds[0], rows, number, column)
        builder.store(builder.fadd(builder.load(total), _load(builder, source, SPAN)), total)
    _store(builder, builder.load(total), _pointer(context, builder, kinds[5], out, target, column))
    return context.get_dummy_value()


def _sum_rows(
    _typing: Any, rows: Any, listed: Any, first: Any, last: Any, column: Any, out: Any, target: Any
) -> tuple[Any, Any]:
    """Sum of the rows `listed[first:last]` of `rows`, columns `column` to `column + SPAN`, to row `target` of `out`.

    The rows are added in that order. Nothing is checked.
    """
    return types.void(rows, listed, first, last, column, out, target), _emit_sum


tile = intrinsic(_tile)
sum_rows = intrinsic(_sum_rows)
