"""What a learned encoding asks of tokens: products with fixed vectors, their maximum or sum over an item.

The fixed vectors lie in panels of sixteen lanes. Four tokens meet two panels at a time, which fills the multiply-add
units of a processor from registers. Every product is summed in the order of the coordinates, whatever is beside it, so
that an item's result does not depend on its company.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from .int8 import (
    BYTES,
    LANES,
    Signed,
    add,
    dot,
    floats,
    load,
    load_floats,
    maximum,
    multiply,
    multiply_add,
    side_by_side,
    spread,
    store_floats,
    zeros,
)
from .jit import frozen, in_threads, inlined, kernel
from .rows import CONSTANT_BYTES, Bytes, lvq8_constants

PAIR = 2 * LANES
"""Lanes of two panels: results come in multiples of so many columns."""


def panels(vectors: FloatArray) -> FloatArray:
    """`(p, dim, 16)` float32 of `(n, dim)` vectors: coordinate by coordinate of sixteen; zeros up to `columns(n)`."""
    count, dim = vectors.shape
    padded = np.zeros((columns(count), dim), np.float32)
    padded[:count] = vectors
    return np.ascontiguousarray(padded.reshape(-1, LANES, dim).transpose(0, 2, 1))


def columns(count: int) -> int:
    """`count` rounded up to a multiple of `PAIR`."""
    return -(-count // PAIR) * PAIR


@inlined
def _products_4x2(vectors: FloatArray, t: int, last: int, packed: FloatArray, p: int) -> Any:
    """Products of four tokens from `t` (the last repeated beyond the end) with panels `p` and `p + 1`."""
    dim = vectors.shape[1]
    t1, t2, t3 = min(t + 1, last), min(t + 2, last), min(t + 3, last)
    nought = floats(np.float32(0))
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = nought
    for j in range(dim):
        x = load_floats(packed, (p * dim + j) * LANES)
        y = load_floats(packed, ((p + 1) * dim + j) * LANES)
        v0, v1, v2, v3 = floats(vectors[t, j]), floats(vectors[t1, j]), floats(vectors[t2, j]), floats(vectors[t3, j])
        a0, b0 = multiply_add(a0, v0, x), multiply_add(b0, v0, y)
        a1, b1 = multiply_add(a1, v1, x), multiply_add(b1, v1, y)
        a2, b2 = multiply_add(a2, v2, x), multiply_add(b2, v2, y)
        a3, b3 = multiply_add(a3, v3, x), multiply_add(b3, v3, y)
    return a0, a1, a2, a3, b0, b1, b2, b3


@kernel
def _best(vectors: FloatArray, offsets: IntArray, packed: FloatArray, out: FloatArray, first: int, last: int) -> None:
    width = out.shape[1]
    for item in range(first, last):
        begin, end = offsets[item], offsets[item + 1]
        if begin == end:
            out[item] = 0
            continue
        for p in range(0, len(packed), 2):
            x = y = floats(np.float32(-np.inf))
            for t in range(begin, end, 4):
                a0, a1, a2, a3, b0, b1, b2, b3 = _products_4x2(vectors, t, end - 1, packed, p)
                x = maximum(x, maximum(maximum(a0, a1), maximum(a2, a3)))
                y = maximum(y, maximum(maximum(b0, b1), maximum(b2, b3)))
            store_floats(out, item * width + p * LANES, x)
            store_floats(out, item * width + (p + 1) * LANES, y)


def best_products(vectors: FloatArray, offsets: IntArray, packed: FloatArray) -> FloatArray:
    """`(n, columns)` float32: the largest product of each panel vector with a token of each item; 0 for one without.

    vectors: `(t, dim)` float32. offsets: `(n + 1,)` int64 into them, not necessarily from 0. packed: from `panels`.
    """
    vectors, offsets = frozen(vectors, np.float32, 2), frozen(offsets, np.int64, 1)
    out = np.empty((len(offsets) - 1, len(packed) * LANES), np.float32)
    in_threads(partial(_best, vectors, offsets, frozen(packed, np.float32, 3), out), offsets, packed.size)
    return out


@kernel
def _products(rows: FloatArray, packed: FloatArray, out: FloatArray, first: int, last: int) -> None:
    width = out.shape[1]
    for p in range(0, len(packed), 2):
        for t in range(first, last, 4):
            a0, a1, a2, a3, b0, b1, b2, b3 = _products_4x2(rows, t, last - 1, packed, p)
            t1, t2, t3 = min(t + 1, last - 1), min(t + 2, last - 1), min(t + 3, last - 1)
            for row, x, y in ((t, a0, b0), (t1, a1, b1), (t2, a2, b2), (t3, a3, b3)):
                store_floats(out, row * width + p * LANES, x)
                store_floats(out, row * width + (p + 1) * LANES, y)


def products(rows: FloatArray, packed: FloatArray) -> FloatArray:
    """`(n, columns)` float32 products of `(n, dim)` rows with panel vectors.

    Unlike those of a BLAS, they have the same bits whatever the number of rows and threads.
    """
    rows = frozen(rows, np.float32, 2)
    out = np.empty((len(rows), len(packed) * LANES), np.float32)
    in_threads(partial(_products, rows, frozen(packed, np.float32, 3), out), len(rows), packed.size)
    return out


@inlined
def _excess(x: Any, length: Any, shift: Any) -> Any:
    return maximum(multiply_add(x, length, shift), floats(np.float32(0)))


@kernel
def _sum_excess(
    vectors: FloatArray,
    lengths: FloatArray,
    offsets: IntArray,
    packed: FloatArray,
    shifts: FloatArray,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    width = out.shape[1]
    for item in range(first, last):
        begin, end = offsets[item], offsets[item + 1]
        for p in range(0, len(packed), 2):
            x = y = floats(np.float32(0))
            shift_x, shift_y = load_floats(shifts, p * LANES), load_floats(shifts, (p + 1) * LANES)
            for t in range(begin, end, 4):
                a0, a1, a2, a3, b0, b1, b2, b3 = _products_4x2(vectors, t, end - 1, packed, p)
                length = floats(lengths[t])
                x, y = add(x, _excess(a0, length, shift_x)), add(y, _excess(b0, length, shift_y))
                if t + 1 < end:
                    length = floats(lengths[t + 1])
                    x, y = add(x, _excess(a1, length, shift_x)), add(y, _excess(b1, length, shift_y))
                if t + 2 < end:
                    length = floats(lengths[t + 2])
                    x, y = add(x, _excess(a2, length, shift_x)), add(y, _excess(b2, length, shift_y))
                if t + 3 < end:
                    length = floats(lengths[t + 3])
                    x, y = add(x, _excess(a3, length, shift_x)), add(y, _excess(b3, length, shift_y))
            store_floats(out, item * width + p * LANES, x)
            store_floats(out, item * width + (p + 1) * LANES, y)


def sum_excess(vectors: FloatArray, offsets: IntArray, packed: FloatArray, thresholds: FloatArray) -> FloatArray:
    """`(n, columns)` float32: for each item and panel vector `c`, the sum over tokens of the excess over a threshold.

    The excess of a token `x` is `max(0, <x, c> - |x| threshold)`, so that a token twice as long counts twice.

    thresholds: `(columns,)` float32. The rest is as for `best_products`.
    """
    vectors, offsets = frozen(vectors, np.float32, 2), frozen(offsets, np.int64, 1)
    out = np.empty((len(offsets) - 1, len(packed) * LANES), np.float32)
    shifts = frozen(-thresholds, np.float32, 1)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    work = partial(_sum_excess, vectors, lengths, offsets, frozen(packed, np.float32, 3), shifts, out)
    in_threads(work, offsets, packed.size)
    return out


class CodePanels(NamedTuple):
    """Vectors `scale * code` for the kernels. packed: `(columns / 16, ceil(dim / 4), 64)` int8.

    sums: `(columns,)` float32, of the codes of each. scales: `(columns,)` float32. Padded with zeros.
    """

    packed: Signed
    sums: FloatArray
    scales: FloatArray


def code_panels(codes: Signed, scales: FloatArray) -> CodePanels:
    """Panels of `(n, dim)` signed codes and their `(n,)` scales, which are not negative."""
    missing = columns(len(codes)) - len(codes)
    padded = np.pad(codes, ((0, missing), (0, 0)))
    sums = padded.sum(axis=1, dtype=np.int32).astype(np.float32)
    return CodePanels(side_by_side(padded), sums, np.pad(scales, (0, missing)))


@inlined
def _codes_4x2(rows: Bytes, t: int, last: int, packed: Signed, p: int) -> Any:
    """Integer products of the codes of four rows with panels `p` and `p + 1`.

    The last group of dimensions may read a row's constants; they meet zeros.
    """
    width, groups = rows.shape[1], packed.shape[1]
    s0, s1, s2, s3 = t * width, min(t + 1, last) * width, min(t + 2, last) * width, min(t + 3, last) * width
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zeros()
    for g in range(groups):
        x = load(packed, (p * groups + g) * BYTES)
        y = load(packed, ((p + 1) * groups + g) * BYTES)
        c0, c1, c2, c3 = (
            spread(rows, s0 + 4 * g),
            spread(rows, s1 + 4 * g),
            spread(rows, s2 + 4 * g),
            spread(rows, s3 + 4 * g),
        )
        a0, b0 = dot(a0, c0, x), dot(b0, c0, y)
        a1, b1 = dot(a1, c1, x), dot(b1, c1, y)
        a2, b2 = dot(a2, c2, x), dot(b2, c2, y)
        a3, b3 = dot(a3, c3, x), dot(b3, c3, y)
    return a0, a1, a2, a3, b0, b1, b2, b3


@inlined
def _value(product: Any, constants: FloatArray, t: int, sums: Any) -> Any:
    """`lower * sum + step * product`."""
    lower, step = floats(constants[t, 0]), floats(constants[t, 1])
    return add(multiply(lower, sums), multiply(step, floats(product)))


@inlined
def _read_constants(rows: Bytes, begin: int, end: int, constants: FloatArray) -> None:
    for t in range(begin, end):
        constants[t - begin, 0], constants[t - begin, 1] = lvq8_constants(rows, t)


@kernel
def _best_codes(
    rows: Bytes,
    offsets: IntArray,
    vectors: CodePanels,
    longest: int,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    packed, sums, scales = vectors.packed, vectors.sums, vectors.scales
    width = out.shape[1]
    constants = np.empty((longest, 2), np.float32)
    for item in range(first, last):
        begin, end = offsets[item], offsets[item + 1]
        if begin == end:
            out[item] = 0
            continue
        _read_constants(rows, begin, end, constants)
        for p in range(0, len(packed), 2):
            sum_x, sum_y = load_floats(sums, p * LANES), load_floats(sums, (p + 1) * LANES)
            x = y = floats(np.float32(-np.inf))
            for t in range(begin, end, 4):
                a0, a1, a2, a3, b0, b1, b2, b3 = _codes_4x2(rows, t, end - 1, packed, p)
                c = t - begin
                c1, c2, c3 = min(c + 1, end - 1 - begin), min(c + 2, end - 1 - begin), min(c + 3, end - 1 - begin)
                x = maximum(x, _value(a0, constants, c, sum_x))
                y = maximum(y, _value(b0, constants, c, sum_y))
                x = maximum(x, _value(a1, constants, c1, sum_x))
                y = maximum(y, _value(b1, constants, c1, sum_y))
                x = maximum(x, _value(a2, constants, c2, sum_x))
                y = maximum(y, _value(b2, constants, c2, sum_y))
                x = maximum(x, _value(a3, constants, c3, sum_x))
                y = maximum(y, _value(b3, constants, c3, sum_y))
            store_floats(out, item * width + p * LANES, multiply(x, load_floats(scales, p * LANES)))
            store_floats(out, item * width + (p + 1) * LANES, multiply(y, load_floats(scales, (p + 1) * LANES)))


def best_code_products(rows: Bytes, offsets: IntArray, vectors: CodePanels) -> FloatArray:
    """`best_products` straight from LVQ-8 rows, `(t, dim + 4)` uint8, for vectors from `code_panels`.

    The products of codes are exact; what is left is float32 rounding.
    """
    rows, offsets = frozen(rows, np.uint8, 2), frozen(offsets, np.int64, 1)
    vectors = CodePanels(
        frozen(vectors.packed, np.int8, 3), frozen(vectors.sums, np.float32, 1), frozen(vectors.scales, np.float32, 1)
    )
    out = np.empty((len(offsets) - 1, len(vectors.scales)), np.float32)
    longest = int(np.diff(offsets).max(initial=1))
    in_threads(partial(_best_codes, rows, offsets, vectors, longest, out), offsets, vectors.packed.size // 4)
    return out


@kernel
def _means(vectors: FloatArray, offsets: IntArray, out: FloatArray, first: int, last: int) -> None:
    total = np.empty(vectors.shape[1], np.float64)
    for item in range(first, last):
        begin, end = offsets[item], offsets[item + 1]
        total[:] = 0
        for t in range(begin, end):
            for j in range(len(total)):
                total[j] += vectors[t, j]
        for j in range(len(total)):
            out[item, j] = total[j] / max(1, end - begin)


def means(vectors: FloatArray, offsets: IntArray) -> FloatArray:
    """`(n, dim)` float32 means of the tokens of items; zeros for one without."""
    vectors, offsets = frozen(vectors, np.float32, 2), frozen(offsets, np.int64, 1)
    out = np.empty((len(offsets) - 1, vectors.shape[1]), np.float32)
    in_threads(partial(_means, vectors, offsets, out), offsets, vectors.shape[1])
    return out


@kernel
def _code_means(rows: Bytes, offsets: IntArray, out: FloatArray, first: int, last: int) -> None:
    total = np.empty(out.shape[1], np.float64)
    for item in range(first, last):
        begin, end = offsets[item], offsets[item + 1]
        total[:] = 0
        for t in range(begin, end):
            lower, step = lvq8_constants(rows, t)
            for j in range(len(total)):
                total[j] += lower + step * np.float32(rows[t, j])
        for j in range(len(total)):
            out[item, j] = total[j] / max(1, end - begin)


def code_means(rows: Bytes, offsets: IntArray) -> FloatArray:
    """`means` of the vectors that LVQ-8 rows stand for."""
    rows, offsets = frozen(rows, np.uint8, 2), frozen(offsets, np.int64, 1)
    out = np.empty((len(offsets) - 1, rows.shape[1] - CONSTANT_BYTES), np.float32)
    in_threads(partial(_code_means, rows, offsets, out), offsets, out.shape[1])
    return out
