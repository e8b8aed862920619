"""Fixed dimensional encodings: SimHash of tokens, and the fold of an item's tokens into one vector.

Tokens that share a partition are added before they are projected, which is the same by linearity and costs one
projection a partition instead of one a token.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from .jit import frozen, in_threads, inlined, kernel
from .panels import ROWS, SPAN, sum_rows, tile
from .sketch import LANES, CountSketch, Fold, Partitions, Tokens

_CHUNK = 32  # tokens whose products stay in the first-level cache


@kernel
def _simhash(vectors: FloatArray, normals: FloatArray, bits: int, out: Partitions, first: int, last: int) -> None:
    repetitions = out.shape[1]
    width = normals.shape[1] * LANES
    products = np.empty(_CHUNK * width, np.float32)
    one = np.float32(1)
    numbers = np.empty(repetitions, np.int32)
    for start in range(first, last, _CHUNK):
        stop = min(start + _CHUNK, last)
        for p in range(normals.shape[1]):
            for t in range(start, stop, ROWS):  # after the last token, that one again
                four = (t, min(t + 1, stop - 1), min(t + 2, stop - 1), min(t + 3, stop - 1))
                place = (t - start) * width + p * LANES
                places = (place, place + width, place + 2 * width, place + 3 * width)
                tile(vectors, four, (one, one, one, one), normals, 0, p, products, places)
        for t in range(start, stop):
            numbers[:] = 0
            for bit in range(bits):  # the reflected Gray code, decoded bit by bit
                for r in range(repetitions):
                    sign = np.int32(products[(t - start) * width + bit * repetitions + r] > 0)
                    numbers[r] = np.int32(2) * numbers[r] + (sign ^ (numbers[r] & np.int32(1)))
            for r in range(repetitions):
                out[t, r] = numbers[r]


def simhash(vectors: FloatArray, normals: FloatArray, bits: int, repetitions: int) -> Partitions:
    """`(t, repetitions)` uint16 partitions of `(t, dim)` vectors.

    A partition is the position in the Gray code of the signs of `bits` products, the first as the highest bit.
    normals: `(dim, bits * repetitions)`, the first bit of every repetition before the second of any, packed in panels.
    """
    vectors, normals = frozen(vectors, np.float32, 2), frozen(normals, np.float32, 4)
    out = np.empty((len(vectors), repetitions), np.uint16)
    in_threads(partial(_simhash, vectors, normals, bits, out), len(vectors), normals.size)
    return out


class Scratch(NamedTuple):
    """What one item and repetition is folded in.

    sums: `(blocks, dim)`, one row a partition. order: the tokens of the item by partition, those of `block` up to
    `ends[block]`. counts: `(blocks,)` tokens of each. occupied: `(blocks,)` partitions that hold any, by their first
    token. written: `(blocks,)` partitions that are not left zero, ascending, and sizes: what to divide the sum of each
    by; both with room for `ROWS` more. products: projected partitions, one after the other. mean: `(dim,)`, the mean
    token of the item.
    """

    sums: FloatArray
    order: IntArray
    ends: IntArray
    counts: IntArray
    occupied: IntArray
    written: IntArray
    sizes: FloatArray
    products: FloatArray
    mean: FloatArray


@inlined
def _bits_set(value: np.int64) -> int:
    count = 0
    while value:
        value &= value - 1
        count += 1
    return count


@inlined
def _sort(tokens: Tokens, item: int, r: int, s: Scratch) -> int:
    """Order the tokens of an item by partition; returns how many partitions hold any."""
    first, last = tokens.offsets[item], tokens.offsets[item + 1]
    s.counts[:] = 0
    occupied = 0
    for t in range(first, last):
        block = tokens.partitions[t, r]
        if s.counts[block] == 0:
            s.occupied[occupied] = block
            occupied += 1
        s.counts[block] += 1
    end = 0
    for block in range(len(s.counts)):
        s.ends[block] = end
        end += s.counts[block]
    for t in range(first, last):
        block = tokens.partitions[t, r]
        s.order[s.ends[block]] = t
        s.ends[block] += 1
    return occupied


@inlined
def _nearest(block: int, occupied: int, s: Scratch) -> int:
    """The partition of the first of the tokens whose sign pattern differs from that of `block` in the fewest bits."""
    least = 64 << 32
    for i in range(occupied):
        apart = s.occupied[i] ^ block
        least = min(least, (_bits_set(apart ^ (apart >> 1)) << 32) + i)  # Gray coding is linear
    nearest: int = s.occupied[least & 0xFFFFFFFF]
    return nearest


@inlined
def _sum_tokens(vectors: FloatArray, first: int, last: int, block: int, s: Scratch) -> None:
    """Add up the tokens `order[first:last]`, which are some, for the partition `block`."""
    dim = vectors.shape[1]
    whole = dim - dim % SPAN
    for j in range(0, whole, SPAN):
        sum_rows(vectors, s.order, first, last, j, s.sums, block)
    for j in range(whole, dim):
        s.sums[block, j] = vectors[s.order[first], j]
    for i in range(first + 1, last):
        for j in range(whole, dim):
            s.sums[block, j] += vectors[s.order[i], j]


@inlined
def _sum_blocks(vectors: FloatArray, how: Fold, occupied: int, s: Scratch) -> int:
    """Sum the tokens of each partition, fill empty ones and take the mean away, as wanted; returns how many it made."""
    count = 0
    for block in range(how.blocks):
        source, size = block, s.counts[block]
        if size == 0:
            if not how.fill:
                continue
            source, size = _nearest(block, occupied, s), 1
        first = s.ends[source] - s.counts[source]
        _sum_tokens(vectors, first, first + size, block, s)
        if how.means and how.residual:
            for j in range(vectors.shape[1]):
                s.sums[block, j] -= np.float32(size) * s.mean[j]
        s.written[count] = block
        s.sizes[count] = size if how.means else 1
        count += 1
    return count


@inlined
def _project(source: FloatArray, row: int, size: np.float32, sketch: CountSketch, r: int, out: FloatArray) -> None:
    """Sketch `source[row]` with repetition `r` into `out`, or copy it when there is no sketch; divide by `size`."""
    if sketch.columns.shape[1] == 0:
        for j in range(source.shape[1]):
            out[j] = source[row, j] / size
    else:
        out[:] = 0
        for j in range(sketch.columns.shape[1]):
            out[sketch.columns[r, j]] += sketch.signs[r, j] * source[row, j]
        out /= size


@inlined
def _emit(block: FloatArray, first: int, start: int, how: Fold, out: FloatArray) -> None:
    """Put `block[first : first + width]` at coordinate `start` of an item's vector, or through the final sketch."""
    if len(how.final.columns) == 0:
        for j in range(how.width):
            out[start + j] = block[first + j]
    else:
        for j in range(how.width):
            out[how.final.columns[start + j]] += how.final.signs[start + j] * block[first + j]


