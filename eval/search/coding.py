"""Documents in the codes of a token codec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import process_time
from typing import Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...index.tokens.base import Codes, TokenCodec, codec
from ..vectors import Vectors

SAMPLE: Final = 200_000
"""Token vectors that a codec is fitted to."""


@dataclass(frozen=True, eq=False)
class Coded:
    """Codes of documents; seconds are of CPU."""

    codec: TokenCodec
    codes: Codes
    offsets: IntArray
    fit_seconds: float
    encode_seconds: float

    @property
    def bytes_per_token(self) -> int:
        """Bytes of a code."""
        return self.codec.bytes_per_token


def encoded(name: str, documents: Vectors | TokenEmbeddings, dim: int | None = None) -> Coded:
    """Fit a codec to a sample of documents and encode them all, a block at a time.

    dim: leading dimensions to keep, rescaled to length 1; all when None. Raises `InvalidInputError` for an unknown
    codec.
    """
    kind = codec(name)
    size = min(dim or documents.dim, documents.dim)
    sample = _sample(documents, size)
    start = process_time()
    fitted = kind.fit(sample)
    seconds = process_time() - start
    offsets = documents.offsets
    codes = np.empty((int(offsets[-1]), fitted.bytes_per_token), np.uint8)
    spent, done = 0.0, 0
    for block in _blocks(documents):
        vectors = block.leading(size).vectors
        start = process_time()
        codes[done : done + len(vectors)] = fitted.encode(vectors)
        spent += process_time() - start
        done += len(vectors)
    return Coded(fitted, codes, offsets, seconds, spent)


def _blocks(documents: Vectors | TokenEmbeddings) -> Iterable[TokenEmbeddings]:
    return (documents,) if isinstance(documents, TokenEmbeddings) else documents.blocks()


def _sample(documents: Vectors | TokenEmbeddings, dim: int) -> FloatArray:
    """Every so many vectors of all documents, so that they are `SAMPLE` at most."""
    step = max(1, -(-int(documents.offsets[-1]) // SAMPLE))
    parts = []
    for block in _blocks(documents):
        kept = np.ascontiguousarray(block.vectors[::step])
        parts.append(TokenEmbeddings(kept, np.array([0, len(kept)])).leading(dim).vectors)
    return np.concatenate(parts)
