"""Learned encodings: one vector per document, fitted by least squares so that its inner products are MaxSim.

`MaxSim(X, C) = sum of g(x) over x in X`, where `g(x)` is the best product of `x` with a token of document `C`. On a map
`phi` of tokens to features, `g(x)` is near `<phi(x), w>`, and MaxSim near `<sum of phi(x), w>` (LEMUR, arXiv
2601.21853). `w` is a ridge regression on learn tokens, the same for all documents, so that the normal equations are
solved once and a document costs two products with their solution. The share of the document mean `m` is exact: as
`MaxSim(X, C) = <sum of x, m> + MaxSim(X, C - m)`, only the rest is fitted, and `[sum of phi(x); sum of x]` meets
`[w; m]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ...encoders.base import Progress
from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidEmbeddingsError, InvalidInputError
from .fde import FDE, FDEConfig
from .features import SAMPLE, Centroids, FDEFeatures, FeatureMap, Params, draw, given, singles

BLOCK_BYTES = 1 << 23
"""Targets of documents that are held at a time."""
BLOCK_TOKENS = 1024
"""Tokens whose features are held at a time when the misfit of a document is taken."""
LIMIT = 1 << 16
"""Most features and learn tokens."""
MAX_TOKEN_DIM = 1 << 16
"""Dimensions of tokens up to which integer products with learn tokens fit 32 bits."""
OLS_FDE = FDEConfig(repetitions=20, simhash_bits=3, projected_dim=8, fill_empty=False)
_CENTROIDS, _LEARN = 20, 22  # purposes of random streams, each with the next for queries

Signed = npt.NDArray[np.int8]
Codes = npt.NDArray[np.uint8]
Projection = FloatArray | None


@dataclass(frozen=True)
class LearnedConfig:
    """Shape and seed of the encoding.

    features: "random", excesses over thresholds in the directions of centroids that are drawn from the data; "fde",
    MUVERA's query map of the configuration `fde`. width: number of random features. learn_tokens: equations of the
    regression; at least twice the width is advisable. ridge: added to the diagonal of the normal equations, in units of
    its mean. mean_skip: keep the document mean apart, in `dim` more coordinates. seed: of all random choices but those
    of `fde`.

    Twice the width or twice the learn tokens find one or two points more of the exact best documents in 50 candidates,
    and half a point once vectors are reduced to 128 dimensions; each doubles its share of the costs.

    Raises `InvalidInputError` on a value out of range.
    """

    features: Literal["random", "fde"] = "random"
    width: int = 1024
    learn_tokens: int = 4096
    ridge: float = 0.1
    mean_skip: bool = True
    fde: FDEConfig = OLS_FDE
    seed: int = 42

    def __post_init__(self) -> None:
        if self.features not in ("random", "fde"):
            raise InvalidInputError(f"learned features must be 'random' or 'fde'; got {self.features!r}")
        _check("width", self.width, 1, LIMIT)
        _check("learn_tokens", self.learn_tokens, 1, LIMIT)
        _check("seed", self.seed, 0, 2**63 - 1)
        if not isinstance(self.mean_skip, bool):
            raise InvalidInputError(f"learned mean_skip must be true or false; got {self.mean_skip!r}")
        if isinstance(self.ridge, bool) or not isinstance(self.ridge, int | float) or not 1e-6 <= self.ridge <= 1e6:
            raise InvalidInputError(f"learned ridge must be a number from 1e-6 to 1e6; got {self.ridge!r}")
        if self.fde.control_variate:
            raise InvalidInputError("learned fde must be without control_variate: mean_skip takes its place")

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`."""
        return cls(**{**value, "fde": FDEConfig(**value["fde"])})

    def features_of(self, dim: int) -> int:
        """Number of features of token vectors of `dim` dimensions."""
        return self.width if self.features == "random" else self.fde.output_dim(dim)

    def output_dim(self, dim: int) -> int:
        """Dimensions of an encoding of token vectors of `dim` dimensions."""
        return self.features_of(dim) + (dim if self.mean_skip else 0)


