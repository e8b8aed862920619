"""Spherical k-means of each text's token vectors, compiled: the clusters of all poolings, with torch and without it.

All Lloyd steps work on the similarities between the tokens of one text, in float64: the similarity of a token to a
mean is the mean of its similarities to the members, so a step costs additions of rows instead of products of vectors.
Similarities and costs within 1e-12 count as equal and the first wins, so that rounding decides no tie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from ..embeddings import FloatArray, IntArray, TokenEmbeddings
from .base import Assignments, Pooling

Function = TypeVar("Function", bound=Callable[..., Any])
DoubleArray = npt.NDArray[np.float64]

TIE = 1e-12
"""Handicap of each later token or cluster: above rounding in float64, so that equal similarities choose the first."""
FAR = 1e9
"""Cost of merging a token that is not finite: above all costs of those that are."""
SHORTEST = 1e-3
"""Length below which a mean is not scaled up further: members that cancel out have no direction."""
_REORDER = ("reassoc", "contract", "nsz")


def _kernel(function: Function) -> Function:
    """Compile on first call, free to reorder sums, and keep the machine code on disk where that can be written."""
    try:
        compiled: Function = njit(cache=True, nogil=True, fastmath=set(_REORDER))(function)
    except RuntimeError:
        compiled = njit(nogil=True, fastmath=set(_REORDER))(function)
    return compiled


@_kernel
def _similarities(vectors: FloatArray, gram: DoubleArray) -> None:
    """Cosines between the rows of `vectors`, `(tokens, dim)` float32, into `gram`; rows of length 0 have cosine 0."""
    tokens, dim = vectors.shape
    unit = np.empty((tokens, dim), np.float64)
    for i in range(tokens):
        square = 0.0
        for d in range(dim):
            value = np.float64(vectors[i, d])
            unit[i, d] = value
            square += value * value
        scale = 1.0 / max(np.sqrt(square), 1e-12)
        for d in range(dim):
            unit[i, d] *= scale
    for j in range(0, tokens, 4):  # four columns at a time: each value read serves four products
        a, b, c, e = unit[j], unit[min(j + 1, tokens - 1)], unit[min(j + 2, tokens - 1)], unit[min(j + 3, tokens - 1)]
        for i in range(j, tokens):
            x = unit[i]
            dot_a = dot_b = dot_c = dot_e = 0.0
            for d in range(dim):
                value = x[d]
                dot_a += value * a[d]
                dot_b += value * b[d]
                dot_c += value * c[d]
                dot_e += value * e[d]
            for n, dot in enumerate((dot_a, dot_b, dot_c, dot_e)):
                if j + n < tokens:
                    gram[i, j + n] = dot
                    gram[j + n, i] = dot


@_kernel
def _costs(gram: DoubleArray, weights: DoubleArray, costs: DoubleArray) -> None:
    """What it costs to merge each two tokens, by Ward: the rise of the weighted sum of squared distances to means."""
    tokens = len(gram)
    for i in range(tokens):
        for j in range(i, tokens):
            square = max(gram[i, i] + gram[j, j] - 2.0 * gram[i, j], 0.0)
            cost = square * weights[i] * weights[j] / (weights[i] + weights[j])
            costs[i, j] = costs[j, i] = cost if cost < FAR else FAR


@_kernel
def _partner(costs: DoubleArray, labels: Assignments, i: int) -> int:
    """The later cluster that merges with `i` at the least cost, the first of equal ones; `i` where none is left."""
    place, least = i, np.inf
    for j in range(i + 1, len(labels)):
        if labels[j] == j and costs[i, j] + TIE * j < least:
            place, least = j, costs[i, j] + TIE * j
    return place


@_kernel
def _cheapest(costs: DoubleArray, labels: Assignments, partners: IntArray) -> int:
    """The cluster whose merger with its partner costs least, the first of equal ones."""
    place, least = 0, np.inf
    for i in range(len(labels)):
        if labels[i] == i and partners[i] != i and costs[i, partners[i]] + TIE * i < least:
            place, least = i, costs[i, partners[i]] + TIE * i
    return place


@_kernel
def _merge(costs: DoubleArray, total: DoubleArray, labels: Assignments, a: int, b: int) -> None:
    """Make cluster `b` part of `a`, whose costs follow from those of both (Lance and Williams 1967)."""
    own, of_a, of_b = costs[a, b], total[a], total[b]
    total[a] = of_a + of_b
    for k in range(len(labels)):
        if labels[k] == b:
            labels[k] = a
        elif labels[k] == k and k != a:
            joint = (total[k] + of_a) * costs[k, a] + (total[k] + of_b) * costs[k, b] - total[k] * own
            costs[k, a] = costs[a, k] = joint / (total[k] + total[a])


@_kernel
def _start(gram: DoubleArray, weights: DoubleArray, clusters: int, costs: DoubleArray, labels: Assignments) -> None:
    """Ward's clusters (Ward 1963) of the tokens, where Lloyd's steps begin, into `labels`; their numbers are in order.

    The two clusters whose merger costs least are merged until `clusters` are left, each known by its first token.
    costs: room for a number for each pair of tokens.
    """
    tokens = len(gram)
    _costs(gram, weights, costs)
    total = weights.copy()
    partners = np.empty(tokens, np.int64)
    for i in range(tokens):
        labels[i] = i
    for i in range(tokens):
        partners[i] = _partner(costs, labels, i)
    for _ in range(tokens - clusters):
        a = _cheapest(costs, labels, partners)
        b = partners[a]
        _merge(costs, total, labels, a, b)
        for i in range(b):
            if labels[i] != i:
                continue
            if i == a or partners[i] == a or partners[i] == b:
                partners[i] = _partner(costs, labels, i)
            elif i < a and costs[i, a] + TIE * a < costs[i, partners[i]] + TIE * partners[i]:
                partners[i] = a
    place = 0
    for j in range(tokens):
        if labels[j] == j:
            partners[j] = place
            place += 1
        labels[j] = partners[labels[j]]


@_kernel
def _means(gram: DoubleArray, labels: Assignments, weights: DoubleArray, rows: DoubleArray) -> None:
    """Similarities of each cluster's mean, scaled to length 1, into `rows`, `(clusters, tokens)`."""
    tokens = len(gram)
    total = np.zeros(len(rows))
    square = np.zeros(len(rows))
    for k in range(len(rows)):
        for j in range(tokens):
            rows[k, j] = 0.0
    for i in range(tokens):
        row, source, weight = rows[labels[i]], gram[i], weights[i]
        for j in range(tokens):
            row[j] += weight * source[j]
        total[labels[i]] += weight
    for i in range(tokens):
        square[labels[i]] += weights[i] * rows[labels[i], i]
    for k in range(len(rows)):
        length = np.sqrt(max(square[k] / (total[k] * total[k]), SHORTEST * SHORTEST))
        scale = 1.0 / (total[k] * length)
        for j in range(tokens):
            rows[k, j] *= scale


