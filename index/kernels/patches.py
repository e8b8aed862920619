"""MaxSim over codes of codebooks: a table of products with every query vector, then one row of it a token and code.

`<q, x>` of a vector that is a sum of codebook entries is the sum of `<q, entry>`. These products are made once a query;
scoring a token only reads them, sixteen query vectors at a time.

A table has a row for every value that a code can take, whether or not the codebook has such an entry, so that no code
reads outside. Each query starts a panel of its own: its score does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from .int8 import (
    F32,
    LANES,
    Builder,
    Floats,
    Value,
    add,
    floats,
    load_floats,
    maximum,
    pick,
)
from .jit import frozen, in_threads, inlined_borrowing, kernel
from .maxsim import document_spans, query_range, token_costs
from .rows import Bytes
from .targets import panels, products

TABLE_BYTES = 1 << 19
"""Tables that one pass over the documents reads: half of a common L2 cache."""


class Tables(NamedTuple):
    """Products of queries with codebooks. values: `(panels, codebooks, entries, 16)` float32, zero in padding lanes.

    spans: `(m, 2)` int64, the first panel of each query and the one after its last.
    """

    values: FloatArray
    spans: IntArray


def tables(queries: TokenEmbeddings, codebooks: FloatArray) -> Tables:
    """Tables of queries for `(codebooks, entries, dim)` float32; entries is a power of two."""
    books, entries, dim = codebooks.shape
    spans = panel_spans(queries)
    lanes = in_panels(queries, spans)
    made = products(codebooks.reshape(-1, dim), panels(lanes))[:, : len(lanes)]
    values = made.reshape(books, entries, len(lanes) // LANES, LANES).transpose(2, 0, 1, 3)
    return Tables(frozen(values, np.float32, 4), spans)


def panel_spans(queries: TokenEmbeddings) -> IntArray:
    """`(m, 2)` int64: the first panel of each query and the one after its last, sixteen vectors a panel."""
    ends = np.cumsum(-(-queries.lengths // LANES))
    spans = np.stack([np.concatenate([[0], ends[:-1]])[: len(ends)], ends], axis=1)
    return frozen(spans, np.int64, 2)


def in_panels(queries: TokenEmbeddings, spans: IntArray) -> FloatArray:
    """`(16 * panels, dim)` float32: the vectors of each query from the start of its first panel, and zeros."""
    lanes = np.zeros((LANES * int(spans[:, 1].max(initial=0)), queries.dim), np.float32)
    starts = LANES * spans[:, 0] - queries.offsets[:-1]
    lanes[np.arange(len(queries.vectors)) + np.repeat(starts, queries.lengths)] = queries.vectors
    return lanes


@intrinsic  # type: ignore[untyped-decorator]
def total_of(_context: Any, lanes: Any) -> Any:
    """The sum of 16 floats, halves added to halves."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        rest = values[0]
        for count in (8, 4, 2, 1):
            low, high = (pick(builder, rest, rest, list(range(start, start + count))) for start in (0, count))
            rest = builder.fadd(low, high)
        return builder.bitcast(rest, F32)

    return (types.float32(lanes), generate) if lanes is Floats else None


@inlined_borrowing
def _entry(rows: Bytes, t: int, values: FloatArray, table: int) -> Any:
    """Row of a table at the code of token `t`, one byte, or two of which as many bits count as the table has rows."""
    width = rows.shape[1]
    code = np.int64(rows[t, 0])
    if width == 2:
        code = (code | (np.int64(rows[t, 1]) << 8)) & (values.shape[2] - 1)
    return load_floats(values, table + code * LANES)


