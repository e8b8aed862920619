"""LVQ-8: locally-adaptive vector quantization of single vectors (Aguerrebere et al., arXiv 2304.04759)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import FloatArray, IntArray
from ..encoders.errors import InvalidEmbeddingsError, InvalidInputError
from .kernels.half import HALF_MAX, half_above, half_below
from .kernels.rows import CONSTANT_BYTES, LVQ8, Bytes, decode, quantize
from .kernels.scan import lvq8_scores

LEVELS = 255
BLOCK_BYTES = 1 << 22
"""Vectors quantized at a time, which bounds the temporary copies."""


@dataclass(frozen=True, eq=False)
class LVQ:
    """Quantizer to one byte per dimension, relative to `mean`, `(dim,)` float32.

    A vector minus the mean becomes `lower + step * code` with its own `lower` and `step`: one row of `dim + 4` bytes,
    `[codes][lower, half][step, half]`. Every coordinate is within `step / 2` of the original (and float32 rounding),
    because `lower` is rounded down and `step` up, so that the levels span the vector's range.
    """

    mean: FloatArray

    def __post_init__(self) -> None:
        mean = np.asarray(self.mean)
        if mean.ndim != 1 or not len(mean) or mean.dtype.kind != "f" or not np.isfinite(mean).all():
            raise InvalidInputError(f"an LVQ mean is (dim,) finite floats; got {mean.dtype} of shape {mean.shape}")
        object.__setattr__(self, "mean", np.ascontiguousarray(mean, np.float32))

    @classmethod
    def fit(cls, vectors: FloatArray) -> Self:
        """The quantizer around the mean of `(n, dim)` vectors, n >= 1."""
        _check(vectors, np.shape(vectors)[-1])
        if not len(vectors):
            raise InvalidInputError("LVQ cannot be fitted to no vectors")
        return cls(vectors.mean(axis=0, dtype=np.float64).astype(np.float32))

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.mean)

    @property
    def width(self) -> int:
        """Bytes of one row."""
        return self.dim + CONSTANT_BYTES

    def encode(self, vectors: FloatArray) -> Bytes:
        """`(n, width)` uint8 rows of `(n, dim)` vectors, each independent of the others.

        Raises `InvalidEmbeddingsError` on another dimension, NaN, or a difference from the mean beyond 65,504.
        """
        _check(vectors, self.dim)
        rows = np.empty((len(vectors), self.width), np.uint8)
        block = max(1, BLOCK_BYTES // (4 * self.dim))
        for start in range(0, len(vectors), block):
            self._encode_block(vectors[start : start + block], rows[start : start + block])
        return rows

    def _encode_block(self, vectors: FloatArray, rows: Bytes) -> None:
        centred = np.asarray(vectors, np.float32)
        if self.mean.any():
            centred = centred - self.mean
        low, high = centred.min(axis=1), centred.max(axis=1)
        if not (max(-low.min(), high.max()) <= HALF_MAX):  # also true of NaN
            raise InvalidEmbeddingsError(f"vectors hold NaN or values beyond +-{HALF_MAX:.0f}: scale them down")
        lower = half_below(low)
        step = half_above((high.astype(np.float64) - lower) / LEVELS)
        constants = np.stack([lower, step], axis=1).astype("<f2")
        rows[:, self.dim :] = constants.view(np.uint8)
        floats = constants.astype(np.float32)
        floats[step == 0, 1] = 1  # a constant vector: any step gives code 0
        quantize(centred, floats, rows)

    def decode(self, rows: Bytes) -> FloatArray:
        """`(n, dim)` float32 vectors that `(n, width)` rows stand for."""
        _check_rows(rows, self.width)
        vectors = decode(rows, self.dim, LVQ8)
        if self.mean.any():
            vectors += self.mean
        return vectors

    def scores(self, queries: FloatArray, rows: Bytes, positions: IntArray | None = None) -> FloatArray:
        """Inner products of `(m, dim)` queries with the vectors of `(n, width)` rows, without decoding them.

        rows: may be a read-only memory map. positions: `(p,)` int64 rows to score; all when None.
        Returns `(m, n or p)` float32. Raises `InvalidInputError` on shapes that do not fit and positions outside.
        """
        _check(queries, self.dim)
        _check_rows(rows, self.width)
        return lvq8_scores(queries, self.mean, rows, positions)

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Fitted arrays by name."""
        return {"mean": self.mean}

    @classmethod
    def from_params(cls, params: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when the mean is missing or unusable."""
        if "mean" not in params:
            raise InvalidInputError(f"LVQ parameters need 'mean'; got {sorted(params)}")
        return cls(params["mean"])


def error_bound(rows: Bytes) -> FloatArray:
    """`(n,)` float32: the longest possible difference between a centred vector and what its row stands for.

    A coordinate is off by at most `step / 2` and float32 rounding: 2**-14 steps when the code is computed, 2**-24 of
    the value when it is decoded.
    """
    dim = rows.shape[1] - CONSTANT_BYTES
    constants = np.ascontiguousarray(rows[:, dim:]).view("<f2").astype(np.float32)
    largest = np.abs(constants[:, 0]) + LEVELS * constants[:, 1]
    coordinate = constants[:, 1] * np.float32(0.5 + 2.0**-14) + largest * np.float32(2.0**-24)
    return coordinate * np.float32(np.sqrt(dim))


def _check(vectors: FloatArray, dim: int) -> None:
    if np.ndim(vectors) != 2 or np.shape(vectors)[1] != dim or dim < 1:
        raise InvalidEmbeddingsError(f"vectors have shape {np.shape(vectors)}; expected (n, {dim})")


def _check_rows(rows: Bytes, width: int) -> None:
    if np.ndim(rows) != 2 or np.shape(rows)[1] != width:
        raise InvalidInputError(f"rows have shape {np.shape(rows)}; expected (n, {width}) bytes")