@inlined
def _write_blocks(how: Fold, r: int, count: int, s: Scratch, out: FloatArray) -> None:
    """Project and emit the written partitions one by one."""
    for i in range(count):
        block = s.written[i]
        _project(s.sums, block, s.sizes[i], how.inner, r, s.products)
        _emit(s.products, 0, (r * how.blocks + block) * how.width, how, out)


@inlined
def _write_tiles(how: Fold, r: int, count: int, s: Scratch, out: FloatArray) -> None:
    """Project and emit the written partitions four by four: straight into the vector when panels fit there."""
    panels = how.panels.shape[1]
    padded = panels * LANES
    straight = len(how.final.columns) == 0 and padded == how.width
    for i in range(count, count + ROWS - 1):  # after the last partition, that one again
        s.written[i], s.sizes[i] = s.written[count - 1], s.sizes[count - 1]
    for i in range(0, count, ROWS):
        four = (s.written[i], s.written[i + 1], s.written[i + 2], s.written[i + 3])
        sizes = (s.sizes[i], s.sizes[i + 1], s.sizes[i + 2], s.sizes[i + 3])
        for p in range(panels):
            at = p * LANES
            if straight:
                at += r * how.blocks * how.width
                places = (at + four[0] * padded, at + four[1] * padded, at + four[2] * padded, at + four[3] * padded)
                tile(s.sums, four, sizes, how.panels, r, p, out, places)
            else:
                places = (at, at + padded, at + 2 * padded, at + 3 * padded)
                tile(s.sums, four, sizes, how.panels, r, p, s.products, places)
        if not straight:
            for k in range(min(ROWS, count - i)):
                _emit(s.products, k * padded, (r * how.blocks + four[k]) * how.width, how, out)


