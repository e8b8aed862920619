"""Token vectors in a request: rows of numbers, or the same as packed float32, which is far quicker to read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ...encoders.embeddings import FloatArray, TokenEmbeddings
from ...encoders.errors import InvalidEmbeddingsError

MAX_DIM = 8_192
MAX_COMPONENT = 1e6
"""Largest magnitude in a vector; keeps every inner product far inside float32."""

Component = Annotated[float, Field(ge=-MAX_COMPONENT, le=MAX_COMPONENT)]
Vector = Annotated[list[Component], Field(min_length=1, max_length=MAX_DIM)]
Rows = Annotated[list[Vector], Field(min_length=1)]


class PackedVectors(BaseModel):
    """Vectors as base64 of little-endian float32, row after row."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    float32: str = Field(min_length=1, description="base64 of tokens x dim little-endian float32")
    dim: int = Field(ge=1, le=MAX_DIM)


def _form(value: object) -> str:
    return "packed" if isinstance(value, dict | PackedVectors) else "rows"


ItemVectors = Annotated[Annotated[Rows, Tag("rows")] | Annotated[PackedVectors, Tag("packed")], Discriminator(_form)]
"""The token vectors of one query or document: tokens x dimensions."""


def holds_many(value: object) -> bool:
    """Whether this is a list of `ItemVectors` rather than one."""
    first = value[0] if isinstance(value, list) and value else None
    return _form(first) == "packed" or (isinstance(first, list) and bool(first) and isinstance(first[0], list))


def pack(items: Sequence[list[list[float]] | PackedVectors]) -> TokenEmbeddings:
    """The vectors of several items as one ragged array. Raises `InvalidEmbeddingsError` where one is no matrix."""
    return TokenEmbeddings.from_list(
        [_unpacked(item) if isinstance(item, PackedVectors) else _matrix(item) for item in items]
    )


def _matrix(rows: list[list[float]]) -> FloatArray:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise InvalidEmbeddingsError(
            f"vectors of one item must have the same length, got {lengths[0]} and {lengths[-1]} dimensions"
        )
    return np.array(rows, dtype=np.float32)


def _unpacked(item: PackedVectors) -> FloatArray:
    try:
        data = base64.b64decode(item.float32, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidEmbeddingsError(f"float32 is not base64: {error}") from None
    if not data or len(data) % (4 * item.dim):
        raise InvalidEmbeddingsError(f"float32 holds {len(data)} bytes, not rows of {item.dim} float32 numbers")
    matrix = np.frombuffer(data, dtype="<f4").reshape(-1, item.dim)
    if not (np.abs(matrix) <= MAX_COMPONENT).all():
        raise InvalidEmbeddingsError(f"float32 holds NaN, or a number beyond {MAX_COMPONENT:g}")
    return matrix.astype(np.float32)
