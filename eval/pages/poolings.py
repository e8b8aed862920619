"""Fewer vectors a page: means of clusters of alike vectors, or of neighbours on the page."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from ...encoders.pages import Boxes
from ...encoders.pooling.base import Pooling, pool
from ...encoders.pooling.ward import ward

PoolingName = Literal["none", "ward", "crisp", "spatial"]
FACTORS: Final = (2, 3, 6)


def pooled(pages: TokenEmbeddings, boxes: Boxes, kind: PoolingName, factor: int) -> TokenEmbeddings:
    """About one vector for `factor` of each page, of length 1.

    ward: hierarchical clustering, that of HPC-ColPali's baselines. crisp: spherical k-means. spatial: means over the
    cells of a grid that is cut so that each cell holds as many vectors.
    """
    if kind == "none":
        return pages
    if kind == "ward":
        return ward(pages, factor, protected=0)
    if kind == "crisp":
        return pool(pages, Pooling("relative", 1 / factor))[0]
    if kind == "spatial":
        return spatial(pages, boxes, factor)
    raise InvalidInputError(f"no pooling of pages {kind!r:.40}")


def spatial(pages: TokenEmbeddings, boxes: Boxes, factor: int) -> TokenEmbeddings:
    """Means of neighbours on the page, scaled to length 1; vectors without a place stay as they are.

    boxes: `(total, 4)`. A page is halved across its longer side, at the middle of its vectors, again and again; the
    order of the parts, in which neighbours follow each other, is cut into `n // factor` runs as equal as can be.
    """
    items = []
    for number, vectors in enumerate(pages):
        own = boxes[pages.offsets[number] : pages.offsets[number + 1]]
        placed = np.flatnonzero(own.any(axis=1))
        order = placed[_curve(own[placed])]
        cells = max(1, len(order) // factor) if len(order) else 0
        bounds = np.arange(cells) * len(order) // max(1, cells)
        free = vectors[~own.any(axis=1)]
        items.append(np.concatenate([free, _means(vectors[order], bounds)]))
    return TokenEmbeddings.from_list(items, dim=pages.dim)


def _means(vectors: FloatArray, starts: IntArray) -> FloatArray:
    """Means of the runs that begin at `starts`, scaled to length 1."""
    if not len(starts):
        return np.empty((0, vectors.shape[1]), np.float32)
    sums = np.add.reduceat(vectors, starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    made: FloatArray = (sums / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return made


def _curve(boxes: Boxes) -> IntArray:
    """An order of boxes in which near ones follow each other: parts of a page that is halved again and again."""
    centres = np.stack([boxes[:, [0, 2]].mean(axis=1), boxes[:, [1, 3]].mean(axis=1)], axis=1)
    parts = [np.arange(len(boxes))]
    while any(len(part) > 1 for part in parts):
        parts = [half for part in parts for half in _halves(part, centres)]
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)


def _halves(part: IntArray, centres: FloatArray) -> list[IntArray]:
    if len(part) < 2:
        return [part]
    across = int(np.ptp(centres[part, 1]) >= np.ptp(centres[part, 0]))
    order = part[np.argsort(centres[part, across], kind="stable")]
    return [order[: len(order) // 2], order[len(order) // 2 :]]
