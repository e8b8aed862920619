"""What codecs without fitted parameters share: rows that the kernels decode, scored by one MaxSim."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from ..kernels.maxsim import maxsim
from ..kernels.rows import decode
from .base import Codes, Params
from .common import Codec, check_dim


class RowCodec(Codec):
    """A codec whose rows stand for vectors by themselves; subclasses name the layout and write the rows."""

    layout: ClassVar[int]
    """Row layout, a constant of `index.kernels.rows`."""
    fitted: ClassVar[bool] = False

    def __init__(self, dim: int) -> None:
        check_dim(dim)
        self.dim = dim

    @classmethod
    def planned_bytes(cls, dim: int) -> int:
        """See `TokenCodec.planned_bytes`."""
        return cls(dim).bytes_per_token

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
