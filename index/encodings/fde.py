"""MUVERA fixed dimensional encodings (Dhulipala et al., arXiv 2405.19504): one vector per item, fitted to no data.

Follows the reference implementation (google/graph-mining, `fixed_dimensional_encoding.cc`): SimHash partitions numbered
by Gray code, a count sketch as inner projection, sums for queries and means for documents, empty partitions of a
document filled with the token nearest in Hamming distance, repetitions side by side, optionally a sketch of the whole.
Beyond it: the dense inner projection of the paper, and the mean token of a document as a control variate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np

from ...encoders.embeddings import FloatArray, TokenEmbeddings
from ...encoders.errors import InvalidEmbeddingsError, InvalidInputError
from ..kernels.sketch import LANES, CountSketch, Fold, pack
from .streams import count_sketch, normals, signs

MAX_BITS = 16
MAX_DIM = 1 << 24
"""Most dimensions, before and after the final projection."""
_MAX_MATRIX_WIDTH = 48
"""Width from which the scattered additions of a count sketch cost less than a product with its matrix."""
_NORMALS, _INNER, _FINAL = 0, 1, 2  # purposes of random streams


@dataclass(frozen=True)
class FDEConfig:
    """Shape and seed of the encoding.

    repetitions: independent partitions of space, side by side. simhash_bits: each has `2 ** simhash_bits` blocks.
    projected_dim: coordinates that a block keeps of token vectors; all when None or not below their dimension.
    fill_empty: give an empty block of a document its nearest token. final_dim: sketch the whole to this; not when None.
    seed: of all random choices. projection: of blocks, by a count sketch or by a dense matrix with entries of
    +-1 / sqrt(projected_dim); either keeps inner products in expectation.
    control_variate: fold what is left of document tokens without the mean of the document, which is kept exactly in
    `dim` more coordinates at the end, not sketched. The noise of projections grows with what they are given, so this
    pays most where tokens share a direction. An empty block then says "the mean", and is best left empty: combine with
    `fill_empty=False`.

    Of the shapes tried that take about 5 KB a document at one byte a dimension, the defaults found most of the exact
    top 10, or as much as any, on Cranfield, CISI and 20,000 package descriptions with the bundled encoder. The paper
    fills empty blocks; with these vectors that costs recall, the more the finer the partitions.

    Raises `InvalidInputError` on a value out of range.
    """

    repetitions: int = 20
    simhash_bits: int = 4
    projected_dim: int | None = 16
    fill_empty: bool = False
    final_dim: int | None = None
    seed: int = 42
    projection: Literal["sketch", "dense"] = "sketch"
    control_variate: bool = False

    def __post_init__(self) -> None:
        _check("repetitions", self.repetitions, 1, MAX_DIM)
        _check("simhash_bits", self.simhash_bits, 0, MAX_BITS)
        _check("seed", self.seed, 0, 2**63 - 1)
        if self.projected_dim is not None:
            _check("projected_dim", self.projected_dim, 1, MAX_DIM)
        if self.final_dim is not None:
            _check("final_dim", self.final_dim, 1, MAX_DIM)
        for name in ("fill_empty", "control_variate"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInputError(f"FDE {name} must be true or false; got {getattr(self, name)!r}")
        if self.projection not in ("sketch", "dense"):
            raise InvalidInputError(f"FDE projection must be 'sketch' or 'dense'; got {self.projection!r}")

    def block_dim(self, dim: int) -> int:
        """Coordinates of one block, for token vectors of `dim` dimensions."""
        return dim if self.projected_dim is None else min(dim, self.projected_dim)

    def virtual_dim(self, dim: int) -> int:
        """Dimensions before the final projection."""
        return self.repetitions * (1 << self.simhash_bits) * self.block_dim(dim)

    def output_dim(self, dim: int) -> int:
        """Dimensions of an encoding of token vectors of `dim` dimensions."""
        folded = self.virtual_dim(dim) if self.final_dim is None else self.final_dim
        return folded + dim if self.control_variate else folded


class Matrices(NamedTuple):
    """What an encoding draws at random; see `FDE.from_matrices` for shapes."""

    gaussians: FloatArray
    inner: CountSketch | FloatArray | None
    final: CountSketch | None


class FDE:
    """The encoding of `config` for token vectors of `dim` dimensions; equal arguments give equal encodings anywhere.

    With `R` repetitions, `<encode_queries(q), encode_documents(p)> / R` approximates MaxSim, from below when nothing is
    projected. Raises `InvalidInputError` when the dimensions exceed `MAX_DIM`.
    """

    def __init__(self, config: FDEConfig, dim: int, *, matrices: Matrices | None = None) -> None:
        _check("dim", dim, 1, MAX_DIM)
        _check("virtual_dim", config.virtual_dim(dim), 1, MAX_DIM)
        self.config = config
        self._dim = dim
        self._width = config.block_dim(dim)
        width = self._width if self._width < dim else None
        drawn = matrices or _draw(config, dim)
        self._normals = _by_bit(drawn.gaussians, (config.repetitions, dim, config.simhash_bits))
        self._sketch, self._matrices = _inner(config.projection, drawn.inner, (config.repetitions, dim), width)
        self._final = _sketch("final", drawn.final, (config.virtual_dim(dim),), config.final_dim)

    @classmethod
    def from_matrices(
        cls,
        config: FDEConfig,
        gaussians: FloatArray,
        inner: CountSketch | FloatArray | None = None,
        final: CountSketch | None = None,
    ) -> Self:
        """An encoding with given matrices in place of random ones.

        gaussians: `(repetitions, dim, simhash_bits)`. inner: needed exactly when `projected_dim` is below `dim`; arrays
        of `(repetitions, dim)`, or for a dense projection a matrix `(repetitions, dim, projected_dim)`. final: arrays
        of `(virtual_dim,)`, needed exactly when there is a `final_dim`.
        Raises `InvalidInputError` on other shapes and on columns out of range.
        """
        return cls(config, np.shape(gaussians)[1], matrices=Matrices(gaussians, inner, final))

    @property
    def dim(self) -> int:
        """Dimensions of token vectors."""
        return self._dim

    @property
    def output_dim(self) -> int:
        """Dimensions of an encoding."""
        return self.config.output_dim(self._dim)

    def encode_documents(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), output_dim)` float32, independent of the order and the company of documents.

        Raises `InvalidEmbeddingsError` on another token dimension.
        """
        return self._encode(tokens, means=True, fill=self.config.fill_empty and self.config.simhash_bits > 0)

    def encode_queries(self, tokens: TokenEmbeddings) -> FloatArray:
        """`(len(tokens), output_dim)` float32, additive over the tokens of a query.

        Raises `InvalidEmbeddingsError` on another token dimension.
        """
        return self._encode(tokens, means=False, fill=False)

    def _encode(self, tokens: TokenEmbeddings, *, means: bool, fill: bool) -> FloatArray:
        from ..kernels.fde import fold, simhash  # numba, which the configuration must not load

        if tokens.dim != self._dim:
            raise InvalidEmbeddingsError(f"token vectors have {tokens.dim} dimensions; this encoding takes {self._dim}")
        config = self.config
        partitions = simhash(tokens.vectors, self._normals, config.simhash_bits, config.repetitions)
        how = Fold(
            blocks=1 << config.simhash_bits,
            width=self._width,
            means=means,
            fill=fill,
            residual=config.control_variate,
            inner=self._sketch,
            panels=self._matrices,
            final=self._final,
        )
        return fold(tokens, partitions, how, self.output_dim)


