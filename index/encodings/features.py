"""Feature maps of a learned encoding: what a token becomes before tokens are added up.

The best product of a token with a document is piecewise linear: over a region of space it is the product with one token
of the document. A map that tells regions apart fits it well, so the default one measures by how much a token exceeds a
threshold in the direction of each of many centroids of the data. Like the best product, a map grows in proportion to
the length of the token, so that query tokens of any weight meet what unit ones taught. At equal width, and after equal
compression, it finds more of the exact best documents than Gaussian directions under GELU (LEMUR's map before training,
arXiv 2601.21853).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from .fde import FDE
from .streams import raw_words

Params = Mapping[str, npt.NDArray[Any]]

SAMPLE = 1 << 15
"""Most tokens that centroids are fitted to."""
ROUNDS = 8
"""Rounds of k-means, after which the recall of candidates no longer changes."""
QUANTILE = 0.98
"""Share of tokens below the threshold of a centroid; recall is flat from 0.97 to 0.99."""
BLOCK = 4096
"""Tokens compared with all centroids at a time."""


class FeatureMap(Protocol):
    """A map of tokens to `width` features, fixed once made."""

    @property
    def width(self) -> int:
        """Number of features."""
        ...

    def sums(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), width)` float32: features added up over the tokens of each item; zeros for one without."""
        ...

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays that the configuration does not determine."""
        ...


class Centroids:
    """`max(0, <x, centroid> - |x| threshold)` for each centroid: `(width, dim)` and `(width,)` float32."""

    def __init__(self, centroids: FloatArray, thresholds: FloatArray) -> None:
        from ..kernels.targets import columns, panels

        self._centroids = _floats("centroids", centroids, 2)
        self._thresholds = _floats("thresholds", thresholds, 1)
        if len(self._centroids) != len(self._thresholds):
            raise InvalidInputError(f"{len(self._centroids)} centroids need as many thresholds")
        self._packed = panels(self._centroids)
        self._padded = np.zeros(columns(self.width), np.float32)
        self._padded[: self.width] = self._thresholds

    @classmethod
    def fit(cls, tokens: FloatArray, width: int, seed: int) -> Self:
        """Centroids of a sample of tokens, `(t, dim)`, t >= 1; a share of `QUANTILE` of it stays below each threshold.

        Spherical k-means around the mean of the tokens, because most encoders give all tokens a direction in common,
        beside which they would look alike.
        """
        tokens = _normalized(tokens)
        rays = _normalized(tokens - tokens.mean(axis=0))
        centroids = rays[np.resize(draw(width, len(rays), (seed, 0, _START)), width)]
        for _ in range(ROUNDS):
            centroids = _refined(rays, centroids)
        products = tokens[draw(BLOCK, len(tokens), (seed, 0, _LEVEL))] @ centroids.T
        return cls(centroids, np.quantile(products, QUANTILE, axis=0).astype(np.float32))

    @classmethod
    def from_params(cls, params: Params) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when they are missing or unusable."""
        return cls(given(params, "centroids"), given(params, "thresholds"))

    @property
    def dim(self) -> int:
        """Dimensions of tokens."""
        return int(self._centroids.shape[1])

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self._centroids)

    def sums(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), width)` float32; see `FeatureMap.sums`."""
        from ..kernels.targets import sum_excess

        return sum_excess(tokens.vectors, tokens.offsets, self._packed, self._padded)[:, : self.width]

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Centroids and thresholds."""
        return {"centroids": self._centroids, "thresholds": self._thresholds}


class FDEFeatures:
    """MUVERA's query map: the random matrices follow from the configuration."""

    def __init__(self, fde: FDE) -> None:
        self._fde = fde

    @property
    def width(self) -> int:
        """Number of features."""
        return self._fde.output_dim

    def sums(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), width)` float32; see `FeatureMap.sums`."""
        return self._fde.encode_queries(tokens)

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing."""
        return {}


def draw(count: int, total: int, key: tuple[int, int, int]) -> IntArray:
    """`(min(count, total),)` int64: different numbers below `total`, rising, by the random stream `key`."""
    if count >= total:
        return np.arange(total)
    return np.sort(np.argsort(raw_words(total, key), kind="stable")[:count])


def singles(vectors: FloatArray) -> TokenEmbeddings:
    """Each of `(t, dim)` tokens as an item of its own."""
    return TokenEmbeddings(vectors, np.arange(len(vectors) + 1))


def given(params: Params, name: str) -> npt.NDArray[Any]:
    """A named parameter. Raises `InvalidInputError` when it is missing."""
    if name not in params:
        raise InvalidInputError(f"a learned encoding needs the parameter {name!r}; got {sorted(params)}")
    return params[name]


_START, _LEVEL = 11, 12  # purposes of random streams


def _normalized(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalized: FloatArray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return normalized


def _refined(rays: FloatArray, centroids: FloatArray) -> FloatArray:
    """Directions of the sums of the rays nearest to each centroid; a centroid that is nearest to none stays."""
    sums = np.zeros_like(centroids)
    for start in range(0, len(rays), BLOCK):
        block = rays[start : start + BLOCK]
        np.add.at(sums, (block @ centroids.T).argmax(axis=1), block)
    refined = _normalized(sums)
    alone = ~refined.any(axis=1)
    refined[alone] = centroids[alone]
    return refined


def _floats(name: str, value: npt.ArrayLike, ndim: int) -> FloatArray:
    array = np.asarray(value)
    if array.ndim != ndim or array.dtype != np.float32 or not array.size or not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must be finite float32 in {ndim} dimensions; got {array.dtype} {array.shape}")
    return np.ascontiguousarray(array)
