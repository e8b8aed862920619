"""Vectors of 64 bytes, 16 integers and 16 floats in kernels: what numba's own loops do not compile to.

`dot` adds, in each of 16 lanes, four products of unsigned with signed bytes: one AVX-512 or AVX-VNNI instruction where
the processor has it, else what `Route` names. Every route gives the same integers. The route follows
from the processor features that numba compiles for, which are also part of the key of its disk cache, so that code
compiled on one machine is never run on a lesser one.

Vectors read and write C-contiguous arrays at flat element offsets and check no bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

from ...encoders.embeddings import FloatArray

BYTES = 64
"""Bytes of a vector of codes."""
LANES = 16
"""Integers or floats of a vector."""
SIGNED_MAX = 127
"""Largest magnitude of a signed code."""

Signed = npt.NDArray[np.int8]

Builder: TypeAlias = Any  # llvmlite has no types: ir.IRBuilder
Value: TypeAlias = Any  # ir.Value
Emit = Callable[..., Value]

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


class Route(Enum):
    """How products of bytes are summed."""

    VNNI_512 = "vpdpbusd on 64 bytes"
    VNNI_256 = "vpdpbusd on 32 bytes"
    AVX2 = "pmaddubsw and pmaddwd on 32 bytes"
    DOTPROD = "sdot on 16 bytes"
    PLAIN = "whatever the compiler makes of it"


def route(features: str) -> Route:
    """The best route for a processor, from features spelled as `+avx2,-avx512f`."""
    has = {name[1:] for name in features.split(",") if name.startswith("+")}
    if {"avx512vnni", "avx512bw"} <= has:
        return Route.VNNI_512
    if "avxvnni" in has:
        return Route.VNNI_256
    if "avx2" in has:
        return Route.AVX2
    return Route.DOTPROD if "dotprod" in has else Route.PLAIN


def compiled_route() -> Route:
    """The route of the kernels compiled in this process."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return route(features)


class Vector(types.Type):  # type: ignore[misc]
    """numba's type of a vector register, or of several that act as one."""

    def __init__(self, name: str, element: ir.Type, count: int) -> None:
        super().__init__(name)
        self.layout = ir.VectorType(element, count)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, fe_type.layout)


Codes = Vector("Codes", I8, BYTES)
"""64 bytes, signed or not."""
Integers = Vector("Integers", I32, LANES)
"""16 int32."""
Floats = Vector("Floats", F32, LANES)
"""16 float32."""


def call(builder: Builder, name: str, result: ir.Type, *arguments: Value) -> Value:
    """Call an LLVM intrinsic."""
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
    return builder.call(function, arguments)


def splat(builder: Builder, value: Value, count: int) -> Value:
    """A vector of `count` times the scalar."""
    empty = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    one = builder.insert_element(empty, value, I32(0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(I32, count), [0] * count))


def constant(element: ir.Type, count: int, value: int) -> Value:
    """A vector of `count` times an integer."""
    return ir.Constant(ir.VectorType(element, count), [value] * count)


def part(builder: Builder, vector: Value, start: int, count: int) -> Value:
    """Elements `start` to `start + count` of a vector."""
    return pick(builder, vector, vector, list(range(start, start + count)))


