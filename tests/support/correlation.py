"""How well the Hamming distances of ids follow the distances of what has them."""

import numpy as np


def order_quality(centroids):
    """Rank correlation (Spearman) of the Hamming distances of ids 0 to K - 1 with the distances of their centroids.

    About 0 for arbitrary ids. 0 where one of the two distances is the same for all pairs.
    """
    first, second = np.triu_indices(len(centroids), 1)
    by_id = _ranks(np.bitwise_count(first ^ second))
    by_place = _ranks(np.linalg.norm(centroids[first].astype(np.float64) - centroids[second], axis=1))
    if len(by_id) < 2 or not by_id.std() or not by_place.std():
        return 0.0
    return float(np.corrcoef(by_id, by_place)[0, 1])


def _ranks(values):
    """Ranks from 0, equal values sharing the middle of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]
