"""Heat: how much of a query each vector of a page answers, so that a picture can show where on the page the answer is.

Per query token `i` and vector `j`, `S` being their inner product, and mean and max taken over the vectors of the page:

    a[i, j] = (max(S[i, j] - mean_i, 0) / (max_i - mean_i)) ** 3    what stands out for the token
    w[i]    = (max_i - mean_i) ** 2 / sqrt(sum_j a[i, j])           how much it does, and in how few places
    own[j]  = sum_i w[i] * a[i, j]
    near[j] = sum_i w[i] * max of a[i, k] over the vectors k near j
    heat[j] = own[j] * near[j], divided by the greatest

A word of no account, "the", finds its like in many places: it has a small `w` in any language. Every token of the query
matches best somewhere, also far from the answer: `near` is large only where different tokens find their match side by
side, in one line of text or row of a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import FloatArray
from ..encoders.pages import Boxes

_SHARPNESS = 3
_WEIGHT = 2
_NEAR_WIDTH = 0.25
"""Vectors are near within this part of the page's width: an answer further along the line is in another column."""
_NEAR_HEIGHTS = 1.5
"""And within so many heights of the box: the next line counts."""
_HOT = 0.3
"""Boxes that make an outline have at least this heat."""
_GAP_HEIGHTS = 10
"""Boxes of one line within so many of its heights are outlined together."""


def heat(similarities: FloatArray, boxes: Boxes, asked: npt.NDArray[np.bool_] | None = None) -> FloatArray:
    """`(n,)` float32 from 0 to 1 of the `(m, n)` similarities of query tokens and vectors with `(n, 4)` boxes.

    asked: `(m,)` which query tokens count; all when None. All zero where nothing stands out.
    """
    standing, weights = _standing_out(similarities)
    weights = weights if asked is None else weights * asked
    own = weights @ standing
    result = own * _near(standing * weights[:, None], boxes)
    top = result.max(initial=0.0)
    scaled: FloatArray = np.asarray(result / top if top > 0 else np.zeros_like(result), np.float32)
    return scaled


def token_heat(similarities: FloatArray, token: int) -> FloatArray:
    """`(n,)` float32 from 0 to 1: `a` of one query token."""
    standing, _ = _standing_out(similarities[token : token + 1])
    alone: FloatArray = standing[0].astype(np.float32)
    return alone


def _standing_out(similarities: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """`a`, `(m, n)`, and `w`, `(m,)`."""
    values = similarities.astype(np.float64)
    if not values.size:
        return np.zeros(values.shape), np.zeros(len(values))
    above = np.maximum(values - values.mean(axis=1, keepdims=True), 0.0)
    most = above.max(axis=1)
    most = np.where(most <= 1e-6, 0.0, most)  # rounding: all vectors answer alike
    standing = np.where(most[:, None] > 0, above / np.where(most > 0, most, 1.0)[:, None], 0.0) ** _SHARPNESS
    return standing, most**_WEIGHT / np.sqrt(np.maximum(standing.sum(axis=1), 1.0))


def _near(weighted: npt.NDArray[np.float64], boxes: Boxes) -> npt.NDArray[np.float64]:
    """For each vector, the sum over query tokens of the best of `weighted`, `(m, n)`, among the vectors near it."""
    across = (boxes[:, 0] + boxes[:, 2]) / 2
    down = (boxes[:, 1] + boxes[:, 3]) / 2
    reach = _NEAR_HEIGHTS * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(down, kind="stable")
    first = np.searchsorted(down[order], down - reach, "left")
    last = np.searchsorted(down[order], down + reach, "right")
    found = np.zeros(len(boxes))
    for j in range(len(boxes)):
        rows = order[first[j] : last[j]]
        rows = rows[np.abs(across[rows] - across[j]) <= _NEAR_WIDTH]
        found[j] = weighted[:, rows].max(axis=1, initial=0.0).sum()
    return found


def best_regions(boxes: Boxes, scores: FloatArray, most: int = 3) -> tuple[Boxes, FloatArray]:
    """The regions that hold most heat, at most `most`: the boxes around hot boxes of one line.

    Returns `(r, 4)` boxes and their `(r,)` greatest scores, most heat first.
    """
    hot = scores >= _HOT
    order = np.argsort(-scores[hot], kind="stable")
    regions: list[_Region] = []
    for box, score in zip(boxes[hot][order], scores[hot][order].tolist(), strict=True):
        region = _Region(box, score, score)
        for other in [other for other in regions if _touches(other.box, box)]:
            regions.remove(other)
            region = region.joined(other)
        regions.append(region)
    regions.sort(key=lambda region: (-region.sum, *region.box.tolist()))
    best = regions[:most]
    found = np.array([region.box for region in best], np.float32).reshape(-1, 4)
    return found, np.array([region.top for region in best], np.float32)


@dataclass(frozen=True, eq=False)
class _Region:
    box: npt.NDArray[np.float32]
    top: float
    sum: float

    def joined(self, other: _Region) -> _Region:
        first = np.minimum(self.box[:2], other.box[:2])
        return _Region(
            np.concatenate([first, np.maximum(self.box[2:], other.box[2:])]),
            max(self.top, other.top),
            self.sum + other.sum,
        )


def _touches(region: npt.NDArray[np.float32], box: npt.NDArray[np.float32]) -> bool:
    """Whether a box is in a region's line, not far along it; or, as a patch is, right beside it."""
    height = min(float(box[3] - box[1]), float(region[3] - region[1]))
    across = max(float(box[0] - region[2]), float(region[0] - box[2]))
    common = min(float(box[3]), float(region[3])) - max(float(box[1]), float(region[1]))
    return (common > 0.5 * height and across <= _GAP_HEIGHTS * height) or (abs(common) < 1e-4 and across < 0)