def pick(builder: Builder, a: Value, b: Value, indices: list[int]) -> Value:
    """The elements of two vectors, laid end to end, at `indices`."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(indices)), indices))


def _in_parts(builder: Builder, size: int, emit: Emit, total: Value, codes: Value, weights: Value) -> Value:
    """`emit` on `size` bytes at a time, the results joined."""
    lanes = size // 4
    parts = [
        emit(part(builder, total, b // 4, lanes), part(builder, codes, b, size), part(builder, weights, b, size))
        for b in range(0, BYTES, size)
    ]
    while len(parts) > 1:
        count = 2 * parts[0].type.count
        parts = [pick(builder, a, b, list(range(count))) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _vnni(builder: Builder, size: int, total: Value, codes: Value, weights: Value) -> Value:
    words = ir.VectorType(I32, size // 4)

    def emit(total: Value, codes: Value, weights: Value) -> Value:
        name = f"llvm.x86.avx512.vpdpbusd.{8 * size}"
        return call(builder, name, words, total, builder.bitcast(codes, words), builder.bitcast(weights, words))

    return _in_parts(builder, size, emit, total, codes, weights)


def _avx2(builder: Builder, total: Value, codes: Value, weights: Value) -> Value:
    def emit(total: Value, codes: Value, weights: Value) -> Value:
        pairs = call(builder, "llvm.x86.avx2.pmadd.ub.sw", ir.VectorType(I16, 16), codes, weights)
        fours = call(builder, "llvm.x86.avx2.pmadd.wd", ir.VectorType(I32, 8), pairs, constant(I16, 16, 1))
        return builder.add(total, fours)

    return _in_parts(builder, 32, emit, total, codes, weights)


def _dotprod(builder: Builder, total: Value, codes: Value, weights: Value) -> Value:
    def emit(total: Value, codes: Value, weights: Value) -> Value:
        return call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", total.type, total, codes, weights)

    return _in_parts(builder, 16, emit, total, codes, weights)


def _plain(builder: Builder, total: Value, codes: Value, weights: Value) -> Value:
    words = ir.VectorType(I16, BYTES)
    products = builder.mul(builder.zext(codes, words), builder.sext(weights, words))  # at most 127 * 128: no overflow
    for first in range(4):
        fourth = pick(builder, products, products, list(range(first, BYTES, 4)))
        total = builder.add(total, builder.sext(fourth, Integers.layout))
    return total


def emit_dot_narrow(chosen: Route, builder: Builder, total: Value, codes: Value, weights: Value) -> Value:
    """`total` and, lane by lane, four products of `codes`, below 128, with signed `weights`."""
    if chosen is Route.VNNI_512:
        return _vnni(builder, 64, total, codes, weights)
    if chosen is Route.VNNI_256:
        return _vnni(builder, 32, total, codes, weights)
    return {Route.AVX2: _avx2, Route.DOTPROD: _dotprod, Route.PLAIN: _plain}[chosen](builder, total, codes, weights)


def emit_dot(chosen: Route, builder: Builder, total: Value, codes: Value, weights: Value) -> Value:
    """The same for codes up to 255, which most instructions need in two parts: seven bits and the eighth."""
    if chosen in (Route.VNNI_512, Route.VNNI_256):
        return emit_dot_narrow(chosen, builder, total, codes, weights)
    seven = builder.and_(codes, constant(I8, BYTES, 127))
    eighth = builder.lshr(codes, constant(I8, BYTES, 7))
    total = emit_dot_narrow(chosen, builder, total, seven, weights)
    more = emit_dot_narrow(chosen, builder, constant(I32, LANES, 0), eighth, weights)
    return builder.add(total, builder.shl(more, constant(I32, LANES, 7)))


def signed(vectors: FloatArray) -> tuple[Signed, FloatArray]:
    """`(n, dim)` int8 codes and `(n,)` float32 scales: a vector is near `scale * code`, each coordinate to `scale / 2`.

    Symmetric: the scale is the largest magnitude over 127, halves round to even. A vector of zeros has scale 0.
    """
    largest = np.abs(vectors).max(axis=1, initial=0).astype(np.float32)
    scales = largest / np.float32(SIGNED_MAX)
    safe = np.where(scales > 0, scales, np.float32(1))
    codes = np.clip(np.rint(vectors / safe[:, None]), -SIGNED_MAX, SIGNED_MAX).astype(np.int8)
    return codes, np.where(scales > 0, scales, np.float32(0))


def side_by_side(codes: Signed) -> Signed:
    """`(ceil(n / 16), ceil(dim / 4), 64)` int8 of `(n, dim)` codes: in each group, four dimensions of 16 vectors.

    With `dot(totals, spread(row, 4 * group), load(packed, 64 * group))` for each group, lane `i` of `totals` becomes
    the product of a row with vector `i`. Padded with zeros.
    """
    count, dim = codes.shape
    padded = np.zeros((-(-count // LANES) * LANES, -(-dim // 4) * 4), np.int8)
    padded[:count, :dim] = codes
    tiles = padded.reshape(-1, LANES, padded.shape[1] // 4, 4)
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(len(tiles), padded.shape[1] // 4, BYTES)


def route_of(context: Any) -> Route:
    """The route of the code that numba is compiling."""
    _, _, features = context.codegen().magic_tuple()
    return route(features)


def place(context: Any, builder: Builder, signature: Any, values: list[Value], layout: ir.Type) -> Value:
    """Pointer to a vector within the array `values[0]`, at the element `values[1]`."""
    array = context.make_array(signature.args[0])(context, builder, values[0])
    offset = context.cast(builder, values[1], signature.args[1], types.intp)
    return builder.bitcast(builder.gep(array.data, [offset]), layout.as_pointer())


def is_place(array: types.Type, offset: types.Type, dtypes: tuple[types.Type, ...]) -> bool:
    """Whether a function that takes an array of one of these elements and an offset is called so."""
    return isinstance(array, types.Array) and array.dtype in dtypes and isinstance(offset, types.Integer)


@intrinsic  # type: ignore[untyped-decorator]
def load(_context: Any, array: Any, offset: Any) -> Any:
    """64 bytes of a uint8 or int8 array."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        return builder.load(place(context, builder, signature, values, Codes.layout), align=1)

    return (Codes(array, offset), generate) if is_place(array, offset, (types.uint8, types.int8)) else None


