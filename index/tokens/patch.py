"""Patch codes: a token as the number of its nearest centroid, and of those of what remains (HPC-ColPali, 2506.21601).

One codebook for all tokens, by spherical k-means: one byte a token up to 256 centroids, two up to 512. `patch256r1` and
`patch256r2` take plain k-means, and again of what remains, a byte each; the entries are added. Scores come from a table
of products of the query with all entries. On vectors that were not trained for it, one byte loses a large part of the
ranking: measure before use.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from ..clustering import nearest
from ..kernels.half import HALF_MAX
from ..kernels.patches import patch_scores
from .base import Codes, Params
from .codebooks import codebook
from .common import Codec, check_dim, check_values, within
from .ordering import order_codes

SAMPLE_PER_ENTRY = 256
"""Sample vectors that a centroid is fitted to, at most."""


class PatchCodec(Codec):
    """Codes of `books` codebooks of up to `entries` vectors each.

    codebooks: for each, `(K, dim)` float32, 1 <= K <= entries. A code without an entry stands for a vector of zeros.
    Vectors are coded by the nearest entry (for vectors and entries of unit length, the one with the largest cosine),
    then what remains by the nearest entry of the next book. Ids of a single book are ordered: near ids differ in few
    bits (`order_codes`).
    """

    name: ClassVar[str]
    entries: ClassVar[int] = 256
    books: ClassVar[int] = 1
    fitted: ClassVar[bool] = True

    def __init__(self, codebooks: list[FloatArray]) -> None:
        self.dim = codebooks[0].shape[1]
        self._sizes = [len(book) for book in codebooks]
        self._entries = np.zeros((self.books, self.entries, self.dim), np.float32)
        for i, book in enumerate(codebooks):
            self._entries[i, : len(book)] = book
        self._entries.flags.writeable = False

    @classmethod
    def planned_bytes(cls, dim: int) -> int:
        """See `TokenCodec.planned_bytes`."""
        del dim
        return 2 if cls.entries > 256 else cls.books

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
        return self.planned_bytes(self.dim)

    @classmethod
    def fit(cls, sample: FloatArray) -> Self:
        """Codebooks for vectors like `sample`, `(t, dim)` float32, of which a bounded part is used.

        Vectors that are equal need one entry: with no more than `entries` different ones, codes are exact.
        Raises `InvalidEmbeddingsError` on values beyond +-65,504 and NaN.
        """
        check_values(sample)
        rest = _spread(np.ascontiguousarray(sample, np.float32), cls.entries * SAMPLE_PER_ENTRY)
        made: list[FloatArray] = []
        for _ in range(cls.books):
            book = codebook(rest, cls.entries, spherical=cls.books == 1)
            if cls.books == 1:
                book = np.ascontiguousarray(book[order_codes(book)])
            made.append(book)
            rest = rest - book[nearest(rest, book)]
        return cls(made)

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """`codebook0`, and so on: `(K, dim)` float32."""
        return {f"codebook{i}": self._entries[i, :size] for i, size in enumerate(self._sizes)}

    @classmethod
    def from_params(cls, dim: int, params: Params) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when the arrays do not fit."""
        check_dim(dim)
        expected = [f"codebook{i}" for i in range(cls.books)]
        if sorted(params) != expected:
            raise InvalidInputError(f"codec {cls.name} has the parameters {expected}; got {sorted(params)}")
        books = []
        for name in expected:
            book = np.asarray(params[name])
            if book.dtype != np.float32 or book.ndim != 2 or book.shape[1] != dim or not 1 <= len(book) <= cls.entries:
                raise InvalidInputError(
                    f"{name} is {book.dtype} of shape {book.shape}; expected float32 (1 to {cls.entries}, {dim})"
                )
            if not within(book, 2 * HALF_MAX):
                raise InvalidInputError(f"{name} holds NaN or values beyond +-{2 * HALF_MAX:.0f}")
            books.append(book)
        return cls(books)

    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, bytes_per_token)` uint8 rows. Raises `InvalidEmbeddingsError` on values beyond +-65,504 and NaN."""
        self._check_vectors(vectors)
        check_values(vectors)
        codes = np.empty((len(vectors), self.books), "<u2" if self.entries > 256 else np.uint8)
        rest = np.ascontiguousarray(vectors, np.float32)
        for i, size in enumerate(self._sizes):
            book = self._entries[i, :size]
            chosen = nearest(rest, book)
            codes[:, i] = chosen
            if i + 1 < self.books:
                rest = rest - book[chosen]
        return codes.view(np.uint8)

    def decode(self, codes: Codes) -> FloatArray:
        """`(t, dim)` float32 vectors that the rows stand for."""
        ids = self.ids(codes)
        vectors: FloatArray = self._entries[0][ids]
        for i in range(1, self.books):
            vectors += self._entries[i][codes[:, i]]
        return vectors

    def ids(self, codes: Codes) -> IntArray:
        """`(t,)` int64 numbers of the centroids, below `entries` whatever the rows hold."""
        self._check_codes(codes)
        ids = codes[:, 0].astype(np.int64)
        if self.entries > 256:
            ids |= codes[:, 1].astype(np.int64) << 8
        return ids & (self.entries - 1)

    def score(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """MaxSim over the decoded vectors; see `TokenCodec.score`."""
        self._check_vectors(queries.vectors)
        self._check_codes(codes)
        return patch_scores(queries, self._entries, codes, offsets, positions)

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32 infinities: a code says which entry is nearest, and nothing of how far the vector is from it.

        Any finite bound would be the diameter of all vectors that may ever be added.
        """
        self._check_codes(codes)
        return np.full(len(codes), np.inf, np.float32)


class Patch256Codec(PatchCodec):
    """One byte a token."""

    name = "patch256"


class Patch512Codec(PatchCodec):
    """Two bytes a token, of which nine bits count: rows are whole bytes, so that they can be sliced."""

    name = "patch512"
    entries = 512


class Patch256R1Codec(PatchCodec):
    """A byte and one of the residual."""

    name = "patch256r1"
    books = 2


class Patch256R2Codec(PatchCodec):
    """A byte and two of the residual."""

    name = "patch256r2"
    books = 3


def unique_codes(codes: Codes, offsets: IntArray) -> tuple[Codes, IntArray, IntArray]:
    """Each document's different rows in ascending order of their bytes, the last byte first; offsets; how often each.

    MaxSim over them is identical to that over all rows of the document. codes: `(T, width)` uint8, width at most 3.
    Returns `(t, width)` uint8, `(n + 1,)` int64 and `(t,)` int64. Raises `InvalidInputError` on offsets that do not
    cover the rows.
    """
    lengths = _lengths(offsets, len(codes))
    width = codes.shape[1]
    if width > 3:
        raise InvalidInputError(f"rows have {width} bytes; those of patch codes have up to 3")
    keys = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths) << (8 * width)
    for byte in range(width):
        keys |= codes[:, byte].astype(np.int64) << (8 * byte)
    keys, counts = np.unique(keys, return_counts=True)
    shifts = 8 * np.arange(width)
    rows = (keys[:, None] >> shifts & 255).astype(np.uint8)
    starts = np.searchsorted(keys, np.arange(len(lengths) + 1, dtype=np.int64) << (8 * width))
    return rows, starts.astype(np.int64), counts.astype(np.int64)


def _spread(sample: FloatArray, most: int) -> FloatArray:
    """At most so many vectors, evenly from the whole sample."""
    if len(sample) <= most:
        return sample
    return np.ascontiguousarray(sample[np.arange(most) * len(sample) // most])


def _lengths(offsets: IntArray, total: int) -> IntArray:
    lengths = np.diff(offsets)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != total or (lengths < 0).any():
        raise InvalidInputError(f"document offsets must rise from 0 to the {total} token rows there are")
    return lengths
