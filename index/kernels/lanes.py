"""Query vectors of a batch as signed bytes, sixteen to a panel: what MaxSim over codes multiplies stored tokens with.

A query vector `q` becomes `scales[0] * hi + scales[1] * lo` with signed bytes (`quantize_queries`, two planes). The
first plane alone gives an estimate: with any vector `x`, `<q, x>` and `scales[0] * <hi, x>` differ by at most
`rest * |x|` (Cauchy and Schwarz). Lanes of all queries lie one after another, so that short queries share a panel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidEmbeddingsError
from .int8 import LANES, Signed
from .jit import frozen, kernel
from .queries import quantize_queries

PLANES = 2
"""Signed bytes that make up a coordinate of a query."""
UNIT = 2.0**-24
"""Largest relative error of a float32 rounding."""
ROUNDINGS = 16
"""Bound on the roundings that make a float32 of the integers of a product, in an estimate and a score together."""
UP = 1 + 2.0**-20
"""Factor that makes up for the rounding of a bound itself."""


class Lanes(NamedTuple):
    """Query vectors ready for products with codes; those beyond the last pad its panel and are zeros.

    packed: `(2, panels, groups, 64)` int8: plane, panel, group of four dimensions, `[16 lanes][4 dimensions]`
    (`side_by_side`). sums, scales: `(2, panels * 16)` float32: sum of the codes of each lane and its scale, by plane.
    norms: `(panels * 16,)` float32 lengths, rounded up. rest: `(panels * 16,)` float32, rounded up: the length of what
    the first plane leaves of a vector and of the second plane, the larger, and what rounding may add to a product with
    a vector of length 1. spans: `(len(queries), 2)` int64: first lane of each query and the one after its last.
    """

    packed: Signed
    sums: FloatArray
    scales: FloatArray
    norms: FloatArray
    rest: FloatArray
    spans: IntArray


def lanes(queries: TokenEmbeddings, code_max: int = 255) -> Lanes:
    """The vectors of all queries as lanes, in order.

    code_max: largest code that they are multiplied with. Sums of `dim * code_max * 127` stay within int32 (fewer
    signed levels from 66,000 dimensions of bytes on). Raises `InvalidEmbeddingsError` on vectors without dimensions
    and values that are not finite.
    """
    vectors, dim = queries.vectors, queries.dim
    if dim < 1:
        raise InvalidEmbeddingsError("queries need at least one dimension")
    codes, constants = quantize_queries(vectors, np.zeros(dim, np.float32), PLANES, code_max)
    panels = -(-len(vectors) // LANES)
    packed = np.zeros((PLANES, panels, -(-dim // 4), 4 * LANES), np.int8)
    sums, scales = np.zeros((PLANES, panels * LANES), np.float32), np.zeros((PLANES, panels * LANES), np.float32)
    norms, rest = np.zeros(panels * LANES, np.float32), np.zeros(panels * LANES, np.float32)
    _fill(frozen(vectors, np.float32, 2), codes, constants, packed, sums, scales, norms, rest)
    spans = np.stack([queries.offsets[:-1], queries.offsets[1:]], axis=1)
    made = Lanes(packed, sums, scales, norms, rest, spans)
    for array in made:
        array.flags.writeable = False
    return made


@kernel
def _fill(
    vectors: FloatArray,
    codes: Signed,
    constants: FloatArray,
    packed: Signed,
    sums: FloatArray,
    scales: FloatArray,
    norms: FloatArray,
    rest: FloatArray,
) -> None:
    """Fill the lanes that are not padding.

    A product with codes is `lower * sum(q) + step * <q, codes>`. Its parts may cancel: with a vector of length 1 the
    first is at most `sqrt(dim) * |q|` and the second at most that and `|q|`. Lengths beyond float32 become infinite,
    and bound nothing.
    """
    count, dim = vectors.shape
    rounding = ROUNDINGS * UNIT * (1 + 2 * np.sqrt(dim))
    for i in range(count):
        panel, lane = i // LANES, i % LANES
        coarse, fine = np.float64(constants[i, 0]), np.float64(constants[i, 1])
        hi = lo = 0
        whole = left = second = 0.0
        for j in range(dim):
            a, b = codes[0, i, j], codes[1, i, j]
            packed[0, panel, j // 4, 4 * lane + j % 4] = a
            packed[1, panel, j // 4, 4 * lane + j % 4] = b
            hi += a
            lo += b
            value = np.float64(vectors[i, j])
            whole += value**2
            left += (value - coarse * a) ** 2
            second += (fine * b) ** 2
        sums[0, i], sums[1, i] = hi, lo
        scales[0, i], scales[1, i] = coarse, fine
        norms[i] = np.sqrt(whole) * UP
        rest[i] = (np.sqrt(max(left, second)) + rounding * np.sqrt(whole)) * UP
