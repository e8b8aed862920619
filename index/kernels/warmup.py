"""Compilation ahead of use."""

from __future__ import annotations

import numpy as np

from ...encoders.embeddings import TokenEmbeddings
from . import byte_maxsim, nearest, words
from .carving import carve
from .fde import fold, simhash
from .graph import beam_search, connect
from .hamming import hamming_scores, sign_scores
from .jit import frozen
from .maxsim import maxsim
from .patches import patch_scores
from .queries import pack as pack_queries
from .rescore import rescore
from .rows import CONSTANT_BYTES, LVQ4, LVQ8, decode, quantize
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
    nibbles = np.zeros((dim, dim // 2 + CONSTANT_BYTES), np.uint8)
    asked = byte_maxsim.prepare(tokens)
    for layout, codes in ((LVQ8, rows), (LVQ4, nibbles)):
        byte_maxsim.estimate(asked, codes, layout, tokens.offsets)
        byte_maxsim.score(asked, codes, layout, tokens.offsets)
    _codebooks(tokens)
    mean = np.zeros(dim, np.float32)
    weights = pack_queries(vectors, mean, bits=8)
    lvq_scores(weights, rows, bits=8)
    lvq_top(weights, rows, bits=8, k=1)
    links = np.full((dim, 1), -1, np.int32)
    connect(links, 0, lambda *_: links[:0, 0])
    beam_search(links, 0, rows, weights, bits=8, beam=1)
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


def _codebooks(tokens: TokenEmbeddings) -> None:
    """The kernels of rows that are codes of codebooks, or signs."""
    dim, count = tokens.dim, len(tokens.vectors)
    centroids, book = np.eye(dim, dtype=np.int8), np.zeros((1, 256, dim), np.int8)
    codes, rows = np.zeros((count, 1), np.uint8), np.zeros((count, 3), np.uint8)
    books = nearest.search_in(centroids, 1, book, np.ones(2, np.float32), np.arange(dim))
    nearest.encode(tokens.vectors, books, 1, 0, nearest.WHOLE, rows)
    one, reach = np.float32(1), np.ones(2, np.float32)
    tables = frozen(centroids.view(np.uint8), np.uint8, 2), frozen(book.ravel().view(np.uint8), np.uint8, 1)
    looked_up = words.Words(*tables, dim, 0, 1, 0, nearest.WHOLE, one, one, one, frozen(reach, np.float32, 1))
    for planes in (1, 2):
        words.score(words.Mapped(tokens, tokens), rows, looked_up, tokens.offsets, planes=planes)
    entries = np.zeros((256, dim), np.float32)
    patch_scores(tokens, entries[None], codes, tokens.offsets)
    signs = np.zeros((count, 4), np.uint8)
    sign_scores(tokens, signs, tokens.offsets)
    hamming_scores(signs, tokens.offsets, signs, tokens.offsets)
