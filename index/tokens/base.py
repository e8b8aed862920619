"""The contract of a token codec and the registry of the codecs there are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError

Codes = npt.NDArray[np.uint8]
Params = Mapping[str, npt.NDArray[Any]]


class TokenCodec(Protocol):
    """Turns token vectors into rows of bytes and scores them with MaxSim.

    Rows are independent of each other: they can be sliced, concatenated and memory-mapped, and a vector always
    becomes the same row whatever is encoded beside it.
    """

    name: ClassVar[str]
    fitted: ClassVar[bool]
    """Whether `fit` looks at the values of its sample, so that the codec suits vectors like those."""

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        ...

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
        ...

    @classmethod
    def planned_bytes(cls, dim: int) -> int:
        """Bytes of a row of `dim` dimensions in an index of many tokens; fitted to few, it may take fewer."""
        ...

    @classmethod
    def fit(cls, sample: FloatArray) -> Self:
        """A codec for vectors like `sample`, `(t, dim)` float32; only `dim` matters to codecs without parameters."""
        ...

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Fitted arrays, to be stored beside the codes."""
        ...

    @classmethod
    def from_params(cls, dim: int, params: Params) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when the arrays do not fit."""
        ...

    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, bytes_per_token)` uint8 rows of `(t, dim)` float32 vectors. Raises `InvalidEmbeddingsError`."""
        ...

    def decode(self, codes: Codes) -> FloatArray:
        """`(t, dim)` float32 vectors that the rows stand for."""
        ...

    def score(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """MaxSim of every query with every document over the decoded vectors, exactly.

        codes: `(T, bytes_per_token)` uint8, may be a read-only memory map. offsets: `(n + 1,)` int64; document `i` has
        the rows `offsets[i]:offsets[i + 1]`. positions: `(p,)` int64 documents to score; all when None.

        Returns `(len(queries), n or p)` float32. A document without tokens scores -inf, a query without tokens 0.
        """
        ...

    def estimate(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Cheaper scores, and how far `score` may be from each at most, rounding of both included.

        Arguments and shapes as in `score`. Whoever is above the k-th best by more than that cannot be missed, which
        makes the `k` best of `score` known from scoring few. A codec without a cheaper way returns `score` and zeros.
        """
        ...

    def coarse(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """The cheapest scores that rank nearly as `score` does, for a first level of codes; of no use by themselves."""
        ...

    def best_tokens(self, query: FloatArray, codes: Codes) -> tuple[IntArray, FloatArray]:
        """For each of the `(m, dim)` query vectors, the best row of one document and its inner product.

        Returns `(m,)` int64 and `(m,)` float32: -1 and -inf for a document without tokens.
        """
        ...

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32: no unit vector `q` has `|<q, x> - <q, decode(encode(x))>|` beyond this."""
        ...


_CODECS = {
    "fp16": ("fp16", "Fp16Codec"),
    "lvq8": ("lvq8", "Lvq8Codec"),
    "lvq4x4": ("lvq4x4", "Lvq4x4Codec"),
    "lvq4": ("lvq4", "Lvq4Codec"),
    "residual4": ("residual", "Residual4Codec"),
    "residual2": ("residual", "Residual2Codec"),
    "residual1": ("residual", "Residual1Codec"),
    "pq48": ("pq", "Pq48Codec"),
    "pq32": ("pq", "Pq32Codec"),
    "pq16": ("pq", "Pq16Codec"),
    "rabitq": ("rabitq", "RabitqCodec"),
    "sign": ("hamming", "SignCodec"),
    "patch512": ("patch", "Patch512Codec"),
    "patch256r2": ("patch", "Patch256R2Codec"),
    "patch256r1": ("patch", "Patch256R1Codec"),
    "patch256": ("patch", "Patch256Codec"),
}
"""Module and class of each codec, imported when it is asked for."""


def codec_names() -> list[str]:
    """Names of all codecs."""
    return list(_CODECS)


def codec(name: str) -> type[TokenCodec]:
    """The codec of that name. Raises `InvalidInputError` for an unknown one."""
    if name not in _CODECS:
        raise InvalidInputError(f"no token codec named {name!r:.40}; there are {', '.join(sorted(_CODECS))}")
    module, kind = _CODECS[name]
    found: type[TokenCodec] = getattr(import_module(f".{module}", __package__), kind)
    return found
