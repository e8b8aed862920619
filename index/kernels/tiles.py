"""Codes of some stored rows of nibbles at a time, one byte each and row by row: what MaxSim reads."""

from __future__ import annotations

import numpy as np

from .int8 import BYTES, load
from .jit import inlined_borrowing
from .rows import CONSTANT_BYTES, LVQ4, Bytes
from .unpack import joined_nibbles, lower_nibbles, store, upper_nibbles


@inlined_borrowing
def tile_width(dim: int) -> int:
    """Bytes of a row of the tile: half the dimensions, room for whole vectors of the others; whole groups of four."""
    half = (dim + 1) // 2
    return (half + (half + BYTES - 1) // BYTES * BYTES + 3) // 4 * 4


@inlined_borrowing
def _fill_nibbles(rows: Bytes, t: int, dim: int, tile: Bytes, i: int) -> None:
    """Primary codes of an LVQ-4 or LVQ-4x4 row. Bytes beyond a half are overwritten by the other or meet zeros."""
    half = (dim + 1) // 2
    source, target = t * rows.shape[1], i * tile.shape[1]
    if source + tile.shape[1] - half <= rows.size:
        for j in range(0, half, BYTES):
            store(tile, target + j, lower_nibbles(load(rows, source + j)))
        for j in range(0, half, BYTES):
            store(tile, target + half + j, upper_nibbles(load(rows, source + j)))
    else:
        for j in range(half):
            tile[i, j], tile[i, half + j] = rows[t, j] & np.uint8(15), rows[t, j] >> np.uint8(4)


@inlined_borrowing
def _fill_both(rows: Bytes, t: int, dim: int, tile: Bytes, i: int) -> None:
    """`15 * primary + residual` of the codes of an LVQ-4x4 row, at most 240."""
    half = (dim + 1) // 2
    source, target = t * rows.shape[1], i * tile.shape[1]
    beside = source + half + CONSTANT_BYTES
    if beside + tile.shape[1] - half <= rows.size:
        for j in range(0, half, BYTES):
            first, second = lower_nibbles(load(rows, source + j)), lower_nibbles(load(rows, beside + j))
            store(tile, target + j, joined_nibbles(first, second))
        for j in range(0, half, BYTES):
            first, second = upper_nibbles(load(rows, source + j)), upper_nibbles(load(rows, beside + j))
            store(tile, target + half + j, joined_nibbles(first, second))
    else:
        for j in range(half):
            first, second = rows[t, j], rows[t, half + CONSTANT_BYTES + j]
            tile[i, j] = np.uint8(15 * (first & 15) + (second & 15))
            tile[i, half + j] = np.uint8(15 * (first >> 4) + (second >> 4))


@inlined_borrowing
def fill(rows: Bytes, start: int, count: int, layout: int, dim: int, tile: Bytes) -> None:
    """Codes of `count` rows from `start`, in the layout `LVQ4` or `LVQ4X4`."""
    for i in range(count):
        if layout == LVQ4:
            _fill_nibbles(rows, start + i, dim, tile, i)
        else:
            _fill_both(rows, start + i, dim, tile, i)
