"""What all codecs share: checks, and what follows from decoding and scoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidEmbeddingsError, InvalidInputError
from ..kernels.half import HALF_MAX
from .base import Codes


class Codec(ABC):
    """The part of `TokenCodec` that is the same for most codecs."""

    name: ClassVar[str]
    dim: int

    @property
    @abstractmethod
    def bytes_per_token(self) -> int:
        """Bytes of one row."""

    @abstractmethod
    def decode(self, codes: Codes) -> FloatArray:
        """`(t, dim)` float32 vectors that the rows stand for."""

    @abstractmethod
    def score(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """MaxSim over the decoded vectors; see `TokenCodec.score`."""

    def estimate(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """The scores, which are off by nothing; see `TokenCodec.estimate`."""
        scores = self.score(queries, codes, offsets, positions)
        return scores, np.zeros_like(scores)

    def coarse(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """The estimates; see `TokenCodec.coarse`."""
        return self.estimate(queries, codes, offsets, positions)[0]

    def best_tokens(self, query: FloatArray, codes: Codes) -> tuple[IntArray, FloatArray]:
        """Best row of one document for each query vector; see `TokenCodec.best_tokens`."""
        self._check_vectors(query)
        if not len(codes):
            return np.full(len(query), -1, np.int64), np.full(len(query), -np.inf, np.float32)
        similarities = np.asarray(query, np.float32) @ self.decode(codes).T
        best = similarities.argmax(axis=1)
        return best.astype(np.int64), np.take_along_axis(similarities, best[:, None], axis=1)[:, 0]

    def _check_vectors(self, vectors: FloatArray) -> None:
        check_vectors(vectors, self.dim)

    def _check_codes(self, codes: Codes) -> None:
        if np.ndim(codes) != 2 or np.shape(codes)[1] != self.bytes_per_token or codes.dtype != np.uint8:
            raise InvalidInputError(
                f"{self.name} rows have shape {np.shape(codes)}, dtype {np.asarray(codes).dtype}; "
                f"expected (n, {self.bytes_per_token}) bytes"
            )


def check_dim(dim: int) -> None:
    """Raise `InvalidInputError` for vectors without dimensions."""
    if dim < 1:
        raise InvalidInputError(f"token vectors need at least one dimension; got {dim}")


def check_vectors(vectors: FloatArray, dim: int) -> None:
    """Raise `InvalidEmbeddingsError` unless the shape is `(n, dim)`."""
    if np.ndim(vectors) != 2 or np.shape(vectors)[1] != dim:
        raise InvalidEmbeddingsError(f"vectors have shape {np.shape(vectors)}; expected (n, {dim})")


def check_values(vectors: FloatArray) -> None:
    """Raise `InvalidEmbeddingsError` on NaN and values beyond those of a half."""
    if not within(vectors, HALF_MAX):
        raise InvalidEmbeddingsError(f"vectors hold NaN or values beyond +-{HALF_MAX:.0f}: scale them down")


def within(values: FloatArray, limit: float) -> bool:
    """Whether no value is NaN or larger than `limit` in magnitude."""
    return bool(np.max(values, initial=0) <= limit and np.min(values, initial=0) >= -limit)  # NaN is not
