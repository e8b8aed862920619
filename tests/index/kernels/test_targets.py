from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.index.kernels.int8 import signed
from latefold.index.kernels.rows import LVQ8, decode
from latefold.index.kernels.targets import (
    best_code_products,
    best_products,
    code_means,
    code_panels,
    columns,
    means,
    panels,
    sum_excess,
)
from latefold.index.tokens.base import codec


def per_item(fold, values, offsets):
    """`fold` of the rows of each item; zeros for one without."""
    parts = [values[a:b] for a, b in pairwise(offsets)]
    return np.array([fold(part) if len(part) else np.zeros(values.shape[1]) for part in parts])


def ragged(rng, lengths, dim):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return rng.standard_normal((offsets[-1], dim)).astype(np.float32), offsets


shapes = given(
    st.lists(st.integers(0, 11), min_size=1, max_size=6), st.integers(1, 40), st.integers(1, 70), st.integers(0, 1000)
)


@settings(deadline=None, max_examples=60)
@shapes
def test_products_equal_plain_numpy(lengths, dim, count, seed):
    rng = np.random.default_rng(seed)
    tokens, offsets = ragged(rng, lengths, dim)
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    products = tokens.astype(np.float64) @ vectors.T
    best = best_products(tokens, offsets, panels(vectors))
    assert best.shape == (len(lengths), columns(count))
    np.testing.assert_allclose(best[:, :count], per_item(lambda x: x.max(0), products, offsets), atol=1e-4)
    assert not best[:, count:].any()

    thresholds = rng.standard_normal(columns(count)).astype(np.float32)
    sums = sum_excess(tokens, offsets, panels(vectors), thresholds)
    lengths = np.linalg.norm(tokens.astype(np.float64), axis=1, keepdims=True)
    excess = np.maximum(products - lengths * thresholds[:count], 0)
    np.testing.assert_allclose(sums[:, :count], per_item(lambda x: x.sum(0), excess, offsets), atol=1e-3)
    np.testing.assert_allclose(means(tokens, offsets), per_item(lambda x: x.mean(0), tokens, offsets), atol=1e-6)


@settings(deadline=None, max_examples=60)
@shapes
def test_products_of_codes_equal_products_of_what_they_stand_for(lengths, dim, count, seed):
    rng = np.random.default_rng(seed)
    tokens, offsets = ragged(rng, lengths, dim)
    rows = codec("lvq8").fit(tokens).encode(tokens)
    decoded = decode(rows, dim, LVQ8)
    codes, scales = signed(rng.standard_normal((count, dim)).astype(np.float32))
    best = best_code_products(rows, offsets, code_panels(codes, scales))
    products = decoded.astype(np.float64) @ (codes * scales[:, None].astype(np.float64)).T
    np.testing.assert_allclose(best[:, :count], per_item(lambda x: x.max(0), products, offsets), atol=1e-4)
    assert not best[:, count:].any()
    np.testing.assert_allclose(code_means(rows, offsets), per_item(lambda x: x.mean(0), decoded, offsets), atol=1e-5)


@pytest.mark.parametrize("dim", [24, 30])
def test_items_do_not_depend_on_their_company_or_on_threads(dim, three_threads):
    rng = np.random.default_rng(0)
    tokens, offsets = ragged(rng, rng.integers(0, 30, 40), dim)
    rows = codec("lvq8").fit(tokens).encode(tokens)
    vectors = rng.standard_normal((50, dim)).astype(np.float32)
    coded, thresholds = code_panels(*signed(vectors)), np.zeros(64, np.float32)
    for run in (
        lambda spans: best_products(tokens, spans, panels(vectors)),
        lambda spans: sum_excess(tokens, spans, panels(vectors), thresholds),
        lambda spans: best_code_products(rows, spans, coded),
        lambda spans: means(tokens, spans),
        lambda spans: code_means(rows, spans),
    ):
        together = run(offsets)
        for i in range(40):
            np.testing.assert_array_equal(run(offsets[i : i + 2])[0], together[i])
