"""A proximity graph over the codes of many documents, for when a scan of all of them takes too long.

faiss builds an HNSW graph (Malkov and Yashunin, arXiv 1603.09320) from the decoded vectors, by distance: by inner
product, vectors of uneven length would all link to a few long ones. (The distance of two documents that
`leanvec.sphering` reduced is how much their scores differ, over queries.) Its bottom layer, which links all nodes, is
kept as one array that can be memory-mapped; the layers above it are not, since a search spends few of its steps there.
The search is a beam search by inner product, with scores straight from the LVQ codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

import numpy as np

from ..encoders.embeddings import FloatArray, IntArray
from ..encoders.errors import IndexCorruptedError, InvalidEmbeddingsError, InvalidInputError
from .kernels.graph import Links, Mask, beam_search, connect
from .kernels.half import HALF_MAX
from .kernels.queries import pack
from .kernels.rows import Bytes
from .lvq import LVQ

BLOCK_ROWS = 1 << 14
"""Nodes that are handled at a time."""
GATHER = 4
"""Rows of a scan that cost as much as one neighbour of an expanded node; about half of them were visited before."""
NEAREST = 8
"""Nodes in reach that a node out of reach may be linked from."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Links between `n` nodes, numbered as the rows they stand for.

    neighbours: `(n, degree)` int32, the links of a node first and then -1; may be a read-only memory map.
    entry: the node where searches begin; -1 when there are none.
    """

    neighbours: Links
    entry: int

    def __len__(self) -> int:
        return len(self.neighbours)

    @property
    def degree(self) -> int:
        """Most links of a node."""
        return int(self.neighbours.shape[1])

    def check(self, count: int) -> None:
        """Raise `IndexCorruptedError` unless this is a graph of `count` nodes whose links all lead to nodes.

        To be called once on a graph that was read from disk: a search follows its links without looking.
        """
        shape, dtype = np.shape(self.neighbours), np.asarray(self.neighbours).dtype
        if len(shape) != 2 or shape[0] != count or shape[1] < 1 or dtype != np.int32:
            raise IndexCorruptedError(f"the graph holds {dtype} of shape {shape}; expected int32 of {count} nodes")
        if not (0 <= self.entry < count or (count == 0 and self.entry == -1)):
            raise IndexCorruptedError(f"the graph begins at node {self.entry} of {count}")
        for start in range(0, count, BLOCK_ROWS):
            part = self.neighbours[start : start + BLOCK_ROWS]
            if part.min() < -1 or part.max() >= count:
                raise IndexCorruptedError(f"the graph links to nodes outside 0 to {count - 1}: rebuild the index")

    def to_array(self) -> Links:
        """`(n + 1, degree)` int32 that holds everything: the links, and a last row of the entry."""
        return np.concatenate([self.neighbours, np.full((1, self.degree), self.entry, np.int32)])

    @classmethod
    def from_array(cls, stored: Links) -> Self:
        """Inverse of `to_array`, without a copy; `check` it when it was read from disk."""
        if np.ndim(stored) != 2 or not len(stored) or not np.shape(stored)[1]:
            raise IndexCorruptedError(f"the graph has shape {np.shape(stored)}; expected (nodes + 1, degree)")
        return cls(stored[:-1], int(stored[-1, 0]))


def build_graph(vectors: FloatArray | Iterable[FloatArray], degree: int = 32, *, effort: int = 100) -> Graph:
    """A graph over `(n, dim)` vectors, or over blocks of them one after another, of which one is held at a time.

    degree: most links of a node, at least 4; an odd one counts one less. effort: nodes that are considered when one is
    linked. Every node can be reached from the entry. Needs about `2 * dim + 9 * degree` bytes a node while it builds,
    on as many threads as faiss takes; with more than one, equal vectors need not give equal graphs.
    Raises `InvalidEmbeddingsError` on vectors that are not finite or not all of one dimension.
    """
    faiss: Any = import_module("faiss")  # a third of a second, which no search needs; its stubs lack what is used here
    if degree < 4:
        raise InvalidInputError(f"a graph needs a degree of at least 4; got {degree}")
    index = None
    scale = 0.0
    for block in _blocks(vectors):
        if index is None:
            # halves: exact enough to choose links by, in half the memory; the scale keeps them within their range
            kind = faiss.ScalarQuantizer.QT_fp16
            index = faiss.IndexHNSWSQ(block.shape[1], kind, degree // 2, faiss.METRIC_L2)
            index.hnsw.efConstruction = effort
            index.is_trained = True  # halves need no training
        if block.shape[1] != index.d or not np.isfinite(block).all():
            raise InvalidEmbeddingsError(f"vectors of shape {block.shape} do not fit {index.d} dimensions or hold NaN")
        largest = float(np.abs(block).max(initial=0))
        scale = scale or (1 / largest if largest > 0 else 0.0)  # of the first block that is not all zeros
        if largest * scale > HALF_MAX:
            raise InvalidEmbeddingsError(
                f"vectors of very different lengths: {largest:.3g} is {scale * largest:.3g} times "
                "what the first ones have"
            )
        index.add(np.ascontiguousarray(block * np.float32(scale)))
    if index is None:
        return Graph(np.empty((0, degree // 2 * 2), np.int32), -1)

    def near(node: int, reached: Mask) -> Links:
        only = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(reached, bitorder="little")))
        found = index.storage.search(index.reconstruct(node)[None], NEAREST, params=only)[1][0]
        nodes: Links = found[found >= 0].astype(np.int32)
        return nodes

    graph = Graph(_bottom_layer(faiss, index.hnsw), int(index.hnsw.entry_point))
    connect(graph.neighbours, graph.entry, near)
    return graph


def search_graph(
    graph: Graph,
    lvq: LVQ,
    queries: FloatArray,
    rows: Bytes,
    k: int,
    beam: int,
    allowed: Mask | None = None,
) -> tuple[IntArray, FloatArray]:
    """The `k` best rows of each query by inner product, as `LVQ.top` gives them, but for some that the graph misses.

    beam: best nodes that a search keeps and expands, at least `k`: more find more. allowed: `(n,)` bool, rows that may
    be found; the search passes through the others, with a beam that is wider by their share. Where such a beam would
    look at as many rows as a scan, and for queries in whose beam fewer than `k` are allowed, allowed rows are scanned.

    Returns `(m, k)` int64 positions and float32 scores, padded with -1 and -inf, equal scores in order of position.
    """
    if len(graph) != len(rows):
        raise InvalidInputError(f"the graph has {len(graph)} nodes; there are {len(rows)} rows")
    if k < 1 or (allowed is not None and (allowed.shape != (len(rows),) or allowed.dtype != np.bool_)):
        raise InvalidInputError(f"k must be at least 1 and a mask hold a bool for each of {len(rows)} rows; k is {k}")
    if np.ndim(queries) != 2 or np.shape(queries)[1] != lvq.dim or np.shape(rows)[1] != lvq.width:
        raise InvalidInputError(
            f"queries {np.shape(queries)} and rows {np.shape(rows)} do not fit codes of {lvq.dim} dimensions"
        )
    passing = len(rows) if allowed is None else int(np.count_nonzero(allowed))
    width = max(beam, k) * len(rows) // max(1, passing)
    if width * graph.degree * GATHER >= passing:
        return lvq.top(queries, rows, k, allowed=allowed)
    positions, scores = beam_search(
        graph.neighbours, graph.entry, rows, pack(queries, lvq.mean, lvq.bits), lvq.bits, width
    )
    if allowed is None:
        return positions[:, :k], scores[:, :k]
    barred = (positions < 0) | ~allowed[positions]
    order = np.argsort(barred, axis=1, kind="stable")[:, :k]
    positions, scores = np.take_along_axis(positions, order, axis=1), np.take_along_axis(scores, order, axis=1)
    short = np.take_along_axis(barred, order, axis=1).any(axis=1)  # more that is allowed may lie beyond the beam
    if short.any():
        positions[short], scores[short] = lvq.top(queries[short], rows, k, allowed=allowed)
    return positions, scores


def _blocks(vectors: FloatArray | Iterable[FloatArray]) -> Iterator[FloatArray]:
    """The blocks that are not empty, float32; an array in blocks of `BLOCK_ROWS`."""
    if isinstance(vectors, np.ndarray):
        vectors = np.split(vectors, range(BLOCK_ROWS, len(vectors), BLOCK_ROWS))  # views
    for block in vectors:
        if np.ndim(block) != 2:
            raise InvalidEmbeddingsError(f"vectors have shape {np.shape(block)}; expected (n, dim)")
        if len(block):
            yield np.asarray(block, np.float32)


def _bottom_layer(faiss: Any, hnsw: Any) -> Links:
    """`(n, degree)` int32: the links of all nodes in the layer that holds all of them."""
    starts = faiss.vector_to_array(hnsw.offsets)[:-1].astype(np.int64)
    links = faiss.vector_to_array(hnsw.neighbors)
    slots = np.arange(hnsw.nb_neighbors(0))
    layer = np.empty((len(starts), len(slots)), np.int32)
    for first in range(0, len(starts), BLOCK_ROWS):
        part = starts[first : first + BLOCK_ROWS]
        layer[first : first + len(part)] = links[part[:, None] + slots]
    return layer
