"""MaxSim over sign codes: rows of bits, one a dimension, least significant first; a set bit is +1, any other -1.

Asymmetric: `<q, signs>` from a table of the 16 sums that four coordinates of a query vector can make. Symmetric: the
query is signs as well, and `<signs, signs> = bits - 2 * (bits that differ)`. Both meet sixteen query vectors at a time,
and each query starts a panel of its own: its score does not depend on its company.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import intrinsic

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from .int8 import (
    I32,
    I64,
    LANES,
    Builder,
    Integers,
    Value,
    add,
    call,
    constant,
    floats,
    load_floats,
    maximum,
    place,
    splat,
    zeros,
)
from .jit import frozen, in_threads, inlined_borrowing, kernel
from .maxsim import document_spans, query_groups, query_range, token_costs
from .patches import in_panels, panel_spans, total_of
from .rows import Bytes

WORD_BYTES = 4
"""Rows are multiples of so many bytes."""
NIBBLE = 16
"""Sums of four coordinates with signs."""

_SIGNS = np.where(np.arange(NIBBLE)[:, None] >> np.arange(4) & 1, np.float32(1), np.float32(-1))


@intrinsic  # type: ignore[untyped-decorator]
def count_different(_context: Any, total: Any, rows: Any, place_of_row: Any, words: Any, offset: Any) -> Any:
    """`total` and how many of four bytes of `rows` differ, in bits, from each of 16 int32 of `words`."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        kinds = signature.args
        row = _load(context, builder, kinds[1:3], values[1:3], I32, 1)
        lanes = _load(context, builder, kinds[3:5], values[3:5], Integers.layout, 4)
        bits = builder.xor(splat(builder, row, LANES), lanes)
        return builder.add(values[0], call(builder, "llvm.ctpop.v16i32", Integers.layout, bits))

    fits = total is Integers and rows.dtype is types.uint8 and words.dtype is types.int32
    return (Integers(total, rows, place_of_row, words, offset), generate) if fits else None


def _load(context: Any, builder: Builder, kinds: Any, values: list[Value], layout: Any, align: int) -> Value:
    """What lies at an element of an array; `kinds` are the types of the array and the offset."""
    return builder.load(place(context, builder, types.void(*kinds), values, layout), align=align)


@intrinsic  # type: ignore[untyped-decorator]
def most_different(_context: Any) -> Any:
    """16 times the largest int32."""
    return Integers(), lambda *_: constant(I32, LANES, 2**31 - 1)


@intrinsic  # type: ignore[untyped-decorator]
def least(_context: Any, a: Any, b: Any) -> Any:
    """The smaller of two times 16 integers."""

    def generate(_: Any, builder: Builder, __: Any, values: list[Value]) -> Value:
        return builder.select(builder.icmp_signed("<", *values), *values)

    return (Integers(a, b), generate) if a is b is Integers else None


