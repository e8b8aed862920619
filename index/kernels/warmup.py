"""Compilation ahead of use."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import TokenEmbeddings
from .fde import fold, simhash
from .maxsim import maxsim
from .rows import CONSTANT_BYTES, LVQ8, decode, quantize
from .scan import lvq8_scores
from .sketch import CountSketch, Fold


def warm_up() -> None:
    """Compile every kernel, or load it from the disk cache, so that nothing compiles while searches wait."""
    dim = 4  # with as many queries, the scan of four at a time
    vectors = np.eye(dim, dtype=np.float32)
    tokens = TokenEmbeddings(vectors, np.array([0, dim]))
    rows = np.zeros((dim, dim + CONSTANT_BYTES), np.uint8)
    quantize(vectors, np.tile(np.array([0, 1], np.float32), (dim, 1)), rows)
    decode(rows, dim, LVQ8)
    maxsim(tokens, rows, LVQ8, tokens.offsets)
    lvq8_scores(vectors, np.zeros(dim, np.float32), rows)
    patterns = simhash(vectors, vectors, bits=1, repetitions=dim)
    inner = CountSketch(np.zeros((dim, dim), np.uint32), np.ones((dim, dim), np.float32))
    final = CountSketch(np.zeros(2 * dim, np.uint32), np.ones(2 * dim, np.float32))
    fold(tokens, patterns, Fold(2, 1, True, True, inner, final), output_dim=1)