@_kernel
def _nearest(rows: DoubleArray, labels: Assignments) -> None:
    """Label each token with the row most similar to it; then fill the clusters that got none."""
    clusters, tokens = rows.shape
    best = np.empty(tokens)
    for j in range(tokens):
        best[j], labels[j] = -np.inf, 0
    for k in range(clusters):
        row = rows[k]
        for j in range(tokens):
            value = row[j] - TIE * k
            better = value > best[j]
            best[j] = value if better else best[j]
            labels[j] = k if better else labels[j]
    count = np.zeros(clusters, np.int64)
    for j in range(tokens):
        count[labels[j]] += 1
        best[j] += TIE * labels[j] + TIE * j
    for k in range(clusters):
        if count[k] > 0:
            continue
        token, least = 0, np.inf
        for j in range(tokens):
            if best[j] < least and count[labels[j]] > 1:
                token, least = j, best[j]
        count[labels[token]] -= 1
        labels[token], count[k], best[token] = k, 1, np.inf


@_kernel
def _cluster(
    vectors: FloatArray,
    weights: DoubleArray,
    clusters: int,
    iterations: int,
    gram: DoubleArray,
    costs: DoubleArray,
    labels: Assignments,
) -> None:
    """Clusters of one text, numbered by their first tokens, into `labels`, `(tokens,)` int32."""
    tokens = len(vectors)
    _similarities(vectors, gram)
    _start(gram, weights, clusters, costs, labels)
    rows = np.empty((clusters, tokens))
    before = np.empty(tokens, np.int32)
    for _ in range(iterations):
        for j in range(tokens):
            before[j] = labels[j]
        _means(gram, labels, weights, rows)
        _nearest(rows, labels)
        moved = 0
        for j in range(tokens):
            moved += before[j] != labels[j]
        if moved == 0:
            break
    place = np.zeros(clusters, np.int32)
    known = 0
    for j in range(tokens):
        if place[labels[j]] == 0:
            known += 1
            place[labels[j]] = known
        labels[j] = place[labels[j]] - 1