@intrinsic  # type: ignore[untyped-decorator]
def spread(_context: Any, array: Any, offset: Any) -> Any:
    """Four bytes of a uint8 or int8 array, 16 times."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        word = builder.load(place(context, builder, signature, values, I32), align=1)
        return builder.bitcast(splat(builder, word, LANES), Codes.layout)

    return (Codes(array, offset), generate) if is_place(array, offset, (types.uint8, types.int8)) else None


@intrinsic  # type: ignore[untyped-decorator]
def zeros(_context: Any) -> Any:
    """16 integers 0."""
    return Integers(), lambda *_: constant(I32, LANES, 0)


@intrinsic  # type: ignore[untyped-decorator]
def dot(_context: Any, total: Any, codes: Any, weights: Any) -> Any:
    """`total[i] + sum(codes[4 * i + j] * weights[4 * i + j])`, j from 0 to 3: unsigned codes, signed weights."""

    def generate(context: Any, builder: Builder, _: Any, values: list[Value]) -> Value:
        return emit_dot(route_of(context), builder, *values)

    return Integers(total, codes, weights), generate


@intrinsic  # type: ignore[untyped-decorator]
def total(_context: Any, lanes: Any) -> Any:
    """The sum of 16 integers, int32."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        return call(builder, "llvm.vector.reduce.add.v16i32", I32, values[0])

    return (types.int32(lanes), generate) if lanes is Integers else None


@intrinsic  # type: ignore[untyped-decorator]
def floats(_context: Any, lanes: Any) -> Any:
    """16 integers, or one number 16 times, as float32."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        if signature.args[0] is Integers:
            return builder.sitofp(values[0], Floats.layout)
        return splat(builder, context.cast(builder, values[0], signature.args[0], types.float32), LANES)

    return (Floats(lanes), generate) if lanes is Integers or isinstance(lanes, types.Number) else None


def _binary(emit: Callable[[Builder, Value, Value], Value]) -> Callable[..., Any]:
    """Typing and code of a function of two `Floats`."""

    def typing(_context: Any, a: Any, b: Any) -> Any:
        def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
            return emit(builder, *values)

        return (Floats(a, b), generate) if a is b is Floats else None

    return typing


add = intrinsic(_binary(lambda builder, a, b: builder.fadd(a, b)))
"""Sums of two times 16 floats."""
multiply = intrinsic(_binary(lambda builder, a, b: builder.fmul(a, b)))
"""Products of two times 16 floats."""
maximum = intrinsic(_binary(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b)))
"""The larger of two times 16 floats, the second where one is NaN."""


@intrinsic  # type: ignore[untyped-decorator]
def load_floats(_context: Any, array: Any, offset: Any) -> Any:
    """16 floats of a float32 array."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        return builder.load(place(context, builder, signature, values, Floats.layout), align=4)

    return (Floats(array, offset), generate) if is_place(array, offset, (types.float32,)) else None


@intrinsic  # type: ignore[untyped-decorator]
def store_floats(_context: Any, array: Any, offset: Any, lanes: Any) -> Any:
    """Write 16 floats into a float32 array."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        builder.store(values[2], place(context, builder, signature, values, Floats.layout), align=4)
        return context.get_dummy_value()

    fits = is_place(array, offset, (types.float32,)) and lanes is Floats
    return (types.none(array, offset, lanes), generate) if fits else None


@intrinsic  # type: ignore[untyped-decorator]
def above(_context: Any, lanes: Any, bound: Any) -> Any:
    """Which of 16 floats are larger than those of `bound`: bit `i` of a uint16 for lane `i`."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        return builder.bitcast(builder.fcmp_ordered(">", *values), I16)

    return (types.uint16(lanes, bound), generate) if lanes is bound is Floats else None


@intrinsic  # type: ignore[untyped-decorator]
def lowest(_context: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set in an int64, which is not 0."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        return call(builder, "llvm.cttz.i64", I64, values[0], ir.IntType(1)(1))

    return (types.int64(bits), generate) if bits is types.int64 else None


@intrinsic  # type: ignore[untyped-decorator]
def multiply_add(_context: Any, total: Any, a: Any, b: Any) -> Any:
    """`total + a * b` of 16 floats, fused where the processor can."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> ir.Value:
        total, a, b = values
        return call(builder, "llvm.fmuladd.v16f32", Floats.layout, a, b, total)

    return (Floats(total, a, b), generate) if total is a is b is Floats else None


@intrinsic  # type: ignore[untyped-decorator]
def largest(_context: Any, lanes: Any) -> Any:
    """The largest of 16 floats, none of which is NaN."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        return call(builder, "llvm.vector.reduce.fmax.v16f32", F32, values[0])

    return (types.float32(lanes), generate) if lanes is Floats else None


@intrinsic  # type: ignore[untyped-decorator]
def byte(_context: Any, array: Any, offset: Any) -> Any:
    """One byte of a uint8 array as int64."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        return builder.zext(builder.load(place(context, builder, signature, values, I8)), I64)

    return (types.int64(array, offset), generate) if is_place(array, offset, (types.uint8,)) else None
