"""The contract of an encoding: many token vectors of an item become one vector."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ...encoders.embeddings import FloatArray, TokenEmbeddings


@runtime_checkable
class Encoding(Protocol):
    """Folds token vectors so that the inner product of a query and a document vector approximates MaxSim.

    The scale is free: only the order of the inner products of one query is meaningful. An item without tokens
    becomes the zero vector. Implementations are deterministic and safe to call from several threads.
    """

    @property
    def dim(self) -> int:
        """Number of dimensions of the token vectors that go in."""
        ...

    @property
    def output_dim(self) -> int:
        """Number of dimensions of the single vectors that come out."""
        ...

    def encode_documents(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), output_dim)` float32. Raises `InvalidEmbeddingsError` on another token dimension."""
        ...

    def encode_queries(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), output_dim)` float32. Raises `InvalidEmbeddingsError` on another token dimension."""
        ...
