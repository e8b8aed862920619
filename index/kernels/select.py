"""The best of many scores without sorting them: keys that order scores and positions, and a partial selection.

A key is 64 bits: the score, mapped so that larger floats are larger integers, above the complement of the position. So
the largest keys are the best scores, equal scores in order of position, and no two keys are equal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from .jit import frozen, inlined_borrowing, kernel

Keys = npt.NDArray[np.uint64]

NO_KEY = 0
"""Below every key of a score that is not NaN."""
MOST_POSITIONS = 1 << 32
"""How many positions there may be."""

SIGN = np.uint32(1 << 31)


@inlined_borrowing
def key_of(score: np.float32, position: int) -> np.uint64:
    """The key of a score, which is neither NaN nor -0, at a position."""
    bits = np.float32(score).view(np.uint32)
    ordered = np.uint32(~bits) if bits & SIGN else np.uint32(bits | SIGN)
    return np.uint64(np.uint64(ordered) << np.uint64(32)) | np.uint64(np.uint64(0xFFFFFFFF) - np.uint64(position))


@inlined_borrowing
def score_of(key: np.uint64) -> np.float32:
    """The score of a key."""
    ordered = np.uint32(key >> np.uint64(32))
    if ordered & SIGN:
        return np.uint32(ordered ^ SIGN).view(np.float32)
    return np.uint32(~ordered).view(np.float32)


@inlined_borrowing
def _middle(a: np.uint64, b: np.uint64, c: np.uint64) -> np.uint64:
    return max(min(a, b), min(max(a, b), c))


@inlined_borrowing
def select_largest(keys: Keys, count: int, k: int) -> None:
    """Bring the `k` largest of the first `count` keys, which all differ, to the front, the least of them last.

    0 < k <= count. Quickselect around the median of three (Hoare 1961).
    """
    first, last = 0, count - 1
    while first < last:
        pivot = _middle(keys[first], keys[(first + last) // 2], keys[last])
        i, j = first, last
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            last = j
        elif k - 1 >= i:
            first = i
        else:
            return


@kernel
def _unpack(keys: Keys, positions: IntArray, scores: FloatArray) -> None:
    """Positions and scores of ascending keys, the last first; -1 and -inf where there are none."""
    count = keys.shape[1]
    for i in range(len(keys)):
        for j in range(positions.shape[1]):
            if j < count and keys[i, count - 1 - j] != NO_KEY:
                key = keys[i, count - 1 - j]
                positions[i, j] = np.int64(np.uint64(MOST_POSITIONS - 1) - (key & np.uint64(MOST_POSITIONS - 1)))
                scores[i, j] = score_of(key)
            else:
                positions[i, j] = -1
                scores[i, j] = -np.inf


def best_first(keys: Keys, k: int) -> tuple[IntArray, FloatArray]:
    """`(m, k)` positions int64 and scores float32 of the largest of `(m, c)` keys; -1 and -inf where there are none."""
    positions, scores = np.empty((len(keys), k), np.int64), np.empty((len(keys), k), np.float32)
    _unpack(frozen(np.sort(keys, axis=1), np.uint64, 2), positions, scores)
    return positions, scores
