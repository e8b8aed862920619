"""Nearest entries of codebooks of signed bytes, in integers: how vectors become centroid ids and codes.

A vector in units of the codebook is rounded to signed bytes `v`; its nearest entry `e` has the largest
`<v, e> - |e|**2 / 2`. Sixteen entries lie side by side in a panel, and a search is one product a word of four
dimensions and panel. The rounding may choose an entry that is farther by a hair; it never depends on other vectors.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from .int8 import (
    BYTES,
    LANES,
    SIGNED_MAX,
    Signed,
    above,
    add,
    dot,
    floats,
    largest,
    load,
    load_floats,
    lowest,
    maximum,
    side_by_side,
    spread,
    store_floats,
    zeros,
)
from .jit import frozen, in_threads, inlined_borrowing, kernel
from .rows import Bytes

Products = npt.NDArray[np.float64]

OFFSET = 128
"""What makes a signed byte unsigned."""
PROBES = 4
"""Groups of centroids that are searched, nearest first."""
WHOLE, RESIDUAL = 0, 1
"""What the constant of a row multiplies: centroid and residual, or the residual alone."""
SHORTEST = 1 / 16
"""Least length of a decoded unit vector that is stretched to the vector's length; shorter ones stay shorter."""


class Entries(NamedTuple):
    """Codebook entries ready to be searched.

    packed: `(panels, groups, 64)` int8, see `side_by_side`. offsets: `(panels * 16,)` float32:
    `-|e|**2 / 2 - 128 * sum(e)`, -inf for padding.
    """

    packed: Signed
    offsets: FloatArray


