"""Arguments of the FDE kernels: named tuples, which numba takes as they are, and packed matrices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray

Partitions = npt.NDArray[np.uint16]
Columns = npt.NDArray[np.uint32]

LANES = 16
"""Columns of a panel of a packed matrix."""


def pack(matrices: FloatArray) -> FloatArray:
    """`(R, dim, width)` to `(R, ceil(width / LANES), dim, LANES)` float32, padded with zero columns."""
    count, dim, width = matrices.shape
    panels = -(-width // LANES)
    padded = np.zeros((count, dim, panels * LANES), np.float32)
    padded[:, :, :width] = matrices
    return np.ascontiguousarray(padded.reshape(count, dim, panels, LANES).transpose(0, 2, 1, 3))


class CountSketch(NamedTuple):
    """A linear map that sends every input coordinate to one output coordinate, with a sign.

    columns: uint32 output coordinate of each input coordinate. signs: float32, +1 or -1, of the same shape.
    """

    columns: Columns
    signs: FloatArray


class Tokens(NamedTuple):
    """Ragged vectors, `(t, dim)` and `(n + 1,)`, with the partition of each in every repetition, `(t, R)`."""

    vectors: FloatArray
    offsets: IntArray
    partitions: Partitions


class Fold(NamedTuple):
    """How tokens are folded: into `blocks` partitions of `width` coordinates, by means or sums, with fill or without.

    residual: fold what is left of a document's tokens without their mean, which goes to `dim` more coordinates.
    inner: a sketch for each repetition, `(R, dim)`; `(R, 0)` for none. panels: in place of `inner`, a packed matrix for
    each repetition (see `pack`); `(0, 0, dim, LANES)` for none. final: a sketch of the whole,
    `(R * blocks * width,)`; `(0,)` for none.
    """

    blocks: int
    width: int
    means: bool
    fill: bool
    residual: bool
    inner: CountSketch
    panels: FloatArray
    final: CountSketch
