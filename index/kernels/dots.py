"""Inner products of a row with a query.

Rows are codes (uint8) or float32, of which the first `dim` elements count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray
from .jit import inlined_sums

Rows = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@inlined_sums
def dot(rows: Rows, s: int, queries: FloatArray, c: int, dim: int) -> np.float32:
    """Product of row `s` with `queries[c]`."""
    a = np.float32(0)
    for j in range(dim):
        a += np.float32(rows[s, j]) * queries[c, j]
    return a
