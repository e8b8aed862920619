"""Which tokens of a document to keep: measures of saliency that know no query, and the best share by one.

HPC-ColPali (2506.21601) keeps the patches that the model attends to. Its attention is one measure here; the others need
no model. A document's MaxSim never rises when tokens are dropped. Dropping tokens of queries is another thing, with a
function of its own.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, assert_never

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from ..kernels.targets import means

Measure: TypeAlias = Literal["norm", "distance", "rarity", "attention"]


class Frequencies(NamedTuple):
    """In how many documents each code occurs. counts: `(K,)` int64. documents: how many documents there are."""

    counts: IntArray
    documents: int


def document_frequencies(codes: IntArray, offsets: IntArray, size: int) -> Frequencies:
    """Frequencies of `(T,)` codes below `size` in the documents that `(n + 1,)` offsets delimit, each counted once."""
    ids = _ids(codes, int(offsets[-1]), size)
    owners = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    pairs = np.unique(owners * size + ids)
    return Frequencies(np.bincount(pairs % size, minlength=size).astype(np.int64), len(offsets) - 1)


def saliency(
    tokens: TokenEmbeddings,
    by: Measure,
    *,
    attention: FloatArray | None = None,
    codes: IntArray | None = None,
    frequencies: Frequencies | None = None,
) -> FloatArray:
    """`(T,)` float32: how much each token matters to its document, the larger the more.

    norm: the length of the vector, for vectors before normalisation; afterwards all are equal.
    distance: one minus the cosine with the mean of the document's vectors; 0 where either is zero.
    rarity: inverse document frequency of the token's code, `log((1 + documents) / (1 + count))`; needs `codes`, `(T,)`
    integers, and `frequencies`, those of a whole collection, so that documents added later are judged alike.
    attention: what the model attended to each token, `(T,)`, as given.

    Raises `InvalidInputError` when what a measure needs is missing or does not fit.
    """
    if by == "norm":
        return _lengths(tokens.vectors)
    if by == "distance":
        return _distances(tokens)
    if by == "rarity":
        if codes is None or frequencies is None:
            raise InvalidInputError("saliency by rarity needs the codes of the tokens and their frequencies")
        ids = _ids(codes, len(tokens.vectors), len(frequencies.counts))
        rarity = np.log((1 + frequencies.documents) / (1 + frequencies.counts))
        chosen: FloatArray = rarity.astype(np.float32)[ids]
        return chosen
    if by == "attention":
        if attention is None:
            raise InvalidInputError("saliency by attention needs the attention that the model paid to each token")
        return _weights(attention, len(tokens.vectors))
    assert_never(by)


def keep_top(weights: FloatArray, offsets: IntArray, share: float) -> tuple[IntArray, IntArray]:
    """The `ceil(share * n)` tokens of each document, at least one, with the largest weights; ties go to the earlier.

    weights: `(T,)` float32. offsets: `(n + 1,)` int64 from 0 to T. share: above 0, up to 1, which keeps all.
    Returns `(kept,)` int64 ascending positions of tokens and the `(n + 1,)` int64 offsets into them.
    Raises `InvalidInputError` on another share, weights that are not finite and offsets that do not cover them.
    """
    if not 0 < share <= 1:
        raise InvalidInputError(f"the share of tokens to keep lies above 0 and up to 1; got {share}")
    total = len(weights)
    lengths = np.diff(offsets)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != total or (lengths < 0).any():
        raise InvalidInputError(f"document offsets must rise from 0 to the {total} tokens there are")
    # A share like 0.8 is not exact in binary: 0.8 * 5 must not be rounded up to 5.
    kept = np.minimum(np.ceil(share * lengths - 1e-9).astype(np.int64).clip(1), lengths)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-_weights(weights, total), owners))  # stable, so that ties keep their order
    ranks = np.arange(total) - np.repeat(offsets[:-1], lengths)
    positions = np.sort(order[ranks < np.repeat(kept, lengths)]).astype(np.int64)
    return positions, np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)


def prune_documents(documents: TokenEmbeddings, weights: FloatArray, share: float) -> TokenEmbeddings:
    """Documents with the share of their tokens of the largest weights; see `keep_top`."""
    positions, offsets = keep_top(weights, documents.offsets, share)
    return TokenEmbeddings(documents.vectors[positions], offsets)


def prune_queries(queries: TokenEmbeddings, weights: FloatArray, share: float) -> TokenEmbeddings:
    """Queries with the share of their tokens of the largest weights; see `keep_top`.

    Unlike pruning documents, this drops terms from the sum: scores of pruned and whole queries are not comparable.
    """
    return prune_documents(queries, weights, share)


def _lengths(vectors: FloatArray) -> FloatArray:
    lengths: FloatArray = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)).astype(np.float32)
    return lengths


def _distances(tokens: TokenEmbeddings) -> FloatArray:
    centres = means(tokens.vectors, tokens.offsets)
    owners = np.repeat(np.arange(len(tokens)), tokens.lengths)
    products = np.einsum("ij,ij->i", tokens.vectors, centres[owners], dtype=np.float64)
    sizes = _lengths(tokens.vectors).astype(np.float64) * _lengths(centres)[owners]
    cosines = np.divide(products, sizes, out=np.ones_like(products), where=sizes > 0)
    away: FloatArray = (1 - cosines).astype(np.float32)
    return away


def _weights(weights: FloatArray, total: int) -> FloatArray:
    values = np.asarray(weights, np.float32)
    if values.shape != (total,) or not np.isfinite(values).all():
        raise InvalidInputError(f"weights of tokens are ({total},) finite numbers; got shape {values.shape}")
    return values


def _ids(codes: IntArray, total: int, size: int) -> IntArray:
    ids = np.asarray(codes)
    if ids.shape != (total,) or ids.dtype.kind not in "iu" or (total and not 0 <= ids.min() <= ids.max() < size):
        raise InvalidInputError(f"codes are ({total},) integers from 0 to {size - 1}; got {ids.dtype} {ids.shape}")
    return ids.astype(np.int64)
