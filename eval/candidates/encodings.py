"""The encodings that are compared: each turns token vectors into one vector, and most are fitted to nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from ...encoders.embeddings import TokenEmbeddings
from ...index.encodings.base import Encoding
from ...index.encodings.fde import FDE, FDEConfig
from ...index.encodings.learned import Learned, LearnedConfig
from ..corpora import Corpus
from .peers import MuveraPython

_SAMPLE = 4096
_MUVERA: Final = MappingProxyType(
    {
        2560: FDEConfig(repetitions=20, simhash_bits=4, projected_dim=8, fill_empty=True),
        10240: FDEConfig(repetitions=20, simhash_bits=5, projected_dim=16, fill_empty=True),
    }
)
"""Two of the shapes on the paper's frontier of recall against dimensions."""


@dataclass(frozen=True)
class Recipe:
    """How an encoding is made. label: its name in tables. large: too large to be kept for the largest collection."""

    label: str
    make: Callable[[Corpus], Encoding]
    large: bool = False


def _mean(corpus: Corpus) -> Encoding:
    """Without partitions and projection, an encoding of one repetition is the sum of a query and the mean of a text."""
    return FDE(FDEConfig(repetitions=1, simhash_bits=0, projected_dim=None), corpus.documents.dim)


def _muvera(dims: int, *, fill: bool = True, control_variate: bool = False) -> Callable[[Corpus], Encoding]:
    """The encoding of the paper, without filling empty partitions, or with each document's mean as control variate."""
    config = replace(_MUVERA[dims], fill_empty=fill, control_variate=control_variate)
    return lambda corpus: FDE(config, corpus.documents.dim)


def _peer(corpus: Corpus) -> Encoding:
    config = _MUVERA[10240]
    return MuveraPython(corpus.documents.dim, config.repetitions, config.simhash_bits, config.projected_dim or 16)


def _learned(config: LearnedConfig, *, real: bool = False) -> Callable[[Corpus], Encoding]:
    """Fitted to tokens of documents, or to those of real queries where the corpus has some for it."""

    def make(corpus: Corpus) -> Encoding:
        queries = corpus.training.read() if real and corpus.training is not None else None
        return Learned.fit(config, sample(corpus), queries)

    return make


def sample(corpus: Corpus) -> TokenEmbeddings:
    """A few thousand documents drawn with seed 0, which is all that fitting sees of a collection."""
    count = len(corpus.documents)
    rows = np.random.default_rng(0).choice(count, min(_SAMPLE, count), replace=False)
    return corpus.documents.take(np.sort(rows))


RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "mean": Recipe("mean of tokens", _mean),
        "muvera-2560": Recipe("MUVERA 2560", _muvera(2560)),
        "muvera-10240": Recipe("MUVERA 10240", _muvera(10240)),
        "muvera-10240-bare": Recipe("MUVERA 10240, no fill", _muvera(10240, fill=False)),
        "muvera-python": Recipe("MUVERA 10240 (muvera-python)", _peer, large=True),
        "cv-fde-2560": Recipe("CV-FDE 2560", _muvera(2560, fill=False, control_variate=True)),
        "cv-fde-10240": Recipe("CV-FDE 10240", _muvera(10240, fill=False, control_variate=True), large=True),
        "ols-fde": Recipe("OLS-FDE", _learned(LearnedConfig(features="fde"))),
        "learned": Recipe("learned", _learned(LearnedConfig())),
        "learned-queries": Recipe("learned, from queries", _learned(LearnedConfig(), real=True)),
    }
)
