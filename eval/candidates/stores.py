"""Where single vectors are kept and searched: float32, codes of LVQ, a graph over codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ...index.graph import Graph, build_graph, search_graph
from ...index.leanvec import LeanVec
from ...index.lvq import LVQ, TwoLevelLVQ
from ..truth import best


class Store(Protocol):
    """Answers with rows of the largest inner products."""

    label: str

    @property
    def bytes_per_document(self) -> float:
        """What is read or kept for a document, without shared parts."""
        ...

    def build(self, vectors: FloatArray) -> None:
        """Take `(n, dim)` float32 vectors in."""
        ...

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, k)` int64 rows, best first, padded with -1."""
        ...


class Index(Store, Protocol):
    """A store that trades time for recall by one knob."""

    @property
    def efforts(self) -> Sequence[int]:
        """Values of the knob worth trying, ascending."""
        ...

    def aim(self, effort: int) -> None:
        """Set the knob."""
        ...


class Floats:
    """The vectors themselves, scanned by a matrix product."""

    label = "f32"

    def __init__(self) -> None:
        self._vectors = np.empty((0, 0), np.float32)

    @property
    def bytes_per_document(self) -> float:
        """Four bytes a dimension."""
        return 4.0 * self._vectors.shape[1]

    def build(self, vectors: FloatArray) -> None:
        """Keep them."""
        self._vectors = vectors

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, min(k, n))` int64 rows."""
        return best(queries @ self._vectors.T, k)


class Codes:
    """LVQ codes of 4 or 8 bits, scanned without decoding."""

    def __init__(self, bits: int) -> None:
        self.label = f"LVQ-{bits}"
        self._bits = bits

    @property
    def bytes_per_document(self) -> float:
        """Bytes of a row."""
        return float(self._lvq.width)

    def build(self, vectors: FloatArray) -> None:
        """Quantize around the mean."""
        self._lvq = LVQ.fit(vectors, self._bits)
        self._rows = self._lvq.encode(vectors)

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, k)` int64 rows."""
        return self._lvq.top(queries, self._rows, k)[0]


class TwoLevels:
    """LVQ-4x8: four bits are scanned, and the best `widening * k` are ordered by all twelve."""

    label = "LVQ-4x8"

    def __init__(self, widening: int = 2) -> None:
        self._widening = widening

    @property
    def bytes_per_document(self) -> float:
        """Bytes of both rows."""
        return float(self._first.shape[1] + self._second.shape[1])

    def build(self, vectors: FloatArray) -> None:
        """Quantize around the mean, then what that leaves."""
        self._lvq = TwoLevelLVQ(LVQ.fit(vectors, 4))
        self._first, self._second = self._lvq.encode(vectors)

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, k)` int64 rows."""
        wide = min(self._widening * k, len(self._first))
        rows = self._lvq.primary.top(queries, self._first, wide)[0]
        scores = self._lvq.rescore(queries, self._first, self._second, rows)
        return np.take_along_axis(rows, best(scores, k), axis=1)


class Reduced:
    """Candidates by codes of reduced vectors, put in order by LVQ-8 codes of whole vectors. The effort: how many.

    primary: a scan of the reduced codes, or a search of a graph over them.
    """

    efforts: Sequence[int] = (10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640)

    def __init__(self, label: str, reduction: LeanVec, bits: int, *, graph: bool = False) -> None:
        self.label = label
        self._reduction, self._bits, self._linked = reduction, bits, graph
        self._effort = self.efforts[0]
        self._graph: Graph | None = None

    @property
    def bytes_per_document(self) -> float:
        """Bytes of both rows, and of the neighbours."""
        links = 0 if self._graph is None else 4 * self._graph.neighbours.shape[1]
        return float(self._codes.width + self._whole.width + links)

    def build(self, vectors: FloatArray) -> None:
        """Reduce, quantize, link."""
        reduced = self._reduction.reduce_documents(vectors)
        self._codes = LVQ.fit(reduced, self._bits)
        self._rows = self._codes.encode(reduced)
        self._whole = LVQ.fit(vectors)
        self._second = self._whole.encode(vectors)
        self._graph = build_graph(reduced) if self._linked else None

    def aim(self, effort: int) -> None:
        """Set how many candidates there are."""
        self._effort = effort

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, k)` int64 rows."""
        reduced = self._reduction.reduce_queries(queries)
        wide = min(max(k, self._effort), len(self._rows))
        if self._graph is None:
            rows = self._codes.top(reduced, self._rows, wide)[0]
        else:
            rows = search_graph(self._graph, self._codes, reduced, self._rows, wide, wide)[0]
        found = np.empty((len(queries), k), np.int64)
        for query, candidates in enumerate(rows):
            near = candidates[candidates >= 0]
            scores = self._whole.scores(queries[query : query + 1], self._second, near)
            ordered = near[best(scores, k)[0]]
            found[query] = np.pad(ordered, (0, k - len(ordered)), constant_values=-1)
        return found