class _Equations(NamedTuple):
    """Panels of the learn tokens, of their features (one vector a feature), and of the inverse normal matrix."""

    learn: FloatArray
    design: FloatArray
    inverse: FloatArray


class Learned:
    """A fitted encoding; made by `fit` and `from_params`.

    Learn tokens are kept as signed bytes and a scale each, which is what they then are: so that their products with
    documents stored as LVQ-8 rows are sums of integers, and `encode_codes` equals `encode_documents` of decoded rows up
    to float32 rounding. An item's vector does not depend on the items beside it, bit by bit.
    """

    def __init__(
        self, config: LearnedConfig, features: FeatureMap, learn: Signed, scales: FloatArray, inverse: FloatArray
    ) -> None:
        """learn: `(s, dim)` int8. scales: `(s,)` float32. inverse: `(width, width)` float32, of the normal matrix."""
        self.config = config
        self._features = features
        self._learn, self._scales, self._inverse = learn, scales, inverse

    @classmethod
    def fit(
        cls,
        config: LearnedConfig,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Choose features and learn tokens from a sample of documents, and solve the normal equations.

        queries: a sample of real ones; up to half of the tokens that are drawn, for features and to learn from, are
        theirs then. `progress("fit", done, 3)` follows features, learn tokens and solution.
        Raises `InvalidInputError` without any token, and `InvalidEmbeddingsError` when dimensions differ.
        """
        from ..kernels.int8 import signed

        if not len(documents.vectors) or not 1 <= documents.dim <= MAX_TOKEN_DIM:
            raise InvalidInputError(
                f"a learned encoding takes documents with tokens, of up to {MAX_TOKEN_DIM} dimensions; got "
                f"{len(documents.vectors)} of {documents.dim}"
            )
        if queries is not None and queries.dim != documents.dim:
            raise InvalidEmbeddingsError(f"queries have {queries.dim} dimensions, documents {documents.dim}")
        report = progress or (lambda _phase, _done, _total: None)
        features: FeatureMap
        if config.features == "fde":
            features = FDEFeatures(FDE(config.fde, documents.dim))
        else:
            sample = _drawn(documents, queries, SAMPLE, (config.seed, 0, _CENTROIDS))
            features = Centroids.fit(sample, config.width, config.seed)
        report("fit", 1, 3)
        learn, scales = signed(_drawn(documents, queries, config.learn_tokens, (config.seed, 0, _LEARN)))
        report("fit", 2, 3)
        inverse = _inverse(features.sums(singles(_vectors(learn, scales))), config.ridge)
        report("fit", 3, 3)
        return cls(config, features, learn, scales, inverse)

    @property
    def dim(self) -> int:
        """Dimensions of token vectors."""
        return int(self._learn.shape[1])

    @property
    def output_dim(self) -> int:
        """Dimensions of an encoding."""
        return self.config.output_dim(self.dim)

    def encode_queries(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), output_dim)` float32, additive over the tokens of a query.

        Raises `InvalidEmbeddingsError` on another token dimension.
        """
        self._check(tokens.dim)
        sums = self._features.sums(tokens)
        if not self.config.mean_skip:
            return np.ascontiguousarray(sums)
        from ..kernels.targets import means

        totals = means(tokens.vectors, tokens.offsets) * tokens.lengths[:, None].astype(np.float32)
        return np.concatenate([sums, totals], axis=1)

    def encode_documents(self, tokens: TokenEmbeddings, projection: Projection = None) -> FloatArray:
        """`(len(tokens), output_dim)` float32, or its product with `projection`, `(output_dim, d)` float32.

        Works block by block, so that nothing large is held besides the result.
        Raises `InvalidEmbeddingsError` on another token dimension and `InvalidInputError` on another projection.
        """
        self._check(tokens.dim)
        return self._encode(tokens.offsets, lambda spans: self._targets(tokens, spans), projection)

    def encode_codes(self, codes: Codes, offsets: IntArray, projection: Projection = None) -> FloatArray:
        """The same for tokens stored as LVQ-8 rows around zero: `(t, dim + 4)` uint8, which may be a memory map.

        offsets: `(n + 1,)` int64, rising within the rows. Raises `InvalidInputError` on rows or offsets that do not.
        """
        from ..kernels.targets import best_code_products, code_means, code_panels

        offsets = _checked_rows(codes, offsets, self.dim)
        vectors = code_panels(self._learn, self._scales)

        def targets(spans: IntArray) -> tuple[FloatArray, FloatArray]:
            return best_code_products(codes, spans, vectors), code_means(codes, spans)

        return self._encode(offsets, targets, projection)

    def misfit(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens),)` float32: how badly a document answers its own tokens; 0 for one without.

        The squared error of the estimates of `g(x)`, relative to the squares of `g(x)`, for the tokens `x` of the
        document itself: near 0 where features and learn tokens cover them, 1 where they know nothing of them. When the
        misfit of new documents is well above that of the sample, the encoding has aged: fit another.
        """
        from ..kernels.targets import best_products, panels

        self._check(tokens.dim)
        out = np.zeros(len(tokens), np.float32)
        for start, stop in self._blocks(len(tokens)):
            block = self._encode(tokens.offsets[start : stop + 1], lambda spans: self._targets(tokens, spans), None)
            for i, vector in enumerate(block, start):
                item = tokens[i]
                best = best_products(item, np.array([0, len(item)]), panels(item))[0, : len(item)]
                wanted = float(np.square(best).sum())
                out[i] = np.square(self._estimates(item, vector) - best).sum() / wanted if wanted > 0 else 0
        return out

    def _estimates(self, vectors: FloatArray, document: FloatArray) -> FloatArray:
        """`(t,)`: estimates of `g(x)` of a document for `(t, dim)` vectors."""
        parts = range(0, len(vectors), BLOCK_TOKENS)
        return np.concatenate([self.encode_queries(singles(vectors[a : a + BLOCK_TOKENS])) @ document for a in parts])

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Fitted arrays by name; with them and the configuration, `from_params` encodes bit by bit the same."""
        fitted: dict[str, npt.NDArray[Any]] = {"learn": self._learn, "scales": self._scales, "inverse": self._inverse}
        return fitted | self._features.params()

    @classmethod
    def from_params(cls, config: LearnedConfig, dim: int, params: Params) -> Self:
        """Inverse of `params`, for token vectors of `dim` dimensions.

        Raises `InvalidInputError` when arrays are missing or do not fit together and the configuration.
        """
        learn, scales, inverse = (np.array(given(params, name)) for name in ("learn", "scales", "inverse"))
        if learn.ndim != 2 or not 1 <= len(learn) <= LIMIT or not 1 <= dim <= MAX_TOKEN_DIM:
            raise InvalidInputError(f"learned parameters: learn tokens must be (1 to {LIMIT}, dim); got {learn.shape}")
        if scales.dtype == np.float32 and not (scales >= 0).all() & (scales < 1e30).all():
            raise InvalidInputError("learned parameters: the scales of learn tokens must be finite and not negative")
        features = Centroids.from_params(params) if config.features == "random" else FDEFeatures(FDE(config.fde, dim))
        shapes = [(len(learn), dim), (len(learn),), (config.features_of(dim),) * 2]
        types = (np.int8, np.float32, np.float32)
        for array, shape, dtype in zip((learn, scales, inverse), shapes, types, strict=True):
            if array.shape != shape or array.dtype != dtype or not np.isfinite(array).all():
                raise InvalidInputError(
                    f"learned parameters: got {array.dtype} {array.shape}, need {dtype.__name__} {shape}"
                )
        if features.width != len(inverse) or (isinstance(features, Centroids) and features.dim != dim):
            raise InvalidInputError(f"learned parameters: centroids must be ({len(inverse)}, {dim})")
        return cls(config, features, learn, scales, inverse)

    @cached_property
    def _equations(self) -> _Equations:
        """Made when first needed, because queries do without."""
        from ..kernels.targets import columns, panels

        vectors = _vectors(self._learn, self._scales)
        padding = columns(len(vectors)) - len(vectors)
        design = np.pad(self._features.sums(singles(vectors)).T, ((0, 0), (0, padding)))
        return _Equations(panels(vectors), panels(design), panels(self._inverse))

    def _targets(self, tokens: TokenEmbeddings, spans: IntArray) -> tuple[FloatArray, FloatArray]:
        from ..kernels.targets import best_products, means

        return best_products(tokens.vectors, spans, self._equations.learn), means(tokens.vectors, spans)

    def _fold(self, targets: FloatArray, means: FloatArray) -> FloatArray:
        """`(n, output_dim)` from the best products of learn tokens, which it overwrites, and means."""
        from ..kernels.targets import products

        equations, width = self._equations, len(self._inverse)
        if self.config.mean_skip:
            targets -= products(means, equations.learn)
        moments = products(targets, equations.design)[:, :width]
        weights = products(moments, equations.inverse)[:, :width]
        return np.concatenate([weights, means], axis=1) if self.config.mean_skip else np.ascontiguousarray(weights)

    def _encode(
        self, offsets: IntArray, targets: Callable[[IntArray], tuple[FloatArray, FloatArray]], projection: Projection
    ) -> FloatArray:
        from ..kernels.targets import panels, products

        if projection is not None and (np.ndim(projection) != 2 or np.shape(projection)[0] != self.output_dim):
            raise InvalidInputError(f"a projection is ({self.output_dim}, d); got {np.shape(projection)}")
        width = self.output_dim if projection is None else np.shape(projection)[1]
        packed = None if projection is None else panels(np.asarray(projection, np.float32).T)
        out = np.empty((len(offsets) - 1, width), np.float32)
        for start, stop in self._blocks(len(out)):
            whole = self._fold(*targets(offsets[start : stop + 1]))
            out[start:stop] = whole if packed is None else products(whole, packed)[:, :width]
        return out

    def _blocks(self, count: int) -> list[tuple[int, int]]:
        size = max(1, BLOCK_BYTES // (4 * len(self._learn)))
        return [(start, min(start + size, count)) for start in range(0, count, size)]

    def _check(self, dim: int) -> None:
        if dim != self.dim:
            raise InvalidEmbeddingsError(f"token vectors have {dim} dimensions; this encoding takes {self.dim}")


def _drawn(
    documents: TokenEmbeddings, queries: TokenEmbeddings | None, count: int, key: tuple[int, int, int]
) -> FloatArray:
    """`(count or fewer, dim)` float32: tokens of queries for one half, as far as they go, and of documents."""
    asked = np.empty((0, documents.dim), np.float32)
    if queries is not None:
        asked = queries.vectors[draw(count // 2, len(queries.vectors), (*key[:2], key[2] + 1))]
    stored = documents.vectors[draw(count - len(asked), len(documents.vectors), key)]
    return np.concatenate([asked, stored])


def _vectors(learn: Signed, scales: FloatArray) -> FloatArray:
    return learn * scales[:, None]


def _inverse(design: FloatArray, ridge: float) -> FloatArray:
    """`(width, width)` float32: `(F^T F + lambda I)^-1` for the features `F` of learn tokens, by way of float64."""
    doubles = design.astype(np.float64)
    normal = doubles.T @ doubles
    mean = np.trace(normal) / len(normal)
    normal[np.diag_indices_from(normal)] += ridge * mean if mean > 0 else 1.0
    return np.linalg.inv(normal).astype(np.float32)


def _checked_rows(codes: Codes, offsets: IntArray, dim: int) -> IntArray:
    from ..kernels.rows import CONSTANT_BYTES

    if np.ndim(codes) != 2 or np.shape(codes)[1] != dim + CONSTANT_BYTES or codes.dtype != np.uint8:
        raise InvalidInputError(f"rows have shape {np.shape(codes)}; expected (t, {dim + CONSTANT_BYTES}) bytes")
    spans = np.asarray(offsets, np.int64)
    if spans.ndim != 1 or not len(spans) or spans[0] < 0 or spans[-1] > len(codes) or (np.diff(spans) < 0).any():
        raise InvalidInputError(f"document offsets must rise within the {len(codes)} token rows")
    return spans


def _check(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidInputError(f"learned {name} must be an integer from {low} to {high}; got {value!r}")
