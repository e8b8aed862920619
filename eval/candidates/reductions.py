"""LeanVec as the benchmark varies it: which method, fitted to which queries, how many dimensions, rotated or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from ...encoders.embeddings import FloatArray
from ...index.leanvec import LeanVec, eigenvector_search, frank_wolfe, leanvec_id, sphering
from ...index.moments import DoubleArray, Moments

Kind = Literal["ID", "Frank-Wolfe", "eigenvectors", "Sphering"]
QuerySet = Literal["pseudo", "real", "test"]
SEED = 7
_FITS: Final[Mapping[Kind, Callable[[DoubleArray, DoubleArray, int], LeanVec]]] = MappingProxyType(
    {
        "ID": lambda _, K_x, d: leanvec_id(K_x, d),
        "Frank-Wolfe": frank_wolfe,
        "eigenvectors": eigenvector_search,
        "Sphering": sphering,
    }
)
KINDS: Final = tuple(_FITS)


@dataclass(frozen=True)
class Reduction:
    """What is done to vectors before they are stored. queries: what it is fitted to. rotated: at random, after it."""

    kind: Kind
    dim: int
    queries: QuerySet = "pseudo"
    rotated: bool = True

    @property
    def label(self) -> str:
        """For tables."""
        real = ", real queries" if self.queries == "real" else ""
        return f"{self.kind} {self.dim}{real}" + ("" if self.rotated else ", unrotated")


class Reducer:
    """Fits reductions of one collection's document vectors, each kind once for all dimensions where it is nested."""

    def __init__(self, documents: FloatArray, queries: Mapping[QuerySet, FloatArray]) -> None:
        self._documents = _moments(documents).centred  # a mean that all documents share ranks nothing
        self._queries = {name: _moments(vectors).matrix for name, vectors in queries.items()}
        self._samples = {name: len(vectors) for name, vectors in queries.items()}
        self._whole: dict[tuple[Kind, QuerySet], LeanVec] = {}

    def fit(self, wish: Reduction) -> LeanVec:
        """The pair of matrices, rotated if so wished."""
        fitted = self._unrotated(wish)
        return fitted.rotated(SEED) if wish.rotated else fitted

    def loss(self, wish: Reduction, on: QuerySet) -> float:
        """Mean square error of inner products with the queries of a set, as a share of their mean square."""
        K_q = self._queries[on]
        total = float((K_q * self._documents).sum())
        return self._unrotated(wish).loss(K_q, self._documents) / total

    def _unrotated(self, wish: Reduction) -> LeanVec:
        K_q, key = self._queries[wish.queries], (wish.kind, wish.queries)
        if wish.kind == "Sphering":
            if key not in self._whole:
                self._whole[key] = sphering(K_q, self._documents, len(K_q), samples=self._samples[wish.queries])
            return self._whole[key].truncated(wish.dim)
        known = self._whole.get(key)
        if known is None or known.output_dim != wish.dim:
            self._whole[key] = _FITS[wish.kind](K_q, self._documents, wish.dim)
        return self._whole[key]


def _moments(vectors: FloatArray) -> Moments:
    moments = Moments(vectors.shape[1])
    moments.add(vectors)
    return moments
