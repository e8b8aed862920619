"""Locally-adaptive vector quantization of single vectors, one and two levels (Aguerrebere et al., arXiv 2304.04759)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import FloatArray, IntArray
from ..encoders.errors import InvalidEmbeddingsError, InvalidInputError
from .kernels.half import HALF_MAX, half_above, half_below
from .kernels.queries import pack
from .kernels.rescore import FINE_LEVELS, rescore
from .kernels.rows import CONSTANT_BYTES, LVQ4, LVQ8, Bytes, decode, quantize
from .kernels.scan import Mask, lvq_scores, lvq_top

LAYOUTS = {4: LVQ4, 8: LVQ8}
BLOCK_BYTES = 1 << 22
"""Vectors quantized at a time, which bounds the temporary copies."""


MAX_DIM = {4: 1 << 23, 8: 1 << 19}
"""Dimensions up to which sums of products fit 32 bits without leaving queries too few levels."""


@dataclass(frozen=True, eq=False)
class LVQ:
    """Quantizer to 4 or 8 `bits` a dimension, relative to `mean`, `(dim,)` float32.

    A vector minus the mean becomes `lower + step * code` with its own `lower` and `step`: one row of
    `ceil(dim * bits / 8) + 4` bytes, `[codes][lower, half][step, half]`, in which two 4-bit codes share a byte as
    described in `kernels.rows`. Every coordinate is within `step / 2` of the original (and float32 rounding), because
    `lower` is rounded down and `step` up, so that the levels span the vector's range. Codes of 4 bits want coordinates
    of about equal spread: rotate the vectors at random first.
    """

    mean: FloatArray
    bits: int = 8

    def __post_init__(self) -> None:
        mean = np.asarray(self.mean)
        if mean.dtype.kind == "f":
            with np.errstate(over="ignore"):
                mean = mean.astype(np.float32, copy=False)
        if mean.ndim != 1 or not len(mean) or mean.dtype.kind != "f" or not np.isfinite(mean).all():
            raise InvalidInputError(f"an LVQ mean is (dim,) finite floats; got {mean.dtype} of shape {mean.shape}")
        if type(self.bits) is not int or self.bits not in LAYOUTS:
            raise InvalidInputError(f"LVQ has 4 or 8 bits a dimension; got {self.bits}")
        if len(mean) > MAX_DIM[self.bits]:
            raise InvalidInputError(
                f"LVQ of {self.bits} bits takes up to {MAX_DIM[self.bits]} dimensions; got {len(mean)}"
            )
        object.__setattr__(self, "mean", np.ascontiguousarray(mean, np.float32))

    @classmethod
    def fit(cls, vectors: FloatArray, bits: int = 8) -> Self:
        """The quantizer around the mean of `(n, dim)` vectors, n >= 1."""
        _check(vectors, np.shape(vectors)[-1])
        if not len(vectors):
            raise InvalidInputError("LVQ cannot be fitted to no vectors")
        return cls(vectors.mean(axis=0, dtype=np.float64).astype(np.float32), bits)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.mean)

    @property
    def width(self) -> int:
        """Bytes of one row."""
        return (self.dim * self.bits + 7) // 8 + CONSTANT_BYTES

    @property
    def levels(self) -> int:
        """Largest code."""
        return int(2**self.bits - 1)

    def encode(self, vectors: FloatArray) -> Bytes:
        """`(n, width)` uint8 rows of `(n, dim)` vectors, each independent of the others.

        Raises `InvalidEmbeddingsError` on another dimension, NaN, or a difference from the mean beyond 65,504.
        """
        _check(vectors, self.dim)
        rows = np.zeros((len(vectors), self.width), np.uint8)
        for part in _blocks(len(vectors), self.dim):
            self._encode_block(vectors[part], rows[part])
        return rows

    def _encode_block(self, vectors: FloatArray, rows: Bytes) -> FloatArray:
        """Fill the rows; returns the vectors minus the mean."""
        centred = np.asarray(vectors, np.float32)
        if self.mean.any():
            centred = centred - self.mean
        low, high = centred.min(axis=1), centred.max(axis=1)
        if not (max(-low.min(), high.max()) <= HALF_MAX):  # also true of NaN
            raise InvalidEmbeddingsError(f"vectors hold NaN or values beyond +-{HALF_MAX:.0f}: scale them down")
        lower = half_below(low)
        step = half_above((high.astype(np.float64) - lower) / self.levels)
        constants = np.stack([lower, step], axis=1).astype("<f2")
        rows[:, -CONSTANT_BYTES:] = constants.view(np.uint8)
        floats = constants.astype(np.float32)
        floats[step == 0, 1] = 1  # a constant vector: any step gives code 0
        quantize(centred, floats, rows, LAYOUTS[self.bits])
        return centred

    def decode(self, rows: Bytes) -> FloatArray:
        """`(n, dim)` float32 vectors that `(n, width)` rows stand for."""
        _check_rows(rows, self.width)
        vectors = decode(rows, self.dim, LAYOUTS[self.bits])
        if self.mean.any():
            vectors += self.mean
        return vectors

    def scores(self, queries: FloatArray, rows: Bytes, positions: IntArray | None = None) -> FloatArray:
        """Inner products of `(m, dim)` queries with the vectors of `(n, width)` rows, without decoding them.

        rows: may be a read-only memory map. positions: `(p,)` int64 rows to score; all when None.
        Returns `(m, n or p)` float32. In integers: the query is rounded first, every coordinate to about 1/250 of the
        largest beside codes of 4 bits and 1/64,000 beside codes of 8 (`kernels.queries`).
        Raises `InvalidInputError` on shapes that do not fit and positions outside, `InvalidEmbeddingsError` on queries
        that are not finite.
        """
        _check(queries, self.dim)
        _check_rows(rows, self.width)
        return lvq_scores(pack(queries, self.mean, self.bits), rows, self.bits, positions)

    def top(
        self,
        queries: FloatArray,
        rows: Bytes,
        k: int,
        positions: IntArray | None = None,
        allowed: Mask | None = None,
    ) -> tuple[IntArray, FloatArray]:
        """`(m, k)` int64 positions and float32 scores of the best rows, best first, equal scores in order of position.

        They are the first `k` of `scores` in that order, bit by bit, without the matrix. positions: `(p,)` int64 rows
        to choose from. allowed: `(n,)` bool, rows that may be found. Fewer than `k` leave -1 and -inf.
        Raises what `scores` does, and `InvalidInputError` on a negative `k` and a mask of another length.
        """
        _check(queries, self.dim)
        _check_rows(rows, self.width)
        if k < 0:
            raise InvalidInputError(f"k must not be negative; got {k}")
        return lvq_top(pack(queries, self.mean, self.bits), rows, self.bits, k, positions, allowed)

    def error_bound(self, rows: Bytes) -> FloatArray:
        """`(n,)` float32: the longest possible difference between a centred vector and what its row stands for.

        A coordinate is off by at most `step / 2` and float32 rounding: 2**-14 steps when the code is computed, 2**-24
        of the value when it is decoded.
        """
        _check_rows(rows, self.width)
        constants = _constants(rows)
        largest = np.abs(constants[:, 0]) + self.levels * constants[:, 1]
        coordinate = constants[:, 1] * np.float32(0.5 + 2.0**-14) + largest * np.float32(2.0**-24)
        bound: FloatArray = coordinate * np.float32(np.sqrt(self.dim))
        return bound

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Fitted arrays by name."""
        return {"mean": self.mean}

    @classmethod
    def from_params(cls, params: Mapping[str, npt.NDArray[Any]], bits: int = 8) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when the mean is missing or unusable."""
        if "mean" not in params:
            raise InvalidInputError(f"LVQ parameters need 'mean'; got {sorted(params)}")
        return cls(params["mean"], bits)


@dataclass(frozen=True, eq=False)
class TwoLevelLVQ:
    """LVQ-4x8: rows of `primary`, an LVQ of 4 bits, and beside them one byte a dimension for what those leave over.

    A scan reads the primary rows alone; `rescore` reads both for a few of them. A residual lies within `step / 2`, in
    255 steps: every coordinate is within `step / 510` of the original (and float32 rounding).
    """

    primary: LVQ

    def __post_init__(self) -> None:
        if self.primary.bits != 4:
            raise InvalidInputError(f"the first of two levels has 4 bits a dimension; got {self.primary.bits}")

    def encode(self, vectors: FloatArray) -> tuple[Bytes, Bytes]:
        """`(n, width)` primary rows and `(n, dim)` uint8 residual codes of `(n, dim)` vectors; see `LVQ.encode`."""
        dim = self.primary.dim
        _check(vectors, dim)
        primary = np.zeros((len(vectors), self.primary.width), np.uint8)
        secondary = np.empty((len(vectors), dim), np.uint8)
        for part in _blocks(len(vectors), dim):
            centred = self.primary._encode_block(vectors[part], primary[part])  # noqa: SLF001 - two levels, one file
            step = _constants(primary[part])[:, 1]
            fine = np.stack([step / -2, step / np.float32(FINE_LEVELS)], axis=1)
            fine[step == 0, 1] = 1  # a constant vector leaves nothing over
            quantize(centred - decode(primary[part], dim, LVQ4), fine, secondary[part])
        return primary, secondary

    def decode(self, primary: Bytes, secondary: Bytes) -> FloatArray:
        """`(n, dim)` float32 vectors that both levels together stand for."""
        self._check_levels(primary, secondary)
        vectors = self.primary.decode(primary)
        step = _constants(primary)[:, 1:]
        vectors += step / np.float32(FINE_LEVELS) * secondary - step / 2
        return vectors

    def rescore(self, queries: FloatArray, primary: Bytes, secondary: Bytes, positions: IntArray) -> FloatArray:
        """`(m, p)` float32 inner products of `(m, dim)` queries with both levels, each at its own `(m, p)` positions.

        The query is rounded as for codes of 8 bits. Raises `InvalidInputError` on shapes that do not fit and positions
        outside, `InvalidEmbeddingsError` on queries that are not finite.
        """
        _check(queries, self.primary.dim)
        self._check_levels(primary, secondary)
        if np.ndim(positions) != 2 or len(positions) != len(queries):
            raise InvalidInputError(f"positions have shape {np.shape(positions)}; expected ({len(queries)}, p)")
        return rescore(queries, self.primary.mean, primary, secondary, positions)

    def _check_levels(self, primary: Bytes, secondary: Bytes) -> None:
        _check_rows(primary, self.primary.width)
        _check_rows(secondary, self.primary.dim)
        if len(primary) != len(secondary):
            raise InvalidInputError(f"there are {len(primary)} primary rows and {len(secondary)} of residual codes")


def _constants(rows: Bytes) -> FloatArray:
    """`(n, 2)` float32 lower values and steps."""
    return np.ascontiguousarray(rows[:, -CONSTANT_BYTES:]).view("<f2").astype(np.float32)


def _blocks(count: int, dim: int) -> Iterator[slice]:
    """Consecutive ranges of vectors of about `BLOCK_BYTES`."""
    size = max(1, BLOCK_BYTES // (4 * dim))
    for start in range(0, count, size):
        yield slice(start, start + size)


def _check(vectors: FloatArray, dim: int) -> None:
    if np.ndim(vectors) != 2 or np.shape(vectors)[1] != dim or dim < 1:
        raise InvalidEmbeddingsError(f"vectors have shape {np.shape(vectors)}; expected (n, {dim})")


def _check_rows(rows: Bytes, width: int) -> None:
    if np.ndim(rows) != 2 or np.shape(rows)[1] != width:
        raise InvalidInputError(f"rows have shape {np.shape(rows)}; expected (n, {width}) bytes")