def entries(books: Signed) -> Entries:
    """`(books, count, width)` signed bytes, each book padded to whole panels."""
    number, count, width = books.shape
    full = -(-count // LANES) * LANES
    padded = np.zeros((number, full, width), np.int8)
    padded[:, :count] = books
    wide = padded.astype(np.int64)
    offsets = np.full((number, full), -np.inf, np.float32)
    offsets[:, :count] = (-(wide**2).sum(axis=2) / 2 - OFFSET * wide.sum(axis=2))[:, :count]
    packed = side_by_side(padded.reshape(-1, width))
    return Entries(frozen(packed, np.int8, 3), frozen(offsets.ravel(), np.float32, 1))


@inlined_borrowing
def _as_byte(value: np.float32) -> np.uint8:
    """The signed byte nearest to `value`, made unsigned."""
    limit = np.float32(SIGNED_MAX)
    return np.uint8(np.int32(min(max(np.rint(value), -limit), limit)) + np.int32(OFFSET))


@inlined_borrowing
def _compare(code: Bytes, at: int, book: Entries, first: int, panels: int, values: FloatArray) -> None:
    """Write how near the vector `code[at:]` is to each entry of `panels` panels from `first`."""
    groups = book.packed.shape[1]
    for p in range(panels):
        total, x = zeros(), (first + p) * groups * BYTES
        for g in range(groups):
            total = dot(total, spread(code, at + 4 * g), load(book.packed, x + g * BYTES))
        store_floats(values, p * LANES, add(floats(total), load_floats(book.offsets, (first + p) * LANES)))


@inlined_borrowing
def _largest(values: FloatArray, panels: int) -> int:
    """Position of the largest of `16 * panels` values, the first of those that differ by 2**-22."""
    best = load_floats(values, 0)
    for p in range(1, panels):
        best = maximum(best, load_floats(values, p * LANES))
    top = largest(best)
    bound = np.float32(top - max(np.float32(0.25), abs(top) * np.float32(2.0**-22)))
    for p in range(panels):
        hits = np.int64(above(load_floats(values, p * LANES), floats(bound)))
        if hits:
            return p * LANES + int(lowest(hits))
    return 0


@inlined_borrowing
def _centroid(code: Bytes, coarse: Entries, fine: Entries, groups: int, per_group: int, values: FloatArray) -> int:
    """Number of the nearest centroid of the `PROBES` nearest groups."""
    outer, inner = (groups + LANES - 1) // LANES, (per_group + LANES - 1) // LANES
    inside = values[outer * LANES :]
    best, found = np.float32(-np.inf), 0
    if groups > 1:
        _compare(code, 0, coarse, 0, outer, values)
    for _ in range(min(PROBES, groups)):
        group = _largest(values, outer) if groups > 1 else 0
        values[group] = -np.inf
        _compare(code, 0, fine, group * inner, inner, inside)
        i = _largest(inside, inner)
        if inside[i] > best:
            best, found = inside[i], group * per_group + i
    return found


class Books(NamedTuple):
    """What `encode` looks up.

    centroids: `(K, dim)` int8, groups one after another. per_group: centroids of a group. books: `(M or 1, 256, width)`
    int8, one for each code or one for all. scales: `(2,)` float32 units of centroids and of books. places: `(dim,)`
    int64, where a coordinate lies in the `codes * width` of all codes.
    """

    centroids: Signed
    per_group: int
    books: Signed
    scales: FloatArray
    places: IntArray
    coarse: Entries
    fine: Entries
    entries: Entries


@kernel
def _encode(
    vectors: FloatArray,
    books: Books,
    codes: int,
    id_bytes: int,
    scaling: int,
    rows: Bytes,
    sums: Products,
    first: int,
    last: int,
) -> None:
    """Write ids and codes of vectors `first` to `last`; see `encode`."""
    dim, width, scales = vectors.shape[1], books.books.shape[2], books.scales
    code, rest = np.full(books.fine.packed.shape[1] * 4, OFFSET, np.uint8), np.full(codes * width + 1, OFFSET, np.uint8)
    vector, near, decoded = (
        np.empty(dim, np.float32),
        np.empty(dim, np.float32),
        np.zeros(codes * width + 1, np.float32),
    )
    groups = len(books.centroids) // books.per_group
    values = np.empty(groups + books.per_group + 4 * LANES + 256, np.float32)
    into, into_rest = np.float32(1) / scales[0], np.float32(1) / scales[1]
    for i in range(first, last):
        squares = 0.0
        for j in range(dim):
            squares += float(vectors[i, j]) ** 2
        factor = np.float32(1 / np.sqrt(squares) if scaling == WHOLE and squares > 0 else 1)
        for j in range(dim):
            vector[j] = vectors[i, j] * factor
            code[j] = _as_byte(vector[j] * into)
        c = _centroid(code, books.coarse, books.fine, groups, books.per_group, values)
        for b in range(id_bytes):
            rows[i, b] = np.uint8((c >> (8 * b)) & 255)
        for j in range(dim):
            near[j] = scales[0] * np.float32(books.centroids[c, j])
            left = vector[j] - near[j]
            if scaling == RESIDUAL:
                left = np.float32(np.inf) if left >= 0 else np.float32(-np.inf)
            rest[books.places[j]] = _as_byte(left * into_rest)
        for m in range(codes):
            book = m if len(books.books) > 1 else 0
            _compare(rest, m * width, books.entries, book * 256 // LANES, 256 // LANES, values)
            k = _largest(values, 256 // LANES)
            rows[i, id_bytes + m] = np.uint8(k)
            for j in range(width):
                decoded[m * width + j] = scales[1] * np.float32(books.books[book, k, j])
        cc = cx = xx = rx = rr = 0.0
        for j in range(dim):
            centroid, x = float(near[j]), float(decoded[books.places[j]])
            r = float(vector[j]) - centroid
            cc, cx, xx = cc + centroid * centroid, cx + centroid * x, xx + x * x
            rx, rr = rx + r * x, rr + r * r
        sums[i, 0], sums[i, 1], sums[i, 2] = cc, cx, xx
        sums[i, 3], sums[i, 4], sums[i, 5] = rx, rr, squares


def search_in(centroids: Signed, per_group: int, books: Signed, scales: FloatArray, places: IntArray) -> Books:
    """The codebooks laid out for searching; groups are found by the means of their centroids."""
    grouped = centroids.reshape(-1, per_group, centroids.shape[1])
    means = np.rint(grouped.mean(axis=1)).astype(np.int8)
    return Books(
        frozen(centroids, np.int8, 2),
        per_group,
        frozen(books, np.int8, 3),
        frozen(scales, np.float32, 1),
        frozen(places, np.int64, 1),
        entries(means[None]),
        entries(grouped),
        entries(books),
    )


def encode(vectors: FloatArray, books: Books, codes: int, id_bytes: int, scaling: int, rows: Bytes) -> Products:
    """Write id and codes of `(n, dim)` vectors to the first bytes of `(n, width)` rows.

    scaling: `WHOLE` takes directions for the vectors, `RESIDUAL` signs for the coordinates of residuals.
    Returns `(n, 6)` float64: of the centroid c, the residual r and the decoded residual x the products of c and c,
    c and x, x and x, r and x, r and r; and the squared length of the vector.
    """
    vectors = frozen(vectors, np.float32, 2)
    sums = np.empty((len(vectors), 6))
    in_threads(partial(_encode, vectors, books, codes, id_bytes, scaling, rows, sums), len(vectors), 1 << 13)
    return sums
