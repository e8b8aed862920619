"""Compilation ahead of use."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import TokenEmbeddings
from .carving import carve
from .fde import fold, simhash
from .graph import beam_search, connect
from .maxsim import maxsim
from .queries import pack as pack_queries
from .rescore import rescore
from .rows import CONSTANT_BYTES, LVQ8, decode, quantize
from .scan import lvq_scores, lvq_top
from .sketch import CountSketch, Fold, pack
from .targets import best_code_products, best_products, code_means, code_panels, means, panels, products, sum_excess


def warm_up() -> None:
    """Compile every kernel, or load it from the disk cache, so that nothing compiles while searches wait."""
    dim = 4
    vectors = np.eye(dim, dtype=np.float32)
    tokens = TokenEmbeddings(vectors, np.array([0, dim]))
    rows = np.zeros((dim, dim + CONSTANT_BYTES), np.uint8)
    quantize(vectors, np.tile(np.array([0, 1], np.float32), (dim, 1)), rows)
    decode(rows, dim, LVQ8)
    maxsim(tokens, rows, LVQ8, tokens.offsets)
    mean = np.zeros(dim, np.float32)
    weights = pack_queries(vectors, mean, bits=8)
    lvq_scores(weights, rows, bits=8)
    lvq_top(weights, rows, bits=8, k=1)
    links = np.full((dim, 1), -1, np.int32)
    connect(links, 0, lambda *_: links[:0, 0])
    beam_search(links, 0, rows, weights, bits=8, beam=1)
    nibbles = np.zeros((dim, dim // 2 + CONSTANT_BYTES), np.uint8)
    rescore(vectors, mean, nibbles, np.zeros((dim, dim), np.uint8), np.zeros((dim, 1), np.int64))
    matrices = pack(vectors[None])
    partitions = simhash(vectors, matrices, bits=1, repetitions=dim)
    inner = CountSketch(np.zeros((dim, dim), np.uint32), np.ones((dim, dim), np.float32))
    final = CountSketch(np.zeros(2 * dim, np.uint32), np.ones(2 * dim, np.float32))
    fold(tokens, partitions, Fold(2, 1, True, True, False, inner, matrices[:0], final), output_dim=1)
    carve(tokens, threshold=0.5)
    learn = panels(vectors)
    best_products(vectors, tokens.offsets, learn)
    products(vectors, learn)
    sum_excess(vectors, tokens.offsets, learn, np.zeros(learn.shape[0] * learn.shape[2], np.float32))
    best_code_products(rows, tokens.offsets, code_panels(np.eye(dim, dtype=np.int8), np.ones(dim, np.float32)))
    means(vectors, tokens.offsets)
    code_means(rows, tokens.offsets)
