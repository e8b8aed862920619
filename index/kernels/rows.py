"""Stored rows to float32 and back: LVQ-8, LVQ-4, LVQ-4x4 and half precision.

An LVQ row is `[codes][lower, half][step, half]` and stands for `lower + step * code`; constants are little-endian. A
code of LVQ-8 is a byte. The `(dim + 1) // 2` bytes of LVQ-4 have the first half of the dimensions in their lower four
bits, in order, and the second half in their upper four, so that no product of vectors needs to sort them apart. A row
of LVQ-4x4 is a row of LVQ-4 followed by residual codes in the same order, and stands for
`lower - step / 2 + step / 15 * (15 * code + residual)`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray
from .half import half_to_float
from .jit import frozen, in_threads, inlined, kernel

Bytes = npt.NDArray[np.uint8]

LVQ8 = 0
FP16 = 1
LVQ4 = 2
LVQ4X4 = 3
CONSTANT_BYTES = 4
"""Bytes of the constants of an LVQ row."""


@inlined
def lvq8_constants(rows: Bytes, t: int) -> tuple[np.float32, np.float32]:
    """Lower value and step of row `t`."""
    end = rows.shape[1]
    lower = half_to_float(rows[t, end - 4], rows[t, end - 3])
    step = half_to_float(rows[t, end - 2], rows[t, end - 1])
    return lower, step


@inlined
def _decode_nibbles(rows: Bytes, t: int, out: FloatArray) -> None:
    """Row `t` of LVQ-4."""
    half = (len(out) + 1) // 2
    lower, step = lvq8_constants(rows, t)
    for j in range(half):
        out[j] = lower + step * np.float32(rows[t, j] & np.uint8(15))
    for j in range(half, len(out)):
        out[j] = lower + step * np.float32(rows[t, j - half] >> np.uint8(4))


@inlined
def _decode_both(rows: Bytes, t: int, out: FloatArray) -> None:
    """Both levels of row `t` of LVQ-4x4."""
    half = (len(out) + 1) // 2
    beside = half + CONSTANT_BYTES
    step = half_to_float(rows[t, half + 2], rows[t, half + 3])
    lower = half_to_float(rows[t, half], rows[t, half + 1]) - np.float32(0.5) * step
    fine = step * np.float32(1 / 15)
    for j in range(half):
        code = np.uint8(15) * np.uint8(rows[t, j] & np.uint8(15)) + np.uint8(rows[t, beside + j] & np.uint8(15))
        out[j] = lower + fine * np.float32(code)
    for j in range(len(out) - half):
        code = np.uint8(15) * np.uint8(rows[t, j] >> np.uint8(4)) + np.uint8(rows[t, beside + j] >> np.uint8(4))
        out[half + j] = lower + fine * np.float32(code)


@inlined
def decode_tile(rows: Bytes, start: int, stop: int, layout: int, out: FloatArray) -> None:
    """Decode rows `start` to `stop` into the first rows of `out`, `(stop - start or more, dim)` float32."""
    dim = out.shape[1]
    if layout == LVQ8:
        for t in range(start, stop):
            lower, step = lvq8_constants(rows, t)
            for j in range(dim):
                out[t - start, j] = lower + step * np.float32(rows[t, j])
    elif layout == LVQ4:
        for t in range(start, stop):
            _decode_nibbles(rows, t, out[t - start])
    elif layout == LVQ4X4:
        for t in range(start, stop):
            _decode_both(rows, t, out[t - start])
    else:
        for t in range(start, stop):
            for j in range(dim):
                out[t - start, j] = half_to_float(rows[t, 2 * j], rows[t, 2 * j + 1])


@kernel
def _decode(rows: Bytes, start: int, stop: int, layout: int, out: FloatArray) -> None:
    decode_tile(rows, start, stop, layout, out[start:])


def decode(rows: Bytes, dim: int, layout: int) -> FloatArray:
    """`(t, dim)` float32 of `(t, width)` uint8 rows in a layout named above."""
    rows = frozen(rows, np.uint8, 2)
    out = np.empty((len(rows), dim), np.float32)
    in_threads(lambda start, stop: _decode(rows, start, stop, layout, out), len(rows), dim)
    return out


@inlined
def _code(value: np.float32, lower: np.float32, step: np.float32, largest: int) -> np.uint8:
    level = (value - lower) / step + np.float32(0.5)
    return np.uint8(np.int32(min(level, np.float32(largest))))


@kernel
def _quantize(vectors: FloatArray, constants: FloatArray, layout: int, start: int, stop: int, out: Bytes) -> None:
    dim = vectors.shape[1]
    half = (dim + 1) // 2
    for i in range(start, stop):
        lower = constants[i, 0]
        step = constants[i, 1]
        if layout == LVQ8:
            for j in range(dim):
                out[i, j] = _code(vectors[i, j], lower, step, 255)
        else:
            for j in range(half):
                out[i, j] = _code(vectors[i, j], lower, step, 15)
            for j in range(half, dim):
                out[i, j - half] |= np.uint8(_code(vectors[i, j], lower, step, 15) << np.uint8(4))


def quantize(vectors: FloatArray, constants: FloatArray, out: Bytes, layout: int = LVQ8) -> None:
    """Write the nearest codes of `(n, dim)` vectors to the first bytes of the `(n, width)` rows `out`.

    constants: `(n, 2)` float32 lower values, which are not above any element, and steps, which are positive.
    layout: `LVQ8` or `LVQ4`.
    """
    vectors = frozen(vectors, np.float32, 2)
    constants = frozen(constants, np.float32, 2)
    in_threads(
        lambda start, stop: _quantize(vectors, constants, layout, start, stop, out), len(vectors), vectors.shape[1]
    )
