"""Other people's parts, each optional: the MUVERA encoding of `muvera-python`, and the indexes of faiss, SVS, usearch.

Every index here answers with the rows of the largest inner products, on one thread, and has one knob, its effort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import MissingExtraError
from .stores import Index

_DISTRIBUTIONS: Final = ("muvera-python", "faiss-cpu", "scalable-vs", "usearch")
_DEGREE, _BUILD_BEAM, _BEAM = 32, 200, 400
_MODULES: Final[Mapping[str, str]] = MappingProxyType({"faiss": "faiss-cpu", "svs": "scalable-vs"})


def versions() -> str:
    """The peers and their versions, `absent` for those that are not installed."""
    return ", ".join(f"{name} {_version(name)}" for name in _DISTRIBUTIONS)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"the comparison with {_MODULES.get(name, name)}", "bench") from error


class MuveraPython:
    """The encoding of `muvera-python`. Raises `MissingExtraError` without that package."""

    def __init__(self, dim: int, repetitions: int, simhash_bits: int, projected_dim: int) -> None:
        self._dim = dim
        self._made = _module("muvera").Muvera(
            num_repetitions=repetitions,
            num_simhash_projections=simhash_bits,
            dimension=dim,
            projection_type="ams_sketch",
            projection_dimension=projected_dim,
        )

    @property
    def dim(self) -> int:
        """Dimensions of token vectors."""
        return self._dim

    @property
    def output_dim(self) -> int:
        """Dimensions of an encoding."""
        return int(self._made.output_dimension)

    def encode_documents(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), output_dim)` float32."""
        made: FloatArray = self._made.encode_documents(list(tokens))
        return made

    def encode_queries(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), output_dim)` float32."""
        made: FloatArray = self._made.encode_queries(list(tokens))
        return made


class Faiss:
    """An index that the faiss factory makes of `recipe`; `{lists}` in it stands for four times the root of the size.

    knob: the search parameter that is the effort. fixed: parameters that stay.
    """

    def __init__(self, label: str, recipe: str, knob: str, efforts: Sequence[int], **fixed: int) -> None:
        self.label, self.efforts = label, efforts
        self._recipe, self._knob, self._fixed = recipe, knob, fixed
        self._index: Any = None
        self._bytes = 0.0

    @property
    def bytes_per_document(self) -> float:
        """Bytes of the serialised index over the number of documents."""
        return self._bytes

    def build(self, vectors: FloatArray) -> None:
        """Train and fill."""
        faiss = _module("faiss")
        faiss.omp_set_num_threads(1)
        count, dim = vectors.shape
        lists = max(1, int(4 * count**0.5))
        index = faiss.index_factory(dim, self._recipe.format(lists=lists), faiss.METRIC_INNER_PRODUCT)
        self._space = faiss.ParameterSpace()
        if "HNSW" in self._recipe:
            self._space.set_index_parameter(index, "efConstruction", _BUILD_BEAM)
        index.train(vectors)
        index.add(vectors)
        for name, value in self._fixed.items():
            self._space.set_index_parameter(index, name, value)
        self._index = index
        self._bytes = len(faiss.serialize_index(index)) / count

    def aim(self, effort: int) -> None:
        """Set the knob."""
        self._space.set_index_parameter(self._index, self._knob, effort)

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, k)` int64 rows, padded with -1."""
        rows: IntArray = self._index.search(queries, k)[1]
        return rows


class FaissGraph(Faiss):
    """HNSW over float32 vectors as candidates are commonly found, with a beam that is never below `_BEAM`.

    Their mean is taken off first. That changes the order for no query, but a graph by inner product of vectors that
    share a large mean falls apart: of learned encodings it finds a quarter, and nearly all without the mean.
    """

    def __init__(self) -> None:
        super().__init__("faiss HNSW", f"HNSW{_DEGREE},Flat", "efSearch", ())

    def build(self, vectors: FloatArray) -> None:
        """Link all vectors."""
        super().build(vectors - vectors.mean(axis=0))

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, k)` int64 rows, padded with -1."""
        self.aim(max(_BEAM, k))
        return super().top(queries, k)


class SVS:
    """The Vamana graph of Scalable Vector Search over float32 vectors; its other codes run on Intel processors only."""

    label = "SVS Vamana float32"
    efforts: Sequence[int] = (10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480)

    def __init__(self) -> None:
        self._index: Any = None
        self._dim = 0

    @property
    def bytes_per_document(self) -> float:
        """Bytes of a vector and of its neighbours."""
        return 4.0 * (self._dim + _DEGREE)

    def build(self, vectors: FloatArray) -> None:
        """Link all vectors."""
        svs = _module("svs")
        settings = svs.VamanaBuildParameters(alpha=0.95, graph_max_degree=_DEGREE, window_size=_BUILD_BEAM)
        self._dim = vectors.shape[1]
        self._index = svs.Vamana.build(settings, vectors, svs.DistanceType.MIP, num_threads=1)

    def aim(self, effort: int) -> None:
        """Set the search window."""
        self._index.search_window_size = effort

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, k)` int64 rows."""
        rows: IntArray = self._index.search(queries, k)[0].astype(np.int64)
        return rows


class Usearch:
    """The HNSW graph of usearch, over float32 vectors or those scaled to one byte a dimension (`kind` `i8`)."""

    efforts: Sequence[int] = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)

    def __init__(self, kind: str) -> None:
        self.label = f"usearch {kind}"
        self._kind = kind
        self._index: Any = None
        self._bytes = 0.0

    @property
    def bytes_per_document(self) -> float:
        """Bytes of the serialised index over the number of documents."""
        return self._bytes

    def build(self, vectors: FloatArray) -> None:
        """Link all vectors; bytes need lengths of at most one."""
        scale = float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max()))
        index = _module("usearch.index").Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype=self._kind,
            connectivity=_DEGREE // 2,
            expansion_add=_BUILD_BEAM,
        )
        index.add(np.arange(len(vectors)), vectors / np.float32(scale), threads=1)
        self._index = index
        self._bytes = index.serialized_length / len(vectors)

    def aim(self, effort: int) -> None:
        """Set the beam."""
        self._index.expansion_search = effort

    def top(self, queries: FloatArray, k: int) -> IntArray:
        """`(m, k)` int64 rows, padded with -1."""
        lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries))
        scaled = queries / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
        found = self._index.search(scaled, k, threads=1)
        rows = np.full((len(queries), k), -1, np.int64)
        keys = np.asarray(found.keys).reshape(len(queries), -1).astype(np.int64)
        rows[:, : keys.shape[1]] = keys
        return rows


_BEAMS: Final = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
_PROBES: Final = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)

INDEXES: Final[Sequence[Callable[[], Index]]] = (
    lambda: Faiss("faiss HNSW", f"HNSW{_DEGREE},Flat", "efSearch", _BEAMS),
    lambda: Faiss("faiss HNSW-SQ8", f"HNSW{_DEGREE},SQ8", "efSearch", _BEAMS),
    lambda: Faiss(
        "faiss IVF-RaBitQ fast scan + SQ8", "IVF{lists},RaBitQfs,Refine(SQ8)", "nprobe", _PROBES, k_factor_rf=10
    ),
    lambda: Faiss(
        "faiss IVF-RaBitQ fast scan + SQ8 x40", "IVF{lists},RaBitQfs,Refine(SQ8)", "nprobe", _PROBES, k_factor_rf=40
    ),
    SVS,
    lambda: Usearch("f32"),
    lambda: Usearch("i8"),
)
"""Peers of the comparison on one set of vectors."""