@_kernel
def _pool_text(
    vectors: FloatArray, weights: DoubleArray, labels: Assignments, renormalize: bool, pooled: FloatArray
) -> None:
    """Weighted means of the members of each cluster, `(clusters, dim)` float32."""
    sums = np.zeros(pooled.shape)
    total = np.zeros(len(pooled))
    for j in range(len(vectors)):
        row, weight = sums[labels[j]], weights[j]
        for d in range(vectors.shape[1]):
            row[d] += weight * vectors[j, d]
        total[labels[j]] += weight
    for k in range(len(pooled)):
        scale = 1.0 / total[k]
        if renormalize:
            square = 0.0
            for d in range(pooled.shape[1]):
                square += sums[k, d] * sums[k, d]
            scale /= max(np.sqrt(square) * scale, 1e-12)
        for d in range(pooled.shape[1]):
            pooled[k, d] = sums[k, d] * scale


@_kernel
def _cluster_texts(
    vectors: FloatArray,
    offsets: IntArray,
    bounds: IntArray,
    weights: DoubleArray,
    iterations: int,
    labels: Assignments,
) -> None:
    """Clusters of each text by itself; a text that keeps all tokens has a cluster for each."""
    longest = 0
    for n in range(len(offsets) - 1):
        tokens = offsets[n + 1] - offsets[n]
        if bounds[n + 1] - bounds[n] < tokens:
            longest = max(longest, tokens)
    memory = np.empty((2, longest * longest))
    for n in range(len(offsets) - 1):
        start, stop, clusters = offsets[n], offsets[n + 1], bounds[n + 1] - bounds[n]
        tokens = stop - start
        if clusters == tokens:
            for j in range(tokens):
                labels[start + j] = j
            continue
        gram = memory[0, : tokens * tokens].reshape(tokens, tokens)
        costs = memory[1, : tokens * tokens].reshape(tokens, tokens)
        _cluster(vectors[start:stop], weights[start:stop], clusters, iterations, gram, costs, labels[start:stop])


@_kernel
def _pool_texts(
    vectors: FloatArray,
    offsets: IntArray,
    bounds: IntArray,
    weights: DoubleArray,
    labels: Assignments,
    renormalize: bool,
    pooled: FloatArray,
) -> None:
    """Means of each text's clusters, or a copy where it keeps all tokens."""
    for n in range(len(offsets) - 1):
        start, stop, first, last = offsets[n], offsets[n + 1], bounds[n], bounds[n + 1]
        if last - first < stop - start:
            own = weights[start:stop], labels[start:stop]
            _pool_text(vectors[start:stop], own[0], own[1], renormalize, pooled[first:last])
            continue
        for j in range(stop - start):
            for d in range(vectors.shape[1]):
                pooled[first + j, d] = vectors[start + j, d]


def cluster_texts(
    vectors: FloatArray, offsets: IntArray, bounds: IntArray, weights: DoubleArray, pooling: Pooling
) -> Assignments:
    """The cluster of each token, `(total,)` int32; releases the GIL.

    vectors: `(total, dim)` float32. offsets: `(n + 1,)` int64, where the tokens of each text begin.
    bounds: `(n + 1,)` int64, where the clusters of each text begin, at most as many as it has tokens.
    weights: `(total,)` float64 in (0, 1], the importance of each token in its cluster's mean.
    """
    labels = np.empty(len(vectors), np.int32)
    _cluster_texts(_frozen(vectors), _frozen(offsets), _frozen(bounds), weights, pooling.iterations, labels)
    return labels


def pool_clusters(
    embeddings: TokenEmbeddings, bounds: IntArray, weights: DoubleArray, pooling: Pooling
) -> tuple[TokenEmbeddings, Assignments]:
    """Cluster means of each text, and `cluster_texts`."""
    vectors, offsets = _frozen(embeddings.vectors), _frozen(embeddings.offsets)
    labels = cluster_texts(vectors, offsets, bounds, weights, pooling)
    pooled = np.empty((int(bounds[-1]), embeddings.dim), np.float32)
    _pool_texts(vectors, offsets, _frozen(bounds), weights, labels, pooling.renormalize, pooled)
    return TokenEmbeddings(pooled, bounds), labels


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array as a kernel's input: contiguous, aligned and read-only, so that all inputs share one signature."""
    view = np.require(array, requirements=("C", "A")).view()
    view.flags.writeable = False
    return view
