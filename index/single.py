"""The single vector per document: encoding, reduction and codes as one part, and the search over its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ..encoders.errors import InvalidInputError
from .encodings.fde import FDE, FDEConfig
from .encodings.learned import Learned, LearnedConfig
from .graph import Graph, build_graph, search_graph
from .kernels.rows import Bytes
from .leanvec import LeanVec
from .lvq import LVQ
from .tokens.base import TokenCodec
from .tokens.lvq8 import Lvq8Codec

EncodingName = Literal["fde", "learned"]
Mask = npt.NDArray[np.bool_]
Arrays = Mapping[str, npt.NDArray[Any]]
BLOCK_TOKENS = 1 << 15
"""Token vectors folded at a time, which bounds the memory of a long batch."""
BLOCK_DOCUMENTS = 1 << 10
"""The same for documents, which may be empty."""


@dataclass(frozen=True, eq=False)
class SingleVectors:
    """Folds a document's token vectors into one row of bytes, and a query's into the vector it is compared with.

    encoding: token vectors to one vector. reduction: LeanVec, to fewer dimensions; None for all of them. lvq: codes.
    """

    encoding: FDE | Learned
    reduction: LeanVec | None
    lvq: LVQ

    def __post_init__(self) -> None:
        reduction = self.reduction
        if reduction is not None and reduction.dim != self.encoding.output_dim:
            raise InvalidInputError(
                f"the encoding has {self.encoding.output_dim} dimensions, the reduction takes {reduction.dim}"
            )
        if self.lvq.dim != (self.encoding.output_dim if reduction is None else reduction.output_dim):
            raise InvalidInputError(f"the codes have {self.lvq.dim} dimensions, which is not what they are given")

    @property
    def width(self) -> int:
        """Bytes a document."""
        return self.lvq.width

    @property
    def name(self) -> str:
        """The method in a few words, as in `learned 1152 > 128 x 4 bit`."""
        kind = "learned" if isinstance(self.encoding, Learned) else "fde"
        reduced = "" if self.reduction is None else f" > {self.reduction.output_dim}"
        return f"{kind} {self.encoding.output_dim}{reduced} x {self.lvq.bits} bit"

    def fold_documents(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(n, lvq.dim)` float32 vectors of documents before quantization, each independent of the others."""
        if isinstance(self.encoding, Learned):
            return self.encoding.encode_documents(tokens, self._projection)
        out = np.empty((len(tokens), self.lvq.dim), np.float32)
        for start, stop in blocks(tokens.offsets):
            part = self.encoding.encode_documents(tokens.take(np.arange(start, stop)))
            out[start:stop] = part if self.reduction is None else self.reduction.reduce_documents(part)
        return out

    @property
    def _projection(self) -> FloatArray | None:
        return None if self.reduction is None else self.reduction.documents

    def encode_documents(self, tokens: TokenEmbeddings) -> Bytes:
        """`(n, width)` uint8 rows of documents."""
        parts = [
            self.lvq.encode(self.fold_documents(tokens.take(np.arange(start, stop))))
            for start, stop in blocks(tokens.offsets)
        ]
        return np.concatenate([np.empty((0, self.width), np.uint8), *parts])

    def fold_stored(self, codec: TokenCodec, codes: Bytes, offsets: IntArray) -> FloatArray:
        """`fold_documents` of documents whose tokens are stored: rows of `codec`, and where each document's begin.

        offsets: `(n + 1,)` int64, the first of which need not be 0. Learned vectors come straight from LVQ-8 codes.
        """
        if isinstance(self.encoding, Learned) and isinstance(codec, Lvq8Codec):
            return self.encoding.encode_codes(codes, offsets, self._projection)
        out = np.empty((len(offsets) - 1, self.lvq.dim), np.float32)
        for start, stop in blocks(offsets):
            own = offsets[start : stop + 1]
            tokens = TokenEmbeddings(codec.decode(codes[own[0] : own[-1]]), own - own[0])
            out[start:stop] = self.fold_documents(tokens)
        return out

    def encode_stored(self, codec: TokenCodec, codes: Bytes, offsets: IntArray) -> Bytes:
        """`encode_documents` of documents whose tokens are stored; see `fold_stored`."""
        parts = [
            self.lvq.encode(self.fold_stored(codec, codes, offsets[start : stop + 1]))
            for start, stop in blocks(offsets)
        ]
        return np.concatenate([np.empty((0, self.width), np.uint8), *parts])

    def build_graph(self, rows: Bytes) -> Graph:
        """A graph over rows."""
        return build_graph(
            self.lvq.decode(rows[start : start + GRAPH_BLOCK]) for start in range(0, len(rows), GRAPH_BLOCK)
        )

    def encode_queries(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(m, lvq.dim)` float32: what rows are scored with."""
        queries = self.encoding.encode_queries(tokens)
        return queries if self.reduction is None else self.reduction.reduce_queries(queries)

    def top(
        self,
        queries: FloatArray,
        rows: Bytes,
        k: int,
        *,
        allowed: Mask | None = None,
        graph: Graph | None = None,
    ) -> tuple[IntArray, FloatArray]:
        """The `k` best rows of each query by inner product: `(m, k)` positions, padded with -1, and scores.

        queries: as `encode_queries` returns them. allowed: `(n,)` rows that may be found; all when None. graph: over
        these rows; a scan without one.
        """
        if graph is None:
            return self.lvq.top(queries, rows, k, allowed=allowed)
        return search_graph(graph, self.lvq, queries, rows, k, max(2 * k, GRAPH_BEAM), allowed)

    def spec(self) -> dict[str, Any]:
        """JSON-ready settings that, with `params`, make it again."""
        learned = isinstance(self.encoding, Learned)
        return {
            "encoding": "learned" if learned else "fde",
            "config": asdict(self.encoding.config),
            "reduced": self.reduction is not None,
            "bits": self.lvq.bits,
        }

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Fitted arrays by name."""
        parts: dict[str, Arrays] = {"lvq": self.lvq.params()}
        if isinstance(self.encoding, Learned):
            parts["learned"] = self.encoding.params()
        if self.reduction is not None:
            parts["leanvec"] = self.reduction.params()
        return {f"{owner}.{key}": value for owner, arrays in parts.items() for key, value in arrays.items()}

    @classmethod
    def from_params(cls, spec: Mapping[str, Any], dim: int, params: Arrays) -> SingleVectors:
        """Inverse of `spec` and `params`, for token vectors of `dim` dimensions."""
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {"lvq": {}, "learned": {}, "leanvec": {}}
        for key, value in params.items():
            owner, _, name = key.partition(".")
            parts[owner][name] = value
        encoding: FDE | Learned
        if spec["encoding"] not in ("fde", "learned"):
            raise InvalidInputError(f"no encoding {spec['encoding']!r:.40}; there are fde and learned")
        if spec["encoding"] == "learned":
            encoding = Learned.from_params(LearnedConfig.from_dict(spec["config"]), dim, parts["learned"])
        else:
            encoding = FDE(FDEConfig(**spec["config"]), dim)
        reduction = LeanVec.from_params(parts["leanvec"]) if spec["reduced"] else None
        return cls(encoding, reduction, LVQ.from_params(parts["lvq"], bits=spec["bits"]))


GRAPH_BLOCK = 1 << 14
"""Rows decoded at a time for a graph."""
GRAPH_BEAM = 256
"""Fewest nodes that a graph search keeps in its beam."""


def blocks(offsets: IntArray, tokens: int = BLOCK_TOKENS) -> Iterator[tuple[int, int]]:
    """Ranges of items that together cover all, each of at most `tokens` token vectors unless one item has more."""
    start = 0
    while start < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[start] + tokens, side="right")) - 1
        stop = min(max(start + 1, stop), start + BLOCK_DOCUMENTS)
        yield start, stop
        start = stop