@intrinsic  # type: ignore[untyped-decorator]
def store_integers(_context: Any, array: Any, offset: Any, lanes: Any) -> Any:
    """Write 16 integers into an int32 array."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        builder.store(values[2], place(context, builder, signature, values, Integers.layout), align=4)
        return context.get_dummy_value()

    fits = array.dtype is types.int32 and lanes is Integers
    return (types.none(array, offset, lanes), generate) if fits else None


@intrinsic  # type: ignore[untyped-decorator]
def load_four(_context: Any, rows: Any, offset: Any) -> Any:
    """Four bytes of a uint8 array as an int64, the first the lowest."""

    def generate(context: Any, builder: Builder, signature: Any, values: list[Value]) -> Value:
        return builder.zext(_load(context, builder, signature.args, values, I32, 1), I64)

    return (types.int64(rows, offset), generate) if rows.dtype is types.uint8 else None


@inlined_borrowing
def _signed_sums(rows: Bytes, t: int, last: int, values: FloatArray, panel: int) -> Any:
    """The largest of the products of the signs of four tokens from `t` with a panel; the last is repeated."""
    width = rows.shape[1]
    t1, t2, t3 = min(t + 1, last), min(t + 2, last), min(t + 3, last)
    a = b = c = d = floats(np.float32(0))
    table = panel * width * 2 * NIBBLE * LANES
    for j in range(0, width, WORD_BYTES):
        r0, r1 = load_four(rows, t * width + j), load_four(rows, t1 * width + j)
        r2, r3 = load_four(rows, t2 * width + j), load_four(rows, t3 * width + j)
        for _ in range(2 * WORD_BYTES):
            a = add(a, load_floats(values, table + (r0 & 15) * LANES))
            b = add(b, load_floats(values, table + (r1 & 15) * LANES))
            c = add(c, load_floats(values, table + (r2 & 15) * LANES))
            d = add(d, load_floats(values, table + (r3 & 15) * LANES))
            r0, r1, r2, r3 = r0 >> 4, r1 >> 4, r2 >> 4, r3 >> 4
            table += NIBBLE * LANES
    return maximum(maximum(a, b), maximum(c, d))


@kernel
def _sign_scores(
    rows: Bytes, documents: IntArray, values: FloatArray, spans: IntArray, out: FloatArray, first: int, last: int
) -> None:
    for document in range(first, last):
        begin, end = documents[document]
        if begin == end:
            out[:, document] = -np.inf
            continue
        for q in range(len(spans)):
            sums = floats(np.float32(0))
            for p in range(spans[q, 0], spans[q, 1]):
                best = floats(np.float32(-np.inf))
                for t in range(begin, end, 4):
                    best = maximum(best, _signed_sums(rows, t, end - 1, values, p))
                sums = add(sums, best)
            out[q, document] = total_of(sums)


def sign_scores(
    queries: TokenEmbeddings, rows: Bytes, offsets: IntArray, positions: IntArray | None = None
) -> FloatArray:
    """`(len(queries), n or p)` float32: for each query vector the largest product with the signs of a document's rows.

    Summed over the vectors of a query; -inf for a document without rows. queries: of no more dimensions than rows have
    bits. rows: `(T, width)` uint8, width a multiple of 4. offsets: `(n + 1,)` int64. positions: `(p,)` int64.
    Raises `InvalidInputError` on other widths and when offsets or positions point outside.
    """
    rows = _checked(rows, queries.dim)
    documents = document_spans(offsets, positions, len(rows))
    out, costs = np.empty((len(queries), len(documents)), np.float32), token_costs(documents)
    groups = 2 * rows.shape[1]
    for first, last in query_groups(queries.offsets, groups * NIBBLE * 4):
        part = query_range(queries, first, last)
        values, spans = _sums(part, groups), panel_spans(part)
        in_threads(partial(_sign_scores, rows, documents, values, spans, out[first:last]), costs, values.size // NIBBLE)
    return out


def _checked(rows: Bytes, dim: int) -> Bytes:
    """Rows of whole words that have a bit for every dimension."""
    checked: Bytes = frozen(rows, np.uint8, 2)
    width = checked.shape[1]
    if width % WORD_BYTES or dim > 8 * width:
        raise InvalidInputError(f"sign rows have {width} bytes; expected a multiple of {WORD_BYTES} for {dim} bits")
    return checked


def _sums(queries: TokenEmbeddings, groups: int) -> FloatArray:
    """`(panels, groups, 16, 16)` float32: sums of four coordinates with the signs of each nibble, lane by lane."""
    lanes = in_panels(queries, panel_spans(queries))
    padded = np.zeros((len(lanes), groups * 4), np.float32)
    padded[:, : queries.dim] = lanes
    fours = padded.reshape(-1, LANES, groups, 4).transpose(0, 2, 3, 1)[:, :, :, None, :]
    signs = _SIGNS[:, :, None]
    low = fours[:, :, 0] * signs[:, 0] + fours[:, :, 1] * signs[:, 1]
    return frozen(low + (fours[:, :, 2] * signs[:, 2] + fours[:, :, 3] * signs[:, 3]), np.float32, 4)


@kernel
def _hamming_scores(
    rows: Bytes,
    documents: IntArray,
    words: npt.NDArray[np.int32],
    spans: IntArray,
    lengths: IntArray,
    bits: int,
    out: FloatArray,
    first: int,
    last: int,
) -> None:
    width, count = rows.shape[1], words.shape[1]
    lanes = np.empty(LANES, np.int32)
    for document in range(first, last):
        begin, end = documents[document]
        if begin == end:
            out[:, document] = -np.inf
            continue
        for q in range(len(spans)):
            differences = 0
            for p in range(spans[q, 0], spans[q, 1]):
                best = most_different()
                for t in range(begin, end):
                    row = zeros()
                    for w in range(count):
                        row = count_different(row, rows, t * width + 4 * w, words, (p * count + w) * LANES)
                    best = least(best, row)
                store_integers(lanes, 0, best)
                for i in range(min(LANES, lengths[q] - (p - spans[q, 0]) * LANES)):
                    differences += lanes[i]
            out[q, document] = lengths[q] * bits - 2 * differences


def hamming_scores(
    queries: Bytes, query_offsets: IntArray, rows: Bytes, offsets: IntArray, positions: IntArray | None = None
) -> FloatArray:
    """`(m, n or p)` float32 MaxSim of signs with signs, `bits - 2 * difference` a pair; whole numbers.

    queries: `(t, width)` uint8 rows like those of documents, width a multiple of 4; query_offsets: `(m + 1,)` int64.
    The rest is as for `sign_scores`.
    """
    rows = _checked(rows, 8 * queries.shape[1])
    if queries.shape[1] != rows.shape[1]:
        raise InvalidInputError(f"queries are rows of {queries.shape[1]} bytes, documents of {rows.shape[1]}")
    documents = document_spans(offsets, positions, len(rows))
    lengths = np.diff(query_offsets)
    count = rows.shape[1] // WORD_BYTES
    plain = TokenEmbeddings(np.zeros((len(queries), 0), np.float32), query_offsets)
    spans = panel_spans(plain)
    lanes = np.zeros((LANES * int(spans[:, 1].max(initial=0)), count), np.int32)
    starts = LANES * spans[:, 0] - query_offsets[:-1]
    lanes[np.arange(len(queries)) + np.repeat(starts, lengths)] = np.ascontiguousarray(queries).view(np.int32)
    words = frozen(lanes.reshape(-1, LANES, count).transpose(0, 2, 1), np.int32, 3)
    out = np.empty((len(lengths), len(documents)), np.float32)
    frozen_lengths = frozen(lengths, np.int64, 1)
    work = partial(_hamming_scores, rows, documents, words, spans, frozen_lengths, 8 * rows.shape[1], out)
    in_threads(work, token_costs(documents), words.size)
    return out