@inlined
def _put_mean(tokens: Tokens, item: int, how: Fold, mean: FloatArray, out: FloatArray) -> None:
    """Compute the mean token of an item; its last coordinates become the mean, or `R` times the sum."""
    first, last = tokens.offsets[item], tokens.offsets[item + 1]
    mean[:] = 0
    for t in range(first, last):
        for j in range(len(mean)):
            mean[j] += tokens.vectors[t, j]
    start = len(out) - len(mean)
    for j in range(len(mean)):
        if how.means:
            mean[j] /= np.float32(last - first)
            out[start + j] = mean[j]
        else:
            out[start + j] = np.float32(tokens.partitions.shape[1]) * mean[j]


@inlined
def _scratch(tokens: Tokens, how: Fold, longest: int) -> Scratch:
    dim = tokens.vectors.shape[1]
    return Scratch(
        np.empty((how.blocks, dim), np.float32),
        np.empty(longest, np.int64),
        np.empty(how.blocks, np.int64),
        np.empty(how.blocks, np.int64),
        np.empty(how.blocks, np.int64),
        np.empty(how.blocks + ROWS, np.int64),
        np.empty(how.blocks + ROWS, np.float32),
        np.empty(max(how.width, ROWS * how.panels.shape[1] * LANES), np.float32),
        np.empty(dim, np.float32),
    )


@kernel
def _fold(tokens: Tokens, how: Fold, out: FloatArray, first: int, last: int) -> None:
    """Write the vectors of items `first` to `last` over zeros."""
    longest = 0
    for item in range(first, last):
        longest = max(longest, tokens.offsets[item + 1] - tokens.offsets[item])
    scratch = _scratch(tokens, how, longest)
    for item in range(first, last):
        if tokens.offsets[item] == tokens.offsets[item + 1]:
            continue
        vector = out[item]
        if how.residual:
            _put_mean(tokens, item, how, scratch.mean, vector)
        for r in range(tokens.partitions.shape[1]):
            occupied = _sort(tokens, item, r, scratch)
            count = _sum_blocks(tokens.vectors, how, occupied, scratch)
            if len(how.panels):
                _write_tiles(how, r, count, scratch, vector)
            else:
                _write_blocks(how, r, count, scratch, vector)


def fold(tokens: TokenEmbeddings, partitions: Partitions, how: Fold, output_dim: int) -> FloatArray:
    """`(len(tokens), output_dim)` float32 encodings of items; zeros for one without tokens."""
    hashed = Tokens(
        frozen(tokens.vectors, np.float32, 2), frozen(tokens.offsets, np.int64, 1), frozen(partitions, np.uint16, 2)
    )
    how = how._replace(
        inner=_frozen_sketch(how.inner, 2), panels=frozen(how.panels, np.float32, 4), final=_frozen_sketch(how.final, 1)
    )
    out = np.zeros((len(tokens), output_dim), np.float32)
    in_threads(partial(_fold, hashed, how, out), hashed.offsets, tokens.dim * partitions.shape[1])
    return out


def _frozen_sketch(sketch: CountSketch, ndim: int) -> CountSketch:
    return CountSketch(frozen(sketch.columns, np.uint32, ndim), frozen(sketch.signs, np.float32, ndim))
