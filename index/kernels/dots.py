"""Inner products of a few rows with a few queries: what every scoring kernel spends its time in.

Rows are codes (uint8) or float32, of which the first `dim` elements count. The products of one call are all summed in
the same order, so that a score does not depend on the rows and queries beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray
from .jit import inlined_sums

Rows = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Four = tuple[np.float32, np.float32, np.float32, np.float32]


@inlined_sums
def dot(rows: Rows, s: int, queries: FloatArray, c: int, dim: int) -> np.float32:
    """Product of row `s` with `queries[c]`."""
    a = np.float32(0)
    for j in range(dim):
        a += np.float32(rows[s, j]) * queries[c, j]
    return a


@inlined_sums
def dots_2x4(rows: Rows, s: int, t: int, queries: FloatArray, c: int, dim: int) -> tuple[Four, Four]:
    """Products of rows `s` and `t` with `queries[c : c + 4]`."""
    a0 = a1 = a2 = a3 = np.float32(0)
    b0 = b1 = b2 = b3 = np.float32(0)
    for j in range(dim):
        x = np.float32(rows[s, j])
        y = np.float32(rows[t, j])
        a0 += x * queries[c, j]
        b0 += y * queries[c, j]
        a1 += x * queries[c + 1, j]
        b1 += y * queries[c + 1, j]
        a2 += x * queries[c + 2, j]
        b2 += y * queries[c + 2, j]
        a3 += x * queries[c + 3, j]
        b3 += y * queries[c + 3, j]
    return (a0, a1, a2, a3), (b0, b1, b2, b3)
