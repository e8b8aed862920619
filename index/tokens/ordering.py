"""Ids of centroids whose Hamming distance follows the distance of the centroids.

The ids that k-means gives carry no meaning: two that differ in one bit are no nearer than two that differ in all. Here
ids are assigned so that they do, which is a quadratic assignment problem: maximize the sum over pairs of the distance
of their ids times that of their centroids. It starts from recursive bisection along principal directions, one bit a
level, and exchanges ids while that raises the sum (2-opt).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray

_TURN = 1e-9
"""Least share of the sum of magnitudes by which an exchange must raise the sum."""
_MOST_ROUNDS = 200


def order_codes(centroids: FloatArray) -> IntArray:
    """`(K,)` int64 permutation of `(K, dim)` centroids: the one at position `i` of it gets the id `i`."""
    count = len(centroids)
    if count < 3:
        return np.arange(count)
    distances = _distances(centroids)
    weights = distances - distances.mean()
    np.fill_diagonal(weights, 0)
    return _exchanged(_bisected(centroids), weights)


def hamming_distances(count: int) -> npt.NDArray[np.float64]:
    """`(count, count)` float64: bits in which the ids 0 to `count - 1` differ."""
    ids = np.arange(count)
    distances: npt.NDArray[np.float64] = np.bitwise_count(ids[:, None] ^ ids).astype(np.float64)
    return distances


def _distances(centroids: FloatArray) -> npt.NDArray[np.float64]:
    """`(K, K)` float64 Euclidean distances."""
    points = centroids.astype(np.float64)
    squares = np.einsum("ij,ij->i", points, points)
    apart: npt.NDArray[np.float64] = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))
    return apart


def _bisected(centroids: FloatArray) -> IntArray:
    """Recursive halves, the larger half first a power of two, split along each part's principal direction.

    Directions of one level point the same way, so that a bit means about the same in every part.
    """
    points = centroids.astype(np.float64)
    parts, size = [np.arange(len(points))], 1 << (len(points) - 1).bit_length()
    while size > 1:
        size //= 2
        halves: list[IntArray] = []
        leading: npt.NDArray[np.float64] | None = None
        for part in parts:
            if len(part) <= size:
                halves.append(part)
                continue
            centred = points[part] - points[part].mean(axis=0)
            direction = np.linalg.eigh(centred @ centred.T)[1][:, -1] @ centred
            if leading is not None and direction @ leading < 0:
                direction = -direction
            leading = direction if leading is None else leading
            sorted_part = part[np.argsort(centred @ direction, kind="stable")]
            halves += [sorted_part[:size], sorted_part[size:]]
        parts = halves
    return np.concatenate(parts)


def _exchanged(order: IntArray, weights: npt.NDArray[np.float64]) -> IntArray:
    """Exchange ids while it raises the sum over pairs of id distance times weight.

    Each round takes the best exchanges that share no id, fewer of them when together they would not raise it.
    """
    order, hamming = order.copy(), hamming_distances(len(order))
    least = _TURN * float(np.abs(weights).sum())
    value = float((hamming * weights[np.ix_(order, order)]).sum())
    most = len(order) // 4
    for _ in range(_MOST_ROUNDS):
        pairs = _best_pairs(hamming, weights[np.ix_(order, order)], least)
        while len(pairs):
            changed = order.copy()
            some = pairs[: max(1, most)]
            changed[some] = changed[some[:, ::-1]]
            after = float((hamming * weights[np.ix_(changed, changed)]).sum())
            if after > value + least:
                order, value = changed, after
                break
            if len(some) == 1:
                return order
            most = len(some) // 2
        else:
            return order
    return order


def _best_pairs(hamming: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], least: float) -> IntArray:
    """`(p, 2)` int64 pairs of ids, no id twice, whose exchange alone raises the sum, the best first."""
    products = hamming @ weights
    own = np.diag(products)
    gains = products + products.T - own[:, None] - own + 2 * hamming * weights
    partners = gains.argmax(axis=1)
    best = gains[np.arange(len(gains)), partners]
    taken: set[int] = set()
    pairs: list[tuple[int, int]] = []
    for i in np.argsort(-best, kind="stable").tolist():
        j = int(partners[i])
        if 2 * best[i] <= least:
            break
        if i != j and i not in taken and j not in taken:
            taken |= {i, j}
            pairs.append((i, j))
    return np.array(pairs, np.int64).reshape(-1, 2)
