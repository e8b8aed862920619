"""What codecs with codebooks share: a centroid, codes that are looked up as words, and one constant a row."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import InvalidEmbeddingsError, InvalidInputError
from ..clustering import two_level
from ..kernels.half import HALF_MAX
from ..kernels.int8 import SIGNED_MAX, Signed
from ..kernels.jit import frozen
from ..kernels.nearest import OFFSET, RESIDUAL, SHORTEST, WHOLE, encode, search_in
from ..kernels.targets import panels, products
from ..kernels.words import Mapped, Words, score
from .base import Codes, Params
from .common import Codec, check_dim, check_values, check_vectors

FIT_VECTORS = 1 << 18
"""Vectors that `fit` can make use of."""
BOOK_VECTORS = 1 << 15
"""Vectors whose residuals the codebooks are fitted to, at most."""
PER_CENTROID = 12
"""Vectors of the sample for each centroid, at least."""
MOST_CENTROIDS = 1 << 14
FEWEST_GROUPED = 64
"""Fewer centroids are searched without groups."""
LENGTH_VECTORS = 1 << 13
"""Vectors of the sample that tell how long decoded ones are."""
BLOCK = 1 << 14
"""Vectors encoded at a time, which bounds the temporary copies."""
HALF_ERROR = 2.0**-10
"""Relative error of a half, its rounding and that of what is computed from it included."""
HALF_TINY = 2.0**-24
"""Least positive half, and the absolute error of halves near it."""
CONSTANT_BYTES = 2
SEED = 5


class WordCodec(Codec):
    """A row is `[centroid id][codes][constant, half]`; see `kernels.words` for how it is scored.

    dim: dimensions of the vectors. centroids: `(groups, per_group, dim)` int8. book: `(codes or 1, 256, width)` int8,
    width a multiple of 4. units: `(3,)` float32: what a step of a centroid's coordinate is worth, the same of the book,
    and the length that decoded vectors of the sample do not exceed. rotation: `(dim, dim)` float32 orthogonal, applied
    to vectors and queries first, for subclasses that are `rotated`.
    """

    fitted: ClassVar[bool] = True
    rotated: ClassVar[bool]
    scaling: ClassVar[int]
    """What the constant multiplies: `WHOLE` or `RESIDUAL` of `kernels.nearest`."""

    def __init__(
        self, dim: int, centroids: Signed, book: Signed, units: FloatArray, rotation: FloatArray | None = None
    ) -> None:
        self.dim = dim
        self._params: dict[str, npt.NDArray[Any]] = {"centroids": centroids, "book": book, "units": units}
        if rotation is not None:
            self._params["rotation"] = rotation
        self._sizes = self.sizes(dim)
        width = book.shape[2]
        starts = np.repeat(np.arange(len(self._sizes)) * width - np.cumsum(self._sizes) + self._sizes, self._sizes)
        self._places = starts + np.arange(dim)
        self._centroids = centroids.reshape(-1, dim)
        self._book = book
        self._units = frozen(units, np.float32, 1)
        self._search = search_in(self._centroids, centroids.shape[1], book, units[:2], self._places)
        self._words = self._scoring(book)
        self._into = None if rotation is None else panels(rotation.T)
        self._back = None if rotation is None else panels(rotation)

    @classmethod
    @abstractmethod
    def sizes(cls, dim: int) -> IntArray:
        """`(codes,)` int64 dimensions that each byte of code stands for, `dim` in all."""

    @classmethod
    @abstractmethod
    def fit_book(cls, residuals: FloatArray, sizes: IntArray) -> FloatArray:
        """`(codes or 1, 256, width)` float32 words for `(n, dim)` residuals, n >= 1."""

    @classmethod
    def book_shape(cls, dim: int) -> tuple[int, int, int]:
        """Shape of the codebook: a book for each code, as wide as the largest, in whole words."""
        sizes = cls.sizes(dim)
        return len(sizes), 256, -(-int(sizes.max()) // 4) * 4

    @classmethod
    def fit(cls, sample: FloatArray) -> Self:
        """The codec for vectors like `(t, dim)` float32 `sample`, best a random one of `FIT_VECTORS`.

        Twelve vectors a centroid are needed; so fewer vectors get fewer centroids, and none at all do.
        Raises `InvalidEmbeddingsError` on values that `encode` refuses.
        """
        dim = np.shape(sample)[-1]
        check_vectors(sample, dim)
        check_dim(dim)
        vectors = _spread(np.asarray(sample, np.float32), FIT_VECTORS)
        check_values(vectors)
        rotation = _rotation(dim) if cls.rotated else None
        turned = vectors if rotation is None else products(vectors, panels(rotation.T))[:, :dim]
        if cls.scaling == WHOLE:
            turned = _directions(turned, np.linalg.norm(turned.astype(np.float64), axis=1))
        centroids, unit = _signed(two_level(turned, *_shape(len(turned))))
        few = _spread(turned, BOOK_VECTORS) if len(turned) else np.zeros((1, dim), np.float32)
        book, book_unit = _signed(cls.fit_book(few - _near(few, centroids, unit), cls.sizes(dim)))
        units = np.array([unit, book_unit, np.inf], np.float32)
        draft = cls(dim, centroids, book, units, rotation)
        decoded = draft.decode(draft.encode(_spread(vectors, LENGTH_VECTORS)))
        units[2] = np.linalg.norm(decoded.astype(np.float64), axis=1).max(initial=0) * (1 + 2.0**-8)
        return cls(dim, centroids, book, units, rotation)

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Centroids, codebook, their units and the rotation if there is one."""
        return dict(self._params)

    @classmethod
    def from_params(cls, dim: int, params: Params) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when arrays are missing, surplus or of another shape."""
        check_dim(dim)
        expected: dict[str, tuple[type, tuple[int, ...]]] = {
            "centroids": (np.int8, (-1, -1, dim)),
            "book": (np.int8, cls.book_shape(dim)),
            "units": (np.float32, (3,)),
        }
        if cls.rotated:
            expected["rotation"] = (np.float32, (dim, dim))
        if set(params) != set(expected):
            raise InvalidInputError(f"codec {cls.name} has parameters {sorted(expected)}; got {sorted(params)}")
        for key, (dtype, shape) in expected.items():
            _check_array(f"{key} of codec {cls.name}", params[key], dtype, shape)
        units, count = params["units"], params["centroids"].shape[0] * params["centroids"].shape[1]
        if not (units[:2] > 0).all() or units[2] < 0 or not 1 <= count <= 1 << 24:
            raise InvalidInputError(f"codec {cls.name} has units {units.tolist()} and {count} centroids: file damaged?")
        return cls(dim, params["centroids"], params["book"], units, params.get("rotation"))

    @classmethod
    def planned_bytes(cls, dim: int) -> int:
        """See `TokenCodec.planned_bytes`."""
        return _id_bytes(MOST_CENTROIDS) + len(cls.sizes(dim)) + CONSTANT_BYTES

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one row."""
        return self._words.id_bytes + len(self._sizes) + CONSTANT_BYTES

    def encode(self, vectors: FloatArray) -> Codes:
        """`(t, bytes_per_token)` uint8 rows. Raises `InvalidEmbeddingsError` on NaN and values beyond +-65,504."""
        self._check_vectors(vectors)
        rows = np.empty((len(vectors), self.bytes_per_token), np.uint8)
        for start in range(0, len(vectors), BLOCK):
            part = np.asarray(vectors[start : start + BLOCK], np.float32)
            check_values(part)
            self._encode_block(part, rows[start : start + BLOCK])
        return rows

    def _encode_block(self, vectors: FloatArray, rows: Codes) -> None:
        codes, id_bytes, whole_rows = len(self._sizes), self._words.id_bytes, self.scaling == WHOLE
        sums = encode(self._turned(vectors), self._search, codes, id_bytes, self.scaling, rows)
        cc, cx, xx, rx, rr, squares = sums.T
        if whole_rows:
            constants = np.sqrt(squares) / np.maximum(np.sqrt(np.maximum(cc + 2 * cx + xx, 0)), SHORTEST)
        else:
            constants = np.divide(rr, rx, out=np.zeros(len(rr)), where=rx > 0)
        if not (constants.max(initial=0) <= HALF_MAX):
            raise InvalidEmbeddingsError(f"vectors are longer than {HALF_MAX:.0f}: scale them down")
        halves = constants.astype("<f2")
        residual = halves.astype(np.float64)
        whole = residual if whole_rows else 1.0
        decoded = whole**2 * cc + 2 * whole * residual * cx + residual**2 * xx
        halves[decoded * (1 + 2.0**-16) > float(self._units[2]) ** 2] *= -1
        rows[:, -2:] = halves[:, None].view(np.uint8)

    def decode(self, codes: Codes) -> FloatArray:
        """`(t, dim)` float32 vectors that the rows stand for."""
        self._check_codes(codes)
        out = np.empty((len(codes), self.dim), np.float32)
        for start in range(0, len(codes), BLOCK):
            out[start : start + BLOCK] = self._decode_block(np.asarray(codes[start : start + BLOCK]))
        return out

    def _decode_block(self, rows: Codes) -> FloatArray:
        id_bytes, count = self._words.id_bytes, len(self._sizes)
        ids = np.zeros(len(rows), np.int64)
        for b in range(id_bytes):
            ids |= rows[:, b].astype(np.int64) << (8 * b)
        near = self._units[0] * self._centroids[np.minimum(ids, len(self._centroids) - 1)].astype(np.float32)
        books = np.arange(count) if len(self._book) > 1 else np.zeros(count, np.int64)
        words = self._book[books, rows[:, id_bytes : id_bytes + count]].reshape(len(rows), -1)
        rest = self._units[1] * words[:, self._places].astype(np.float32)
        constants = np.abs(_constants(rows))[:, None]
        vectors: FloatArray = (near + rest) * constants if self.scaling == WHOLE else near + rest * constants
        if self._back is not None:
            vectors = products(vectors, self._back)[:, : self.dim]
        return vectors

    def score(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> FloatArray:
        """MaxSim over the decoded vectors; see `TokenCodec.score`."""
        self._check_codes(codes)
        return score(self._mapped(queries), codes, self._words, offsets, positions)[0]

    def estimate(
        self, queries: TokenEmbeddings, codes: Codes, offsets: IntArray, positions: IntArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Scores of queries rounded to signed bytes, and bounds on their errors; see `TokenCodec.estimate`."""
        self._check_codes(codes)
        return score(self._mapped(queries), codes, self._words, offsets, positions, planes=1)

    def error_bound(self, codes: Codes) -> FloatArray:
        """`(t,)` float32: what a row alone can tell, which is little.

        With a constant for the residual, that constant: it is the length of the decoded residual and no shorter than
        the residual, with which its product is that residual's square. With one for the whole, the lengths of the
        vector and of the decoded one together, which are equal but for short decoded ones.
        """
        self._check_codes(codes)
        constants = np.abs(_constants(codes)).astype(np.float64) * (1 + HALF_ERROR) + HALF_TINY
        if self.scaling == RESIDUAL:
            return np.asarray(constants * float(self._words.reach[1]) * (1 + HALF_ERROR), np.float32)
        decoded = np.linalg.norm(self.decode(codes).astype(np.float64), axis=1) * (1 + HALF_ERROR)
        tiny = HALF_TINY * float(self._words.reach.sum())
        return np.asarray(2 * np.maximum(decoded, constants * SHORTEST) + tiny, np.float32)

    def _scoring(self, book: Signed) -> Words:
        count, width = len(self._centroids), book.shape[2]
        centroids = np.full((count, -(-self.dim // 4) * 4), OFFSET, np.uint8)
        centroids[:, : self.dim] += self._centroids.view(np.uint8)
        words = (book.reshape(-1).view(np.uint8) + np.uint8(OFFSET)).astype(np.uint8)
        longest = np.square(book.astype(np.float64)).sum(axis=2).max(axis=1)
        reach = np.sqrt([np.square(self._centroids.astype(np.float64)).sum(axis=1).max(), longest.sum()])
        if len(book) == 1:
            reach[1] *= np.sqrt(len(self._sizes))
        return Words(
            frozen(centroids, np.uint8, 2),
            frozen(words, np.uint8, 1),
            width,
            256 * width if len(book) > 1 else 0,
            len(self._sizes),
            _id_bytes(count),
            self.scaling,
            self._units[0],
            self._units[1],
            self._units[2],
            frozen(reach * self._units[:2] * (1 + 2.0**-12), np.float32, 1),
        )

    def _mapped(self, queries: TokenEmbeddings) -> Mapped:
        self._check_vectors(queries.vectors)
        turned = self._turned(queries.vectors)
        words = np.zeros((len(turned), len(self._sizes) * self._book.shape[2]), np.float32)
        words[:, self._places] = turned
        return Mapped(TokenEmbeddings(turned, queries.offsets), TokenEmbeddings(words, queries.offsets))

    def _turned(self, vectors: FloatArray) -> FloatArray:
        if self._into is None:
            return np.asarray(vectors, np.float32)
        return np.ascontiguousarray(products(vectors, self._into)[:, : self.dim])


def _id_bytes(centroids: int) -> int:
    return (int(centroids - 1).bit_length() + 7) // 8


def _constants(rows: Codes) -> FloatArray:
    return np.ascontiguousarray(rows[:, -2:]).view("<f2")[:, 0].astype(np.float32)


def _shape(vectors: int) -> tuple[int, int]:
    """Groups and centroids in each, powers of two, for a sample of so many vectors."""
    bits = max(1, min(MOST_CENTROIDS, vectors // PER_CENTROID)).bit_length() - 1
    if 1 << bits < FEWEST_GROUPED:
        return 1, 1 << bits
    return 1 << bits // 2, 1 << (bits - bits // 2)


def _signed(values: FloatArray) -> tuple[Signed, np.float32]:
    """The values in signed bytes, and what a step of them is worth."""
    unit = np.float32(np.abs(values).max(initial=0) / SIGNED_MAX) or np.float32(1)
    return np.clip(np.rint(values / unit), -SIGNED_MAX, SIGNED_MAX).astype(np.int8), unit


def _directions(vectors: FloatArray, lengths: npt.NDArray[np.float64]) -> FloatArray:
    """Unit vectors; zeros stay zeros."""
    return (vectors / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)


def _near(vectors: FloatArray, centroids: Signed, unit: np.float32) -> FloatArray:
    """The centroid of each vector."""
    flat = centroids.reshape(-1, vectors.shape[1])
    no_book = np.zeros((1, 256, 4), np.int8), np.array([unit, 1], np.float32)
    books = search_in(flat, centroids.shape[1], *no_book, np.zeros(vectors.shape[1], np.int64))
    ids = np.empty((len(vectors), 4), np.uint8)
    encode(vectors, books, 0, 4, RESIDUAL, ids)  # the vectors as they are: without codes, no residual is read
    near: FloatArray = flat[ids.view("<u4")[:, 0]].astype(np.float32) * unit
    return near


def _rotation(dim: int) -> FloatArray:
    """A random orthogonal matrix, always the same."""
    q, r = np.linalg.qr(np.random.default_rng(SEED).standard_normal((dim, dim)))
    return np.ascontiguousarray(q * np.sign(np.diag(r)), np.float32)


def _spread(vectors: FloatArray, count: int) -> FloatArray:
    """At most `count` of the vectors, from all over."""
    if len(vectors) <= count:
        return vectors
    return np.ascontiguousarray(vectors[np.linspace(0, len(vectors) - 1, count).astype(np.int64)])


def _check_array(what: str, array: npt.NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    plain = np.asarray(array)
    fits = plain.ndim == len(shape) and all(
        have == want or want < 0 < have for have, want in zip(plain.shape, shape, strict=True)
    )
    if plain.dtype != dtype or not fits or not np.isfinite(plain).all():
        raise InvalidInputError(
            f"{what} are finite {dtype.__name__} of shape {shape}; got {plain.dtype} of {plain.shape}"
        )
