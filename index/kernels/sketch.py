"""Arguments of the FDE kernels, which numba takes as named tuples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray

Patterns = npt.NDArray[np.uint16]
Columns = npt.NDArray[np.uint32]


class CountSketch(NamedTuple):
    """A linear map that sends every input coordinate to one output coordinate, with a sign.

    columns: uint32 output coordinate of each input coordinate. signs: float32, +1 or -1, of the same shape.
    """

    columns: Columns
    signs: FloatArray


class Tokens(NamedTuple):
    """Ragged vectors, `(t, dim)` and `(n + 1,)`, with the sign pattern of each in every repetition, `(t, R)`."""

    vectors: FloatArray
    offsets: IntArray
    patterns: Patterns


class Fold(NamedTuple):
    """How tokens are folded: into `blocks` partitions of `width` coordinates, by means or sums, with fill or without.

    inner: a sketch for each repetition, `(R, dim)`; `(R, 0)` for none. final: a sketch of the whole,
    `(R * blocks * width,)`; `(0,)` for none.
    """

    blocks: int
    width: int
    means: bool
    fill: bool
    inner: CountSketch
    final: CountSketch
