"""Item vectors where an index keeps them: rows of LVQ codes, scanned anew in each round without decoding them.

A round reads `n` rows once, 132 bytes for 256 dimensions in 4 bits: 6.6 MB for 50,000 documents, which one core reads
in 0.3 ms, where float32 would take eight times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray
from ...index.kernels.rows import Bytes
from ...index.lvq import LVQ
from .items import Mask, highest
from .regression import DoubleArray

_SAMPLE = 1_024
_LARGEST = float(np.finfo(np.float32).max) / 4


class StoredItems:
    """`Items` in the segments of an index, laid end to end.

    parts: `(n, lvq.width)` uint8 rows of each segment, maybe read-only memory maps. unit: where above 0, the last
    dimension of a row, times `unit`, is the mean of the item and no part of its vector (`index.factors`).
    """

    def __init__(self, parts: Sequence[Bytes], lvq: LVQ, unit: float = 0.0) -> None:
        self._parts = list(parts)
        self._lvq = lvq
        self._unit = unit
        self._starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        self._scale: float | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._lvq.dim - (self._unit > 0)

    @property
    def scale(self) -> float:
        """The mean squared length of a vector, of evenly spaced ones where there are many."""
        if self._scale is None:
            rows = np.unique(np.linspace(0, max(0, len(self) - 1), _SAMPLE).astype(np.int64))[: len(self)]
            vectors, _ = self.take(rows)
            squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
            self._scale = float(squares.mean()) if len(rows) else 0.0
        return self._scale

    def take(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Vectors and means of some items."""
        found = np.empty((len(rows), self._lvq.dim), np.float32)
        for start, stop, part in self._each():
            inside = np.flatnonzero((rows >= start) & (rows < stop))
            if len(inside):
                found[inside] = self._lvq.decode(np.ascontiguousarray(part[rows[inside] - start]))
        if self._unit:
            return found[:, :-1], found[:, -1] * np.float32(self._unit)
        return found, np.zeros(len(rows), np.float32)

    def scores(self, w: DoubleArray, beta: float) -> FloatArray:
        """Estimates of all items."""
        query = self._query(w, beta)
        return np.concatenate([np.empty(0, np.float32), *(self._lvq.scores(query, part)[0] for part in self._parts)])

    def top(self, w: DoubleArray, beta: float, count: int, allowed: Mask) -> IntArray:
        """The best of the allowed items."""
        query = self._query(w, beta)
        rows, values = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for start, stop, part in self._each():
            positions, scores = self._lvq.top(query, part, min(count, len(part)), allowed=allowed[start:stop])
            kept = positions[0] >= 0
            rows.append(positions[0][kept] + start)
            values.append(scores[0][kept])
        if len(rows) == 2:
            return rows[1]
        flat = np.concatenate(rows)
        return flat[highest(np.concatenate(values), count)]

    def _each(self) -> Iterator[tuple[int, int, Bytes]]:
        return zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), self._parts, strict=True)

    def _query(self, w: DoubleArray, beta: float) -> FloatArray:
        """What the rows are multiplied with, `(1, lvq.dim)`, on a scale of its own where float32 could not hold it."""
        whole = np.append(w, beta * self._unit) if self._unit else w
        largest = float(np.abs(whole).max(initial=0.0))
        if largest > _LARGEST:
            whole = whole / largest
        return np.asarray(whole[None], np.float32)
