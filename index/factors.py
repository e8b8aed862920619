"""Vectors that the scores of an expensive scorer are regressed on, stored for each document as one row of LVQ codes.

They are made of scores gathered before any search (`retrieval.cur.factorize`). A document that is added later is given
its vector without a call of the scorer, by a linear map of its single vector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import FloatArray, IntArray
from ..encoders.errors import InvalidInputError
from .kernels.rows import Bytes
from .kernels.targets import panels, products
from .lvq import LVQ
from .single import Arrays, SingleVectors, blocks
from .tokens.base import TokenCodec


@dataclass(frozen=True, eq=False)
class ItemFactors:
    """Turns the tokens of a document into its row, and knows what the rows mean.

    single: folds tokens into the vector that the map reads, whatever the index folds by itself now. projection:
    `(single.lvq.dim, columns)` and offset: `(columns,)` float32, the map; the vector itself is the row where projection
    is None. lvq: codes of rows, of as many dimensions as there are columns. unit: where above 0, the last column is not
    part of the vector: times `unit` it is what is expected of the document before a query is known. anchors: `(k,)`
    int64 catalog rows that every query is scored against first, most telling first; may be empty. facts: JSON-ready,
    how they were made; `scorer` is the fingerprint of the scorer.

    Raises `InvalidInputError` on parts that do not fit together and facts that are no JSON.
    """

    single: SingleVectors
    projection: FloatArray | None
    offset: FloatArray | None
    lvq: LVQ
    unit: float
    anchors: IntArray
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = self.single.lvq.dim
        if self.projection is not None and self.offset is not None:
            projection, offset = _floats("projection", self.projection), _floats("offset", self.offset)
            if projection.ndim != 2 or len(projection) != columns or offset.shape != projection.shape[1:]:
                raise InvalidInputError(
                    f"the map is {projection.shape} and {offset.shape}, expected ({columns}, columns) and (columns,)"
                )
            columns = len(offset)
            object.__setattr__(self, "projection", projection)
            object.__setattr__(self, "offset", offset)
        elif self.projection is not None or self.offset is not None:
            raise InvalidInputError("the map of factors is a projection and an offset: give both, or neither")
        if self.lvq.dim != columns:
            raise InvalidInputError(f"the codes of factors have {self.lvq.dim} dimensions, the vectors {columns}")
        if not 0 <= self.unit < np.inf:
            raise InvalidInputError(f"the unit of factors is a finite number, not negative; got {self.unit!r}")
        anchors = np.asarray(self.anchors)
        if anchors.ndim != 1 or anchors.dtype.kind != "i" or anchors.min(initial=0) < 0:
            raise InvalidInputError(
                f"anchors are (k,) rows of the catalog, none negative; got {anchors.dtype} of shape {anchors.shape}"
            )
        object.__setattr__(self, "anchors", np.ascontiguousarray(anchors, np.int64))
        object.__setattr__(self, "facts", _as_json(self.facts))

    @property
    def width(self) -> int:
        """Bytes a document."""
        return self.lvq.width

    @property
    def dim(self) -> int:
        """Dimensions of the vector."""
        return self.lvq.dim - int(self.unit > 0)

    def fold_stored(self, codec: TokenCodec, codes: Bytes, offsets: IntArray) -> FloatArray:
        """`(n, lvq.dim)` float32: rows before they are quantized, each independent of the others, bit by bit.

        codec, codes and offsets are those of `SingleVectors.fold_stored`. Raises `InvalidEmbeddingsError` on another
        token dimension.
        """
        vectors = self.single.fold_stored(codec, codes, offsets)
        if self.projection is None or self.offset is None:
            return vectors
        return products(vectors, panels(self.projection.T))[:, : self.lvq.dim] + self.offset

    def encode_stored(self, codec: TokenCodec, codes: Bytes, offsets: IntArray) -> Bytes:
        """`(n, width)` uint8 rows of documents whose tokens are stored; see `fold_stored`.

        Raises `InvalidEmbeddingsError` where the map leads to values that codes cannot hold as well.
        """
        parts = [
            self.lvq.encode(self.fold_stored(codec, codes, offsets[start : stop + 1]))
            for start, stop in blocks(offsets)
        ]
        return np.concatenate([np.empty((0, self.width), np.uint8), *parts])

    def spec(self) -> dict[str, Any]:
        """JSON-ready settings that, with `params`, make it again."""
        return {
            "single": self.single.spec(),
            "bits": self.lvq.bits,
            "unit": float(self.unit),
            "mapped": self.projection is not None,
            "facts": dict(self.facts),
        }

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Fitted arrays by name."""
        parts: dict[str, Arrays] = {"single": self.single.params(), "lvq": self.lvq.params()}
        found = {f"{owner}.{key}": value for owner, arrays in parts.items() for key, value in arrays.items()}
        found["anchors"] = self.anchors
        if self.projection is not None and self.offset is not None:
            found |= {"projection": self.projection, "offset": self.offset}
        return found

    @classmethod
    def from_params(cls, spec: Mapping[str, Any], dim: int, params: Arrays) -> Self:
        """Inverse of `spec` and `params`, for token vectors of `dim` dimensions.

        Raises `InvalidInputError`, `KeyError`, `TypeError` or `ValueError` where they do not belong together.
        """
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {"single": {}, "lvq": {}, "": {}}
        for key, value in params.items():
            owner, dot, name = key.partition(".")
            parts[owner if dot else ""][name or key] = value
        own, mapped = parts[""], bool(spec["mapped"])
        return cls(
            SingleVectors.from_params(spec["single"], dim, parts["single"]),
            own["projection"] if mapped else None,
            own["offset"] if mapped else None,
            LVQ.from_params(parts["lvq"], bits=spec["bits"]),
            float(spec["unit"]),
            own["anchors"],
            spec["facts"],
        )


def _as_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is read again where facts are stored."""
    try:
        read: dict[str, Any] = json.loads(json.dumps(dict(facts), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"facts of factors must be JSON, and hold no NaN: {error}") from error
    return read


def _floats(name: str, value: FloatArray) -> FloatArray:
    array = np.asarray(value)
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(array, np.float32)
    if array.dtype.kind != "f" or not np.isfinite(floats).all():
        raise InvalidInputError(f"the {name} of factors is not made of finite floats; got {array.dtype}")
    return floats