def _check(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidInputError(f"FDE {name} must be an integer from {low} to {high}; got {value!r}")


def _draw(config: FDEConfig, dim: int) -> Matrices:
    """The random matrices of a configuration."""
    keys = [(config.seed, r) for r in range(config.repetitions)]
    gaussians = np.stack([normals((dim, config.simhash_bits), (*key, _NORMALS)) for key in keys])
    width, virtual = config.block_dim(dim), config.virtual_dim(dim)
    inner: CountSketch | FloatArray | None = None
    final = None
    if width < dim and config.projection == "dense":
        drawn = [signs((dim, width), (*key, _INNER)) for key in keys]
        inner = np.stack(drawn) / np.float32(np.sqrt(width))
    elif width < dim:
        sketches = [count_sketch(dim, width, (*key, _INNER)) for key in keys]
        inner = CountSketch(np.stack([d.columns for d in sketches]), np.stack([d.signs for d in sketches]))
    if config.final_dim is not None:
        final = count_sketch(virtual, config.final_dim, (config.seed, 0, _FINAL))
    return Matrices(gaussians, inner, final)


def _by_bit(gaussians: FloatArray, shape: tuple[int, int, int]) -> FloatArray:
    """All normals side by side, the first of every repetition before the second of any, packed for the kernel."""
    if np.shape(gaussians) != shape:
        raise InvalidInputError(f"gaussians have shape {np.shape(gaussians)}; expected {shape}")
    return pack(np.asarray(gaussians, np.float32).transpose(1, 2, 0).reshape(1, shape[1], -1))


def _inner(
    projection: str, given: CountSketch | FloatArray | None, shape: tuple[int, int], width: int | None
) -> tuple[CountSketch, FloatArray]:
    """The checked inner projection in the two forms that the kernel takes, of which one is empty."""
    nothing = _sketch("inner", None, shape, None)
    if projection == "sketch" or given is None or width is None:
        sketch = _sketch("inner", given, shape, width)
        if width is None or width > _MAX_MATRIX_WIDTH:
            return sketch, np.empty((0, 0, shape[1], LANES), np.float32)
        columns = np.arange(width) == sketch.columns[:, :, None]
        return nothing, pack(columns * sketch.signs[:, :, None])
    if np.shape(given) != (*shape, width):
        raise InvalidInputError(f"the inner projection has shape {np.shape(given)}; expected {(*shape, width)}")
    return nothing, pack(np.asarray(given, np.float32))


def _sketch(
    name: str, sketch: CountSketch | FloatArray | None, shape: tuple[int, ...], width: int | None
) -> CountSketch:
    """A checked copy of the sketch; an empty one when the encoding has no such projection (no `width`)."""
    if (sketch is None) != (width is None):
        raise InvalidInputError(f"the configuration {'has no' if width is None else 'needs an'} {name} projection")
    if sketch is None or width is None:
        shape = (*shape[:-1], 0)
        return CountSketch(np.empty(shape, np.uint32), np.empty(shape, np.float32))
    if not isinstance(sketch, CountSketch):
        raise InvalidInputError(f"the {name} projection is no count sketch")
    if np.shape(sketch.columns) != shape or np.shape(sketch.signs) != shape:
        raise InvalidInputError(f"the {name} projection has shape {np.shape(sketch.columns)}; expected {shape}")
    if not 0 <= np.min(sketch.columns) <= np.max(sketch.columns) < width:
        raise InvalidInputError(f"the {name} projection has columns outside 0 to {width - 1}")
    return CountSketch(np.array(sketch.columns, np.uint32), np.array(sketch.signs, np.float32))
