"""LeanVec: fewer dimensions for vectors whose inner products matter (Tepper et al., arXiv 2312.16335).

A pair of `(D, d)` matrices, `A` for queries and `B` for documents, such that `<A^T q, B^T x>` is near `<q, x>`. The
loss is the mean square of the difference over all pairs of a query and a document, and it depends on them through
their second moments only. Nothing but inner products is kept: a query and a document vector of one pair may have
different scales. `sphering` is the best pair there is; the others are what it is compared with.

Documents are best described by their centred second moment: their mean moves all scores of a query alike, and where it
is large it hides the loss that matters, and stops `frank_wolfe` too early. The reductions apply to vectors as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import FloatArray
from ..encoders.errors import InvalidEmbeddingsError, InvalidInputError
from .encodings.streams import normals
from .moments import DoubleArray

ROWS = 4
"""Vectors multiplied at a time, always as many, so that a result does not depend on the vectors beside it. A query
alone wastes little, and many documents run as fast as in larger blocks."""
RIDGE, FEW_RIDGE = 1e-6, 1e-4
FLOAT64_DIM = 2048
_ROTATION = 101  # purpose of the random stream


@dataclass(frozen=True, eq=False)
class LeanVec:
    """A reduction of `D` dimensions to `d`: `<q, x>` is about `<q @ queries, x @ documents>`.

    queries, documents: `(D, d)` float32. nested: whether the first columns are a reduction to fewer dimensions.
    Raises `InvalidInputError` on matrices of another shape or with values that are not finite.
    """

    queries: FloatArray
    documents: FloatArray
    nested: bool = True

    def __post_init__(self) -> None:
        for name in ("queries", "documents"):
            matrix = np.asarray(getattr(self, name))
            if matrix.ndim != 2 or not 1 <= matrix.shape[1] <= matrix.shape[0] or matrix.dtype.kind != "f":
                raise InvalidInputError(f"LeanVec {name} are (D, d) floats, d <= D; got {matrix.dtype} {matrix.shape}")
            matrix = np.ascontiguousarray(matrix, np.float32)
            if not np.isfinite(matrix).all():
                raise InvalidInputError(f"LeanVec {name} hold NaN or infinite values")
            object.__setattr__(self, name, matrix)
        if self.queries.shape != self.documents.shape:
            raise InvalidInputError(
                f"LeanVec queries {self.queries.shape} and documents {self.documents.shape} differ in shape"
            )

    @property
    def dim(self) -> int:
        """Dimensions of the vectors that go in."""
        return len(self.queries)

    @property
    def output_dim(self) -> int:
        """Dimensions of the vectors that come out."""
        return int(self.queries.shape[1])

    def reduce_queries(self, vectors: FloatArray) -> FloatArray:
        """`(n, output_dim)` float32 of `(n, dim)` query vectors, each independent of the others."""
        return _product(vectors, self.queries)

    def reduce_documents(self, vectors: FloatArray) -> FloatArray:
        """`(n, output_dim)` float32 of `(n, dim)` document vectors, each independent of the others."""
        return _product(vectors, self.documents)

    def truncated(self, dim: int) -> Self:
        """The reduction to the first `dim` of its dimensions.

        Raises `InvalidInputError` when there are fewer, and after a rotation, which mixes them.
        """
        if not self.nested:
            raise InvalidInputError("a rotated reduction has no nested dimensions: truncate it before the rotation")
        _check_dim(dim, self.output_dim)
        return type(self)(self.queries[:, :dim], self.documents[:, :dim])

    def rotated(self, seed: int) -> Self:
        """The same reduction followed by a random rotation of both sides, which changes no inner product.

        It spreads each vector evenly over the coordinates, without which LVQ-4 spends its levels on the first few.
        """
        rotation = random_rotation(self.output_dim, seed)
        return type(self)(self.queries @ rotation, self.documents @ rotation, nested=False)

    def loss(self, K_q: DoubleArray, K_x: DoubleArray) -> float:
        """Mean square error of inner products, for queries and documents of these `(dim, dim)` second moments.

        Divide by `np.vdot(K_q, K_x)`, the mean square inner product, for a share of one.
        """
        _check_moments(K_q, K_x)
        if len(K_q) != self.dim:
            raise InvalidInputError(f"second moments are of {len(K_q)} dimensions; this reduction takes {self.dim}")
        A, B = self.queries.astype(np.float64), self.documents.astype(np.float64)
        return _loss(A, B, K_q @ A, K_x @ B, float(np.vdot(K_q, K_x)))

    def spectrum(self, K_q: DoubleArray, K_x: DoubleArray) -> DoubleArray:
        """`(output_dim,)` float64: mean square of each dimension's part of the inner products, for `choose_dim`.

        Of a `sphering` to all dimensions, the tail sums are the losses of its truncations.
        """
        _check_moments(K_q, K_x)
        parts = [
            np.einsum("ij,ij->j", K @ M, M, dtype=np.float64) for K, M in ((K_q, self.queries), (K_x, self.documents))
        ]
        energies: DoubleArray = parts[0] * parts[1]
        return energies

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Fitted arrays by name."""
        return {"queries": self.queries, "documents": self.documents, "nested": np.array([self.nested], np.uint8)}

    @classmethod
    def from_params(cls, params: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Inverse of `params`. Raises `InvalidInputError` when an array is missing or unusable."""
        missing = {"queries", "documents", "nested"} - set(params)
        if missing:
            raise InvalidInputError(f"LeanVec parameters lack {sorted(missing)}; got {sorted(params)}")
        return cls(params["queries"], params["documents"], nested=bool(np.any(params["nested"])))


def random_rotation(dim: int, seed: int) -> FloatArray:
    """A uniformly random `(dim, dim)` float32 orthogonal matrix; equal arguments give equal matrices up to rounding."""
    q, r = np.linalg.qr(normals((dim, dim), (seed, 0, _ROTATION)).astype(np.float64))
    rotation: FloatArray = (q * np.where(r.diagonal() < 0, -1, 1)).astype(np.float32)  # signs that LAPACK leaves open
    return rotation


def choose_dim(spectrum: DoubleArray, share: float, step: int = 32) -> int:
    """The smallest multiple of `step` that leaves at most `share` of the spectrum's sum to later dimensions.

    spectrum: non-negative, one value a dimension; all dimensions when no multiple will do.
    Raises `InvalidInputError` unless 0 <= share <= 1 and step >= 1.
    """
    if not 0 <= share <= 1 or step < 1 or np.ndim(spectrum) != 1 or not len(spectrum):
        raise InvalidInputError(f"choose_dim takes a share in 0 to 1 and a positive step; got {share} and {step}")
    tails = np.append(np.cumsum(spectrum[::-1])[::-1], 0.0)  # tails[d] is left out by d dimensions
    enough = int(np.argmax(tails <= share * tails[0]))
    return min(len(spectrum), max(1, -(-enough // step)) * step)


def leanvec_id(K_x: DoubleArray, d: int) -> LeanVec:
    """Principal directions of the documents for both sides: best when queries are distributed like documents."""
    _check_moments(K_x, K_x)
    _check_dim(d, len(K_x))
    directions = _leading(K_x, d).astype(np.float32)
    return LeanVec(directions, directions)


def frank_wolfe(K_q: DoubleArray, K_x: DoubleArray, d: int, *, steps: int = 500, tolerance: float = 1e-3) -> LeanVec:
    """LeanVec-OOD by Frank-Wolfe block coordinate descent, as in the script of the SVS repository.

    `A` and `B` stay in the convex hull of the matrices with orthonormal columns and are returned where they end, not
    projected back. It ends when a step changes the loss by less than `tolerance` of it. A step costs two thin SVDs.
    """
    _check_moments(K_q, K_x)
    _check_dim(d, len(K_x))
    K_q, K_x = _scaled(K_q), _scaled(K_x)
    total = float(np.vdot(K_q, K_x))
    A = B = XB = np.zeros((len(K_x), d))
    before = np.inf
    for t in range(steps):
        gamma = 1 / (t + 1) ** 0.999
        QA = K_q @ A
        A = (1 - gamma) * A + gamma * _polar(K_q @ XB - QA @ (B.T @ XB))
        QA = K_q @ A
        B = (1 - gamma) * B + gamma * _polar(K_x @ QA - XB @ (A.T @ QA))
        XB = K_x @ B
        loss = _loss(A, B, QA, XB, total)
        if t > 1 and abs(loss - before) < tolerance * before:
            break
        before = loss
    return LeanVec(A.astype(np.float32), B.astype(np.float32), nested=False)


def eigenvector_search(K_q: DoubleArray, K_x: DoubleArray, d: int, *, steps: int = 12) -> LeanVec:
    """Principal directions of `beta * K_q + (1 - beta) * K_x` for both sides, with the best `beta` that was tried.

    Golden section search in [0, 1] (LeanVec, algorithm 2), after both ends, so that the loss is never above that of
    `leanvec_id`; `steps + 2` eigendecompositions.
    """
    _check_moments(K_q, K_x)
    _check_dim(d, len(K_x))
    K_q, K_x = _scaled(K_q), _scaled(K_x)
    total = float(np.vdot(K_q, K_x))

    def attempt(beta: float) -> tuple[float, float, DoubleArray]:
        P = _leading(beta * K_q + (1 - beta) * K_x, d)
        return _loss(P, P, K_q @ P, K_x @ P, total), beta, P

    tried = min(attempt(0.0), attempt(1.0), key=lambda one: one[:2])
    golden = (5**0.5 - 1) / 2
    low, high = 0.0, 1.0
    left, right = attempt(1 - golden), attempt(golden)
    for _ in range(steps - 2):
        tried = min(tried, left, right, key=lambda one: one[:2])
        if left[0] <= right[0]:
            high, right = right[1], left
            left = attempt(high - golden * (high - low))
        else:
            low, left = left[1], right
            right = attempt(low + golden * (high - low))
    P = min(tried, left, right, key=lambda one: one[:2])[2].astype(np.float32)
    return LeanVec(P, P, nested=False)


def sphering(K_q: DoubleArray, K_x: DoubleArray, d: int, *, samples: int | None = None) -> LeanVec:
    """LeanVec-Sphering (arXiv 2410.22347): the pair of least loss, in closed form, with nested dimensions.

    With `W W^T = K_q` and `U` the leading eigenvectors of `W^T K_x W`, `A = W^-T U` and `B = W U`; what is lost is the
    sum of the eigenvalues left out (Eckart and Young, on `W^T K_x^(1/2)`). Eigenvalues of `K_q` below 1e-6 of the
    largest are raised to that, or to 1e-4 when fewer than `5 * D` vectors (`samples`; enough when None) estimated them.
    The scale is chosen so that documents reduced to all dimensions have a mean square length of one.

    Two eigendecompositions of `(D, D)`, in float32 above `FLOAT64_DIM` dimensions: 80 core-seconds and 1.3 GB at 5,500.
    """
    _check_moments(K_q, K_x)
    D = len(K_x)
    _check_dim(d, D)
    kind = np.float64 if D <= FLOAT64_DIM else np.float32
    values, V = np.linalg.eigh(_scaled(K_q).astype(kind, copy=False))
    ridge = FEW_RIDGE if samples is not None and samples < 5 * D else RIDGE
    floor = ridge * values[-1] if values[-1] > 0 else 1  # without queries all directions count alike
    roots = np.sqrt(np.maximum(values, floor))
    W = V * roots
    S = W.T @ _scaled(K_x).astype(kind, copy=False) @ W
    trace = float(np.trace(K_x))
    energy = float(np.trace(S)) * (trace if trace > 0 else 1.0)
    U = _leading(S, d)
    scale = energy**0.5 if energy > 0 else 1.0
    return LeanVec((V / roots @ U * scale).astype(np.float32), (W @ U / scale).astype(np.float32))


def _product(vectors: FloatArray, matrix: FloatArray) -> FloatArray:
    if np.ndim(vectors) != 2 or np.shape(vectors)[1] != len(matrix):
        raise InvalidEmbeddingsError(f"vectors have shape {np.shape(vectors)}; expected (n, {len(matrix)})")
    count = len(vectors)
    out = np.empty((count, matrix.shape[1]), np.float32)
    whole = count - count % ROWS
    blocks = np.ascontiguousarray(vectors[:whole], np.float32).reshape(-1, ROWS, len(matrix))
    np.matmul(blocks, matrix, out=out[:whole].reshape(-1, ROWS, matrix.shape[1]))
    if whole < count:
        rest = np.zeros((ROWS, len(matrix)), np.float32)
        rest[: count - whole] = vectors[whole:]
        out[whole:] = (rest @ matrix)[: count - whole]
    return out


def _loss(A: DoubleArray, B: DoubleArray, QA: DoubleArray, XB: DoubleArray, total: float) -> float:
    """`tr(B A^T K_q A B^T K_x) - 2 tr(K_q A B^T K_x) + tr(K_q K_x)`, given `K_q A`, `K_x B` and the last term."""
    return max(0.0, float(np.vdot(A.T @ QA, B.T @ XB) - 2 * np.vdot(QA, XB)) + total)


def _leading(matrix: npt.NDArray[Any], d: int) -> npt.NDArray[Any]:
    """`(D, d)` eigenvectors of the largest eigenvalues of a symmetric matrix, the largest first."""
    vectors: npt.NDArray[Any] = np.linalg.eigh(matrix)[1][:, ::-1][:, :d]
    return vectors


def _polar(matrix: DoubleArray) -> DoubleArray:
    """The nearest matrix with orthonormal columns, which has the largest inner product with `matrix` among them."""
    U, _, Vt = np.linalg.svd(matrix, full_matrices=False)
    factor: DoubleArray = U @ Vt
    return factor


def _scaled(matrix: DoubleArray) -> DoubleArray:
    """The matrix over its trace, which changes the loss by a factor and hence no minimum."""
    trace = float(np.trace(matrix))
    return matrix / trace if trace > 0 else matrix


def _check_moments(K_q: DoubleArray, K_x: DoubleArray) -> None:
    for matrix in (K_q, K_x):
        if np.ndim(matrix) != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape != K_q.shape or not len(matrix):
            raise InvalidInputError(f"second moments must both be (D, D); got {np.shape(K_q)} and {np.shape(K_x)}")
        if not np.isfinite(matrix).all():
            raise InvalidInputError("second moments hold NaN or infinite values")


def _check_dim(d: int, most: int) -> None:
    if not 1 <= d <= most:
        raise InvalidInputError(f"a reduction keeps 1 to {most} dimensions; got {d}")
