"""Stored nibbles and halves as bytes and floats, a vector at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .blocks import floats_of_halves
from .int8 import BYTES, I8, I16, I32, LANES, Builder, Codes, Floats, Integers, Value, call, constant, is_place, place

HALVES = ir.VectorType(I16, LANES)
CONVERTING = "+f16c"
"""The processor feature that reads halves in one instruction."""


@intrinsic  # type: ignore[untyped-decorator]
def store(_context: Any, array: Any, offset: Any, codes: Any) -> Any:
    """Write 64 bytes into a uint8 array."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        builder.store(values[2], place(context, builder, signature, values, Codes.layout), align=1)
        return context.get_dummy_value()

    fits = is_place(array, offset, (types.uint8,)) and codes is Codes
    return (types.none(array, offset, codes), generate) if fits else None


@intrinsic  # type: ignore[untyped-decorator]
def lower_nibbles(_context: Any, codes: Any) -> Any:
    """The lower four bits of 64 bytes."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        return builder.and_(values[0], constant(I8, BYTES, 15))

    return (Codes(codes), generate) if codes is Codes else None


@intrinsic  # type: ignore[untyped-decorator]
def upper_nibbles(_context: Any, codes: Any) -> Any:
    """The upper four bits of 64 bytes."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        return builder.lshr(values[0], constant(I8, BYTES, 4))

    return (Codes(codes), generate) if codes is Codes else None


@intrinsic  # type: ignore[untyped-decorator]
def joined_nibbles(_context: Any, coarse: Any, fine: Any) -> Any:
    """`15 * coarse + fine` of 64 pairs of nibbles."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        coarse, fine = values
        sixteen = builder.shl(coarse, constant(I8, BYTES, 4))
        return builder.sub(builder.add(sixteen, fine), coarse)

    return (Codes(coarse, fine), generate) if coarse is fine is Codes else None


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_context: Any, array: Any, offset: Any) -> Any:
    """Begin to fetch the bytes around an offset of a uint8 array, which may lie beyond its end."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        pointer = place(context, builder, signature, values, I8)
        call(builder, "llvm.prefetch.p0i8", ir.VoidType(), pointer, I32(0), I32(3), I32(1))  # to read, soon, data
        return context.get_dummy_value()

    return (types.none(array, offset), generate) if is_place(array, offset, (types.uint8,)) else None


@intrinsic  # type: ignore[untyped-decorator]
def load_halves(_context: Any, array: Any, offset: Any) -> Any:
    """16 little-endian halves of a uint8 array as float32, exactly."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        bits = builder.load(place(context, builder, signature, values, HALVES), align=1)
        _, _, features = context.codegen().magic_tuple()
        if CONVERTING in features.split(","):
            return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), LANES)), Floats.layout)
        return floats_of_halves(builder, builder.zext(bits, Integers.layout))

    return (Floats(array, offset), generate) if is_place(array, offset, (types.uint8,)) else None
