"""`TokenEmbeddings`: the one ragged array type that crosses every border of the package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import InvalidEmbeddingsError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenEmbeddings:
    """Token (or patch) vectors of `n` texts, as one flat array plus offsets.

    vectors: `(total, dim)` float32, C-contiguous; the vectors of item `i` are `vectors[offsets[i]:offsets[i + 1]]`.
    offsets: `(n + 1,)` int64, non-decreasing, from 0 to `total`.

    float16 and float64 vectors are converted to float32. Raises `InvalidEmbeddingsError` on a wrong shape, on
    offsets that do not cover the vectors and on NaN or infinite values.
    """

    vectors: FloatArray
    offsets: IntArray

    def __post_init__(self) -> None:
        vectors = _as_vectors(self.vectors)
        offsets = _as_offsets(self.offsets, len(vectors))
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "offsets", offsets)

    @classmethod
    def from_list(cls, items: Iterable[npt.ArrayLike], *, dim: int | None = None) -> TokenEmbeddings:
        """Pack a list of `(n_i, dim)` arrays. `dim` is needed only when the list is empty."""
        arrays = [_as_float32(item, i) for i, item in enumerate(items)]
        for i, array in enumerate(arrays):
            if array.ndim != 2:
                raise InvalidEmbeddingsError(f"item {i} has shape {array.shape}; expected (tokens, dim)")
            if array.shape[1] != arrays[0].shape[1]:
                raise InvalidEmbeddingsError(
                    f"item {i} has {array.shape[1]} dimensions but item 0 has {arrays[0].shape[1]}"
                )
        if not arrays:
            return cls(np.empty((0, dim or 0), np.float32), np.zeros(1, np.int64))
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype(np.int64)
        return cls(np.concatenate(arrays), offsets)

    @classmethod
    def concatenate(cls, parts: Sequence[TokenEmbeddings]) -> TokenEmbeddings:
        """Join several ragged arrays of one dimension, in order. Raises `ValueError` on an empty sequence."""
        if not parts:
            raise ValueError("nothing to concatenate")
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(np.concatenate([part.vectors for part in parts]), offsets)

    @property
    def dim(self) -> int:
        """Number of dimensions of each vector."""
        return int(self.vectors.shape[1])

    @property
    def lengths(self) -> IntArray:
        """`(n,)` int64: number of vectors of each item."""
        return np.diff(self.offsets)

    def take(self, rows: npt.ArrayLike) -> TokenEmbeddings:
        """Items `rows` (`(k,)` integers), in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenEmbeddings(self.vectors[source], offsets)

    def leading(self, dim: int) -> TokenEmbeddings:
        """The leading `dim` dimensions of each vector, rescaled to the length it had; all of them are itself."""
        if dim >= self.dim:
            return self
        vectors = np.ascontiguousarray(self.vectors[:, :dim])
        had, has = (np.sqrt(np.einsum("ij,ij->i", rows, rows)) for rows in (self.vectors, vectors))
        vectors *= (had / np.maximum(has, np.finfo(np.float32).tiny))[:, None]
        return TokenEmbeddings(vectors, self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, item: int) -> FloatArray:
        """Vectors of one item, `(n_i, dim)` float32, as a view."""
        if not -len(self) <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        item %= len(self)
        return self.vectors[self.offsets[item] : self.offsets[item + 1]]

    def __iter__(self) -> Iterator[FloatArray]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"TokenEmbeddings(items={len(self)}, vectors={len(self.vectors)}, dim={self.dim})"


def _as_float32(value: npt.ArrayLike, item: int) -> FloatArray:
    try:
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused as such
            return np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidEmbeddingsError(f"item {item} is no (tokens, dim) array of numbers: {error}") from None


def _as_vectors(value: npt.ArrayLike) -> FloatArray:
    array = np.asarray(value)
    if array.ndim != 2:
        raise InvalidEmbeddingsError(f"vectors have shape {array.shape}; expected (total, dim)")
    if array.dtype.kind != "f":
        raise InvalidEmbeddingsError(f"vectors have dtype {array.dtype}; expected a float type")
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InvalidEmbeddingsError(f"vector {row} holds NaN or infinite values (or overflows float32)")
    return vectors


def _as_offsets(value: npt.ArrayLike, total: int) -> IntArray:
    array = np.asarray(value)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iu":
        raise InvalidEmbeddingsError(
            f"offsets have shape {array.shape} and dtype {array.dtype}; expected (n + 1,) integers"
        )
    offsets = np.ascontiguousarray(array, dtype=np.int64)
    if offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
        raise InvalidEmbeddingsError(
            f"offsets must rise from 0 to {total}, the number of vectors; got {offsets[0]} to {offsets[-1]}"
        )
    return offsets