@inlined_borrowing
def _best_single(rows: Bytes, begin: int, end: int, values: FloatArray, table: int) -> Any:
    """Largest entries of one codebook over a document that has tokens."""
    a = b = c = d = floats(np.float32(-np.inf))
    for t in range(begin, end - 3, 4):
        a = maximum(a, _entry(rows, t, values, table))
        b = maximum(b, _entry(rows, t + 1, values, table))
        c = maximum(c, _entry(rows, t + 2, values, table))
        d = maximum(d, _entry(rows, t + 3, values, table))
    for t in range(end - (end - begin) % 4, end):
        a = maximum(a, _entry(rows, t, values, table))
    return maximum(maximum(a, b), maximum(c, d))


@inlined_borrowing
def _best_sum(rows: Bytes, begin: int, end: int, values: FloatArray, table: int) -> Any:
    """Largest sums of entries of several codebooks, one byte each."""
    size = values.shape[2] * LANES
    best = floats(np.float32(-np.inf))
    for t in range(begin, end):
        sums = load_floats(values, table + np.int64(rows[t, 0]) * LANES)
        for book in range(1, values.shape[1]):
            sums = add(sums, load_floats(values, table + book * size + np.int64(rows[t, book]) * LANES))
        best = maximum(best, sums)
    return best


@kernel
def _score(
    rows: Bytes, documents: IntArray, values: FloatArray, spans: IntArray, out: FloatArray, first: int, last: int
) -> None:
    """Score documents `first` to `last`; `documents` is `(n, 2)`: first row of each and the row after its last."""
    size = values.shape[1] * values.shape[2] * LANES
    for document in range(first, last):
        begin, end = documents[document]
        if begin == end:
            out[:, document] = -np.inf
            continue
        for q in range(len(spans)):
            sums = floats(np.float32(0))
            for p in range(spans[q, 0], spans[q, 1]):
                if values.shape[1] == 1:
                    sums = add(sums, _best_single(rows, begin, end, values, p * size))
                else:
                    sums = add(sums, _best_sum(rows, begin, end, values, p * size))
            out[q, document] = total_of(sums)


def patch_scores(
    queries: TokenEmbeddings,
    codebooks: FloatArray,
    rows: Bytes,
    offsets: IntArray,
    positions: IntArray | None = None,
) -> FloatArray:
    """`(len(queries), n or p)` float32 MaxSim of queries and documents; -inf for a document without rows.

    codebooks: `(1, 2**b, dim)` float32 for rows of one byte (b = 8) or of two, little-endian, of which b bits count;
    `(c, 256, dim)` for rows of `c` bytes, whose vectors are sums of one entry of each.
    rows: `(T, width)` uint8. offsets: `(n + 1,)` int64. positions: `(p,)` int64.
    Raises `InvalidInputError` when offsets or positions point outside, and on rows of another width than described.
    """
    rows = frozen(rows, np.uint8, 2)
    books, entries = codebooks.shape[:2]
    nine_or_more = (books, rows.shape[1]) == (1, 2) and entries in (1 << b for b in range(17))
    if not nine_or_more and (entries != 256 or rows.shape[1] != books):
        raise InvalidInputError(f"rows of {rows.shape[1]} bytes do not fit {books} codebooks of {entries} entries")
    documents = document_spans(offsets, positions, len(rows))
    out = np.empty((len(queries), len(documents)), np.float32)
    costs = token_costs(documents)
    for first, last, made in _passes(queries, codebooks):
        in_threads(partial(_score, rows, documents, *made, out[first:last]), costs, len(made.values) * LANES)
    return out


def _passes(queries: TokenEmbeddings, codebooks: FloatArray) -> Iterator[tuple[int, int, Tables]]:
    """Consecutive ranges of queries whose tables take about `TABLE_BYTES`, at least one query each, and the tables."""
    most = max(1, TABLE_BYTES // (codebooks.shape[0] * codebooks.shape[1] * LANES * 4))
    ends = panel_spans(queries)[:, 1]
    first = 0
    while first < len(queries):
        used = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, used + most, "right")))
        yield first, last, tables(query_range(queries, first, last), codebooks)
        first = last
