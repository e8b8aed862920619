"""What codecs without fitted parameters share: rows that the kernels decode, scored by one MaxSim."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidEmbeddingsError, InvalidInputError
from ..kernels.maxsim import maxsim
from ..kernels.rows import decode
from .base import Codes, Params


class RowCodec(ABC):
    """A codec whose rows stand for vectors by themselves; subclasses name the layout and write the rows."""

    name: ClassVar[str]
    layout: ClassVar[int]
    """Row layout, a constant of `index.kernels.rows`."""
    fitted: ClassVar[bool] = False

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise InvalidInputError(f"token vectors need at least one dimension; got {dim}")
        self.dim = dim

    @classmethod
    def planned_bytes(cls, dim: int) -> int:
        """See `TokenCodec.planned_bytes`."""
        return cls(dim).bytes_per_token

    @property
    @abstractmethod
    def bytes_per_token(self) -> int:
        """Bytes of one row."""

    @abstractmethod
    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, bytes_per_token)` uint8 rows of `(t, dim)` float32 vectors."""

    @abstractmethod
    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32 bound on the error of an inner product with a unit vector."""

    @classmethod
    def fit(cls, sample: FloatArray) -> Self:
        """The codec for vectors of the dimension of `sample`, `(t, dim)`, whose values do not matter."""
        return cls(np.shape(sample)[1])

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing: there are no fitted arrays."""
        return {}

    @classmethod
    def from_params(cls, dim: int, params: Params) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when there are any."""
        if params:
            raise InvalidInputError(f"codec {cls.name} has no parameters; got {sorted(params)}")
        return cls(dim)

    def decode(self, codes: Codes) -> FloatArray:
        """`(t, dim)` float32 vectors that the rows stand for."""
        self._check_codes(codes)
        return decode(codes, self.dim, self.layout)

    def score(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """MaxSim over the decoded vectors; see `TokenCodec.score`."""
        self._check_vectors(queries.vectors)
        self._check_codes(codes)
        return maxsim(queries, codes, self.layout, offsets, positions)

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
        if np.ndim(vectors) != 2 or np.shape(vectors)[1] != self.dim:
            raise InvalidEmbeddingsError(f"vectors have shape {np.shape(vectors)}; expected (n, {self.dim})")

    def _check_codes(self, codes: Codes) -> None:
        if np.ndim(codes) != 2 or np.shape(codes)[1] != self.bytes_per_token:
            raise InvalidInputError(
                f"{self.name} rows have shape {np.shape(codes)}; expected (n, {self.bytes_per_token}) bytes"
            )
