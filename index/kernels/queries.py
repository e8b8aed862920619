"""Queries as signed bytes, laid out for the products of `blocks`.

A query `q` becomes `scale * coarse + fine_scale * fine` with integers from -127 to 127: `coarse` is `q / scale`
rounded, halves to even, where the scale is the largest magnitude over 127; `fine` is the same of what remains. One such
plane is precise enough beside codes of 4 bits, two beside codes of 8. Scores are inner products of that query, but with
the mean those of the query itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...encoders.embeddings import FloatArray
from ...encoders.errors import InvalidEmbeddingsError
from .int8 import BYTES, SIGNED_MAX, Signed
from .jit import frozen, inlined, kernel


class Weights(NamedTuple):
    """Queries ready for a scan.

    codes: `(m, chunks * 128)` int8, `[chunk][2][64]`; the two are planes for rows of bytes, and for rows of nibbles the
    dimensions of the lower and of the upper ones. constants: `(m, 4)` float32: scale, fine scale, sum of the quantized
    query, product with the mean.
    """

    codes: Signed
    constants: FloatArray

    def groups(self, size: int) -> Iterator[tuple[int, Weights]]:
        """`size` queries at a time, at least one, with the number of the first."""
        for first in range(0, len(self.codes), max(1, size)):
            part = slice(first, first + max(1, size))
            yield first, Weights(self.codes[part], self.constants[part])


@inlined
def _quantize_plane(rest: FloatArray, limit: int, codes: Signed) -> np.float32:
    """Quantize `rest`, leave in it what remains, and return the scale."""
    largest = np.float32(0)
    for j in range(len(rest)):
        largest = max(largest, abs(rest[j]))
    scale = np.float32(largest / np.float32(limit))
    if scale == 0:
        codes[:] = 0
        return scale
    for j in range(len(rest)):
        code = min(max(np.rint(rest[j] / scale), np.float32(-limit)), np.float32(limit))
        codes[j] = np.int8(code)
        rest[j] -= scale * code
    return scale


@kernel
def _quantize_queries(queries: FloatArray, mean: FloatArray, limit: int, codes: Signed, constants: FloatArray) -> bool:
    """Fill `(planes, m, dim)` codes and `(m, 4)` constants. False if a query is not finite."""
    rest = np.empty(queries.shape[1], np.float32)
    for i in range(len(queries)):
        bias = size = 0.0
        for j in range(len(rest)):
            rest[j] = queries[i, j]
            bias += queries[i, j] * float(mean[j])
            size += abs(queries[i, j])
        if not np.isfinite(size):
            return False
        total = 0.0
        for plane in range(len(codes)):
            scale = _quantize_plane(rest, limit, codes[plane, i])
            constants[i, plane] = scale
            count = 0
            for j in range(len(rest)):
                count += codes[plane, i, j]
            total += float(scale) * count
        constants[i, 2] = total
        constants[i, 3] = bias + 0.0  # never -0, so that no score is
    return True


def quantize_queries(queries: FloatArray, mean: FloatArray, planes: int, code_max: int) -> tuple[Signed, FloatArray]:
    """`(planes, m, dim)` int8 codes and the constants of `Weights`, of `(m, dim)` queries.

    code_max: largest code of the rows; from 66,000 dimensions of bytes on, fewer signed levels keep sums within int32.
    Raises `InvalidEmbeddingsError` on NaN and infinite values.
    """
    queries = frozen(queries, np.float32, 2)
    count, dim = queries.shape
    limit = min(SIGNED_MAX, (2**31 - 1) // (code_max * dim))
    codes, constants = np.empty((planes, count, dim), np.int8), np.zeros((count, 4), np.float32)
    if not _quantize_queries(queries, frozen(mean, np.float32, 1), limit, codes, constants):
        raise InvalidEmbeddingsError("queries hold NaN or infinite values")
    constants.flags.writeable = False
    return codes, constants


def for_bytes(codes: Signed) -> Signed:
    """`(m, chunks * 128)` int8 weights of two planes for rows of one byte a dimension."""
    planes, count, dim = codes.shape
    padded = np.zeros((count, planes, -(-dim // BYTES) * BYTES), np.int8)
    padded[:, :, :dim] = codes.transpose(1, 0, 2)
    return _by_chunk(padded)


def for_nibbles(codes: Signed) -> Signed:
    """`(m, chunks * 128)` int8 weights of one plane, `(m, dim)`, for rows of two dimensions a byte."""
    count, dim = codes.shape
    half = -(-dim // 2)
    padded = np.zeros((count, 2, -(-half // BYTES) * BYTES), np.int8)
    padded[:, 0, :half] = codes[:, :half]
    padded[:, 1, : dim - half] = codes[:, half:]
    return _by_chunk(padded)


def _by_chunk(padded: Signed) -> Signed:
    count, two, width = padded.shape
    weights = padded.reshape(count, two, width // BYTES, BYTES).swapaxes(1, 2).reshape(count, two * width)
    weights.flags.writeable = False
    return weights


def pack(queries: FloatArray, mean: FloatArray, bits: int) -> Weights:
    """`(m, dim)` queries for a scan of rows with codes of `bits`, 4 or 8, relative to `mean`.

    Raises `InvalidEmbeddingsError` on NaN and infinite values.
    """
    codes, constants = quantize_queries(queries, mean, bits // 4, 2**bits - 1)
    return Weights(for_bytes(codes) if bits == 8 else for_nibbles(codes[0]), constants)
