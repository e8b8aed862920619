"""Graphs of neighbours: what their entry reaches, links that complete it, and the beam search over stored rows.

Arrays travel to the inlined functions one by one: numba counts references to those inside a tuple whenever one is used,
which costs as much as the search.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...encoders.embeddings import FloatArray, IntArray
from .blocks import address, constants
from .int8 import LANES, Signed, call, store_floats
from .jit import frozen, in_threads, inlined, kernel
from .queries import Weights
from .rows import CONSTANT_BYTES, Bytes
from .scan import score_block
from .select import MOST_POSITIONS, NO_KEY, Keys, best_first, key_of, score_of

Links = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

CACHE_LINE = 64
MOST_ISLANDS = 256
WORK = 2
"""A byte of a row that is fetched from anywhere, in multiply-adds."""
ALL_POSITIONS = np.uint64(MOST_POSITIONS - 1)
ONE = np.uint64(1)


@inlined
def _spread(neighbours: Links, parents: Links, queue: Links, done: int, size: int) -> int:
    """Follow links from the nodes `queue[done:size]` on; new ones join the queue. Returns its size."""
    while done < size:
        node = queue[done]
        done += 1
        for slot in range(neighbours.shape[1]):
            other = neighbours[node, slot]
            if other >= 0 and parents[other] < 0:
                parents[other] = node
                queue[size] = other
                size += 1
    return size


@inlined
def _link(neighbours: Links, parents: Links, source: int, target: int) -> bool:
    """Link `source` to `target` in a free slot, or in place of its last link by which no node was reached."""
    place = -1
    for slot in range(neighbours.shape[1]):
        other = neighbours[source, slot]
        if other < 0 or parents[other] != source:
            place = slot
        if other < 0:
            break
    if place >= 0:
        neighbours[source, place] = target
    return place >= 0


@kernel
def _adopt(neighbours: Links, parents: Links, queue: Links, done: int, size: int) -> int:
    """Reach all that the nodes `queue[done:size]` lead to, and link nodes out of reach from their own neighbours.

    parents: `(n,)` int32, the node from which each was reached, -1 for those out of reach; links of this tree are
    never given up. queue: `(n,)` int32, of which the first are the reached nodes in order. Returns how many those are.
    """
    size = _spread(neighbours, parents, queue, done, size)
    before = 0
    while before < size:
        before = size
        for node in range(len(parents)):
            for slot in range(neighbours.shape[1]):
                if parents[node] >= 0:
                    break
                source = neighbours[node, slot]
                if source >= 0 and parents[source] >= 0 and _link(neighbours, parents, source, node):
                    parents[node] = source
                    queue[size] = node
                    size = _spread(neighbours, parents, queue, size, size + 1)
    return size


@kernel
def _attach(neighbours: Links, parents: Links, queue: Links, size: int, hosts: Links, node: int) -> int:
    """Link the node out of reach from the first of the `hosts` that can, which are reached, and put it in the queue.

    Returns the size of the queue, unchanged if none can. The last node of the queue always can: it reached no other.
    """
    for source in hosts:
        if _link(neighbours, parents, source, node):
            parents[node] = source
            queue[size] = node
            return size + 1
    return size


def connect(neighbours: Links, entry: int, near: Callable[[int, Mask], Links]) -> None:
    """Add links, in place, until every node can be reached from the entry; they may take the place of others.

    A node out of reach is linked from one of its own neighbours that is in reach. Where there is none, it is an island,
    such as more equal vectors than a node has links: `near(node, reached)` names nodes to link it from, given the mask
    of those in reach. `MOST_ISLANDS` times, after which islands are linked from anywhere.
    """
    parents, queue = np.full(len(neighbours), -1, np.int32), np.empty(len(neighbours), np.int32)
    parents[entry] = queue[0] = entry
    done, size, islands = 0, 1, 0
    while (size := _adopt(neighbours, parents, queue, done, size)) < len(neighbours):
        node = int(np.argmin(parents))
        hosts = queue[size - 1 : size]
        if islands < MOST_ISLANDS:
            hosts = np.concatenate([near(node, parents >= 0), hosts])
        islands += 1
        done, size = size, _attach(neighbours, parents, queue, size, hosts, node)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_context: Any, where: Any) -> Any:
    """Ask memory for the cache line of an address, which need not be valid, and go on."""

    def generate(context: Any, builder: Any, _: Any, values: list[Any]) -> Any:
        flags = [ir.IntType(32)(flag) for flag in (0, 3, 1)]  # to read, to keep, data
        call(
            builder, "llvm.prefetch.p0", ir.VoidType(), builder.inttoptr(values[0], ir.IntType(8).as_pointer()), *flags
        )
        return context.get_dummy_value()

    return (types.none(where), generate) if where is types.int64 else None


@inlined
def _insert(keys: Keys, size: int, key: np.uint64) -> int:
    """Put the key in its place among `keys[:size]`, whose last falls out when all are taken; returns the place."""
    place = min(size, len(keys) - 1)
    while place > 0 and keys[place - 1] < key:
        keys[place] = keys[place - 1]
        place -= 1
    keys[place] = key
    return place


@inlined
def _fresh_neighbours(neighbours: Links, node: np.int64, visited: Words, trail: Links, seen: int, fresh: Links) -> int:
    """Put the neighbours of the node that were not visited into `fresh`, and mark them; returns how many.

    visited: one bit a node. trail: the first `seen` visited nodes, as many as fit.
    """
    count = 0
    for slot in range(neighbours.shape[1]):
        other = neighbours[node, slot]
        if other < 0:
            break
        word, bit = other >> 6, ONE << np.uint64(other & 63)
        if visited[word] & bit:
            continue
        visited[word] |= bit
        if seen + count < len(trail):
            trail[seen + count] = other
        fresh[count] = other
        count += 1
    return count


@inlined
def _forget(visited: Words, trail: Links, seen: int) -> None:
    """Clear the marks of `seen` visited nodes: one by one, or all words if that is less work."""
    if seen > len(trail):
        visited[:] = 0
    else:
        for t in range(seen):
            visited[trail[t] >> 6] = 0


@inlined
def _last_rows(rows: Bytes, reach: int) -> Bytes:
    """A copy of the rows of which `reach` bytes, as many as are read, are not all within the array; zeros follow."""
    first = 0 if rows.size < reach else (rows.size - reach) // rows.shape[1] + 1
    last = np.zeros((len(rows) - first, rows.shape[1] + reach), np.uint8)
    for i in range(len(last)):
        for j in range(rows.shape[1]):
            last[i, j] = rows[first + i, j]
    return last


@inlined
def _fetch(rows: Bytes, last: Bytes, fresh: Links, count: int, addresses: IntArray) -> None:
    """Addresses of the rows `fresh[:count]`, the last one repeated to fill a block of `LANES`.

    Memory is asked for all rows at once, before the first is scored.
    """
    width, whole = rows.shape[1], len(rows) - len(last)
    for j in range(count):
        row = np.int64(fresh[j])
        if row < whole:
            addresses[j] = address(rows, row * width)
            for place in range(0, width, CACHE_LINE):
                prefetch(addresses[j] + place)
        else:
            addresses[j] = address(last, (row - whole) * last.shape[1])
    for j in range(count, -(-count // LANES) * LANES):
        addresses[j] = addresses[count - 1]


@inlined
def _score(
    addresses: IntArray, count: int, end: int, codes: Signed, factors: FloatArray, c: int, wide: bool, out: FloatArray
) -> None:
    """Scores of the rows at `addresses[:count]`, whose constants begin at byte `end`, with query `c`."""
    for j in range(0, count, LANES):
        block = addresses[j:]
        lower, step = constants(block, end)
        store_floats(out, j, score_block(block, codes, factors, c, wide, lower, step))


@inlined
def _keep(keys: Keys, size: int, place: int, fresh: Links, scores: FloatArray, count: int) -> tuple[int, int]:
    """Insert the nodes that belong among the best `len(keys)`; returns how many are held, and the first to expand."""
    bound = score_of(keys[size - 1]) if size == len(keys) else np.float32(-np.inf)
    for j in range(count):
        if scores[j] > bound:
            place = min(place, _insert(keys, size, key_of(scores[j], 2 * fresh[j])))
            size = min(size + 1, len(keys))
            if size == len(keys):
                bound = score_of(keys[size - 1])
    while place < size and not keys[place] & ONE:
        place += 1
    return size, place


@kernel
def _search(
    neighbours: Links,
    entry: int,
    rows: Bytes,
    codes: Signed,
    factors: FloatArray,
    wide: bool,
    out: Keys,
    first: int,
    last: int,
) -> None:
    """Write the beams of queries `first` to `last` into `out`, `(m, beam)` keys, `NO_KEY` at first.

    A node's key is that of twice its number: odd, and one less once its neighbours have been looked at.
    """
    words = (len(neighbours) >> 6) + 1
    visited, trail = np.zeros(words, np.uint64), np.empty(words, np.int32)
    room = -(-max(1, neighbours.shape[1]) // LANES) * LANES
    fresh, addresses, scores = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.float32)
    end_rows = _last_rows(rows, codes.shape[1] // 2)
    for c in range(first, last):
        keys = out[c]
        size = place = 0
        fresh[0] = trail[0] = entry
        visited[entry >> 6] = ONE << np.uint64(entry & 63)
        seen = count = 1
        while True:
            _fetch(rows, end_rows, fresh, count, addresses)
            _score(addresses, count, rows.shape[1] - CONSTANT_BYTES, codes, factors, c, wide, scores)
            size, place = _keep(keys, size, place, fresh, scores, count)
            if place == size:
                break
            keys[place] -= ONE
            node = np.int64((ALL_POSITIONS - (keys[place] & ALL_POSITIONS)) >> ONE)
            count = _fresh_neighbours(neighbours, node, visited, trail, seen, fresh)
            seen += count
        _forget(visited, trail, seen)


def beam_search(
    neighbours: Links, entry: int, rows: Bytes, weights: Weights, bits: int, beam: int
) -> tuple[IntArray, FloatArray]:
    """`(m, beam)` int64 nodes and float32 scores: the best that a beam search from the entry meets, the best first.

    Padded with -1 and -inf. neighbours: `(n, degree)` int32, whose links must lead to rows; this is not checked.
    rows: `(n, width)` LVQ rows of 4 or 8 bits.
    """
    neighbours = frozen(neighbours, np.int32, 2)
    rows = frozen(rows, np.uint8, 2)
    keys = np.full((len(weights.codes), beam), NO_KEY, np.uint64)
    if len(rows):
        search = partial(_search, neighbours, entry, rows, weights.codes, weights.constants, bits == 8, keys)
        in_threads(search, len(keys), WORK * beam * neighbours.shape[1] * rows.shape[1])
    positions, scores = best_first(keys, beam)
    return np.where(positions >= 0, positions >> 1, -1), scores
