"""The contract of a token codec and the registry of the codecs there are."""

from __future__ import annotations

from collections.abc import Mapping
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

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        ...

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
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

    def best_tokens(self, query: FloatArray, codes: Codes) -> tuple[IntArray, FloatArray]:
        """For each of the `(m, dim)` query vectors, the best row of one document and its inner product.

        Returns `(m,)` int64 and `(m,)` float32: -1 and -inf for a document without tokens.
        """
        ...

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32: no unit vector `q` has `|<q, x> - <q, decode(encode(x))>|` beyond this."""
        ...


def codec(name: str) -> type[TokenCodec]:
    """The codec of that name. Raises `InvalidInputError` for an unknown one."""
    from .fp16 import Fp16Codec
    from .lvq8 import Lvq8Codec

    codecs: dict[str, type[TokenCodec]] = {"fp16": Fp16Codec, "lvq8": Lvq8Codec}
    if name not in codecs:
        raise InvalidInputError(f"no token codec named {name!r}; there are {', '.join(sorted(codecs))}")
    return codecs[name]
