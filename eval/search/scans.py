"""Exact MaxSim of every document, as one would write it with what others have made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ..corpora import Corpus
from ..vectors import Vectors
from .engines import Setting
from .loops import sum_highest
from .peers import module

_BLOCK_TOKENS = 8_192  # similarities of a block with a query stay in the second-level cache


class Scorer(Protocol):
    """Scores documents it was given with MaxSim."""

    name: str

    def scores(self, query: FloatArray) -> FloatArray:
        """`(n,)` float32 for a query of `(m, dim)` float32."""
        ...


class Numpy:
    """Blocks of a BLAS product, and a compiled loop for the maxima."""

    name = "numpy BLAS + segment max"

    def __init__(self, documents: TokenEmbeddings) -> None:
        self._vectors, self._offsets = documents.vectors, documents.offsets
        self._bounds = _bounds(documents.offsets)
        self._products = np.empty((0, 0), np.float32)

    def scores(self, query: FloatArray) -> FloatArray:
        """One block after another."""
        out = np.empty(len(self._offsets) - 1, np.float32)
        longest = max(int(self._offsets[b] - self._offsets[a]) for a, b in self._bounds)
        products = np.empty((longest, len(query)), np.float32)
        turned = np.ascontiguousarray(query.T)
        for first, last in self._bounds:
            begin, end = int(self._offsets[first]), int(self._offsets[last])
            np.matmul(self._vectors[begin:end], turned, out=products[: end - begin])
            sum_highest(products, self._offsets[first : last + 1] - begin, out[first:last])
        return out


class Torch:
    """Products by torch, in float32 or bfloat16, and maxima over documents padded to a common length or by segments."""

    def __init__(self, documents: TokenEmbeddings, kind: str, threads: int) -> None:
        torch = module("torch", "torch")
        torch.set_num_threads(threads)
        self.name = f"torch {kind}"
        self._torch, self._type = torch, {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
        self._vectors = torch.from_numpy(documents.vectors).to(self._type)
        self._lengths = torch.from_numpy(np.diff(documents.offsets))
        self._bounds = _bounds(documents.offsets)
        self._offsets = documents.offsets
        lengths = np.diff(documents.offsets)
        self._even = int(lengths[0]) if len(lengths) and (lengths == lengths[0]).all() else None

    def scores(self, query: FloatArray) -> FloatArray:
        """One block after another."""
        torch = self._torch
        with torch.inference_mode():
            turned = torch.from_numpy(np.ascontiguousarray(query)).to(self._type).T
            parts = [self._block(turned, first, last) for first, last in self._bounds]
            scores: FloatArray = torch.cat(parts).numpy()
        return scores

    def _block(self, turned: Any, first: int, last: int) -> Any:
        products = self._vectors[int(self._offsets[first]) : int(self._offsets[last])] @ turned
        if self._even is not None:
            highest = products.view(last - first, self._even, -1).amax(1)
        else:
            highest = self._torch.segment_reduce(products.float(), "max", lengths=self._lengths[first:last])
        return highest.float().sum(1)


class MaxsimCpu:
    """The package maxsim-cpu."""

    name = "maxsim-cpu"

    def __init__(self, documents: TokenEmbeddings) -> None:
        self._scores = module("maxsim_cpu", "maxsim-cpu").maxsim_scores_variable
        self._documents = list(documents)

    def scores(self, query: FloatArray) -> FloatArray:
        """All documents in one call."""
        scores: FloatArray = np.asarray(self._scores(np.ascontiguousarray(query), self._documents), np.float32)
        return scores


def scorers(threads: int) -> dict[str, Callable[[TokenEmbeddings], Scorer]]:
    """How each is made of documents, by name. Making one raises `InvalidInputError` where its package is missing."""
    return {
        "torch bf16": lambda documents: Torch(documents, "bf16", threads),
        "torch f32": lambda documents: Torch(documents, "f32", threads),
        Numpy.name: Numpy,
        MaxsimCpu.name: MaxsimCpu,
    }


class Scan:
    """A scorer as an engine. Its vectors are in memory: nothing is kept on disk."""

    brute = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._scorer: Scorer | None = None

    def settings(self, documents: int) -> Sequence[Setting]:  # noqa: ARG002
        """There is one."""
        return [Setting("exhaustive")]

    def build(self, corpus: Corpus, folder: Path) -> None:
        """Nothing to build."""

    def open(self, documents: Vectors, folder: Path, threads: int) -> None:  # noqa: ARG002
        """Read the vectors."""
        self._scorer = scorers(threads)[self.name](documents.read())

    def top(self, query: TokenEmbeddings, k: int, setting: Setting) -> IntArray:  # noqa: ARG002
        """The best of all scores."""
        assert self._scorer is not None
        scores = self._scorer.scores(query.vectors)
        nearest = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
        rows: IntArray = nearest[np.argsort(-scores[nearest], kind="stable")].astype(np.int64)
        return rows

    def code_bytes(self, folder: Path) -> int | None:  # noqa: ARG002
        """None: nothing is on disk."""
        return None

    def close(self) -> None:
        """Free the vectors."""
        self._scorer = None


def _bounds(offsets: IntArray) -> list[tuple[int, int]]:
    """Consecutive ranges of documents of about `_BLOCK_TOKENS` vectors together."""
    bounds: list[tuple[int, int]] = []
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK_TOKENS, side="right")) - 1
        last = min(max(last, first + 1), count)
        bounds.append((first, last))
        first = last
    return bounds
