"""Fixed dimensional encodings: SimHash of tokens, and the fold of an item's tokens into one vector.

Tokens that share a partition are added before they are sketched, which is the same by linearity and costs one sketch a
partition instead of one a token.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from .dots import dots_2x4
from .jit import frozen, in_threads, inlined, kernel
from .sketch import CountSketch, Fold, Patterns, Tokens


@inlined
def _pack_signs(products: FloatArray, bits: int, t: int, out: Patterns) -> None:
    """`out[t, r]` = the signs of `products[r * bits : (r + 1) * bits]`, the first as the highest bit."""
    c = 0
    for r in range(out.shape[1]):
        pattern = 0
        for _ in range(bits):
            pattern = 2 * pattern + (1 if products[c] > 0 else 0)
            c += 1
        out[t, r] = pattern


@kernel
def _simhash(vectors: FloatArray, normals: FloatArray, bits: int, out: Patterns, first: int, last: int) -> None:
    dim = vectors.shape[1]
    products_t = np.empty(len(normals), np.float32)
    products_u = np.empty(len(normals), np.float32)
    for t in range(first, last, 2):
        u = min(t + 1, last - 1)  # an odd last token is its own pair
        for c in range(0, len(normals), 4):
            x, y = dots_2x4(vectors, t, u, normals, c, dim)
            for i in range(4):
                products_t[c + i] = x[i]
                products_u[c + i] = y[i]
        _pack_signs(products_t, bits, t, out)
        _pack_signs(products_u, bits, u, out)


def simhash(vectors: FloatArray, normals: FloatArray, bits: int, repetitions: int) -> Patterns:
    """`(t, repetitions)` uint16 sign patterns of `(t, dim)` vectors.

    normals: `(repetitions * bits, dim)` float32, padded with zero rows to a multiple of four.
    """
    vectors, normals = frozen(vectors, np.float32, 2), frozen(normals, np.float32, 2)
    out = np.empty((len(vectors), repetitions), np.uint16)
    in_threads(partial(_simhash, vectors, normals, bits, out), len(vectors), normals.size)
    return out


@inlined
def _gray_to_index(pattern: np.int64) -> np.int64:
    """Position of a pattern of up to 16 bits in the reflected Gray code."""
    index = pattern ^ (pattern >> 1)
    index ^= index >> 2
    index ^= index >> 4
    return index ^ (index >> 8)


@inlined
def _bits_set(value: np.int64) -> int:
    count = 0
    while value:
        value &= value - 1
        count += 1
    return count


@inlined
def _sum_blocks(tokens: Tokens, item: int, r: int, sums: FloatArray, counts: IntArray, firsts: IntArray) -> int:
    """Add the tokens of an item up by partition, `(blocks, dim)`; returns how many partitions hold any.

    counts: receives the number of tokens of each partition. firsts: the first token of each that holds any, ascending.
    """
    dim = sums.shape[1]
    counts[:] = 0
    occupied = 0
    for t in range(tokens.offsets[item], tokens.offsets[item + 1]):
        block = _gray_to_index(np.int64(tokens.patterns[t, r]))
        if counts[block] == 0:
            firsts[occupied] = t
            occupied += 1
            for j in range(dim):
                sums[block, j] = tokens.vectors[t, j]
        else:
            for j in range(dim):
                sums[block, j] += tokens.vectors[t, j]
        counts[block] += 1
    return occupied


@inlined
def _nearest(patterns: Patterns, r: int, wanted: int, firsts: IntArray, occupied: int) -> int:
    """The first of the tokens whose sign pattern differs from `wanted` in the fewest bits."""
    best: int = firsts[0]
    least = 64
    for i in range(occupied):
        distance = _bits_set(np.int64(patterns[firsts[i], r]) ^ wanted)
        if distance < least:
            least = distance
            best = firsts[i]
    return best


@inlined
def _project(source: FloatArray, row: int, sketch: CountSketch, r: int, out: FloatArray) -> None:
    """Sketch `source[row]` with repetition `r` into `out`; copy it when there is no sketch."""
    if sketch.columns.shape[1] == 0:
        for j in range(len(out)):
            out[j] = source[row, j]
    else:
        out[:] = 0
        for j in range(sketch.columns.shape[1]):
            out[sketch.columns[r, j]] += sketch.signs[r, j] * source[row, j]


@inlined
def _emit(block: FloatArray, start: int, final: CountSketch, item: int, out: FloatArray) -> None:
    """Put a block at coordinate `start` of an item's vector, or through the final sketch when there is one."""
    if len(final.columns) == 0:
        for j in range(len(block)):
            out[item, start + j] = block[j]
    else:
        for j in range(len(block)):
            out[item, final.columns[start + j]] += final.signs[start + j] * block[j]


@kernel
def _fold(tokens: Tokens, how: Fold, out: FloatArray, first: int, last: int) -> None:
    """Write the vectors of items `first` to `last` over zeros."""
    sums = np.empty((how.blocks, tokens.vectors.shape[1]), np.float32)
    counts = np.empty(how.blocks, np.int64)
    firsts = np.empty(how.blocks, np.int64)
    block = np.empty(how.width, np.float32)
    for item in range(first, last):
        if tokens.offsets[item] == tokens.offsets[item + 1]:
            continue
        for r in range(tokens.patterns.shape[1]):
            occupied = _sum_blocks(tokens, item, r, sums, counts, firsts)
            for b in range(how.blocks):
                if counts[b] > 0:
                    _project(sums, b, how.inner, r, block)
                    if how.means:
                        block /= np.float32(counts[b])
                elif how.fill:
                    token = _nearest(tokens.patterns, r, b ^ (b >> 1), firsts, occupied)
                    _project(tokens.vectors, token, how.inner, r, block)
                else:
                    continue
                _emit(block, (r * how.blocks + b) * how.width, how.final, item, out)


def fold(tokens: TokenEmbeddings, patterns: Patterns, how: Fold, output_dim: int) -> FloatArray:
    """`(len(tokens), output_dim)` float32 encodings of items; zeros for one without tokens."""
    hashed = Tokens(
        frozen(tokens.vectors, np.float32, 2), frozen(tokens.offsets, np.int64, 1), frozen(patterns, np.uint16, 2)
    )
    how = how._replace(inner=_frozen_sketch(how.inner, 2), final=_frozen_sketch(how.final, 1))
    out = np.zeros((len(tokens), output_dim), np.float32)
    in_threads(partial(_fold, hashed, how, out), hashed.offsets, tokens.dim * patterns.shape[1])
    return out


def _frozen_sketch(sketch: CountSketch, ndim: int) -> CountSketch:
    return CountSketch(frozen(sketch.columns, np.uint32, ndim), frozen(sketch.signs, np.float32, ndim))
