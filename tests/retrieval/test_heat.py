"""The heat of a page: what it promises for any similarities, and that it is where the answer is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.retrieval.heat import best_regions, heat, token_heat


def line(count, top=0.1, height=0.02):
    """Boxes side by side in one line, `(count, 4)`."""
    edges = np.linspace(0.1, 0.9, count + 1)
    return np.array([(a, top, b, top + height) for a, b in pairwise(edges)], np.float32).reshape(-1, 4)


@st.composite
def pages(draw):
    m, n = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    corners = rng.random((n, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return rng.uniform(-1, 1, (m, n)).astype(np.float32), boxes, rng


@given(pages())
def test_heat_is_a_share_of_the_hottest(page):
    similarities, boxes, _ = page
    found = heat(similarities, boxes)
    assert found.shape == (len(boxes),)
    assert found.dtype == np.float32
    assert (found >= 0).all()
    assert found.max() == pytest.approx(1) or not found.any()
    for token in range(len(similarities)):
        alone = token_heat(similarities, token)
        assert ((alone >= 0) & (alone <= 1)).all()
        assert not alone.any() or alone.argmax() == similarities[token].argmax()


@given(pages())
def test_the_order_of_tokens_and_of_vectors_is_of_no_account(page):
    similarities, boxes, rng = page
    rows, columns = rng.permutation(len(similarities)), rng.permutation(len(boxes))
    expected = heat(similarities, boxes)
    np.testing.assert_allclose(heat(similarities[rows], boxes), expected, atol=1e-5)
    np.testing.assert_allclose(heat(similarities[:, columns], boxes[columns]), expected[columns], atol=1e-5)


@given(pages(), st.floats(0.1, 10), st.floats(-1, 1))
def test_only_differences_between_vectors_count(page, factor, shift):
    similarities, boxes, _ = page
    moved = (similarities.astype(np.float64) * factor + shift).astype(np.float32)
    np.testing.assert_allclose(heat(moved, boxes), heat(similarities, boxes), atol=2e-3)


def test_nothing_stands_out_of_one_vector_or_of_equal_ones():
    assert not heat(np.ones((3, 1), np.float32), line(1)).any()
    assert not heat(np.full((3, 5), 0.7, np.float32), line(5)).any()
    assert heat(np.zeros((2, 0), np.float32), line(0)).shape == (0,)


def test_a_token_that_is_not_asked_adds_nothing():
    rng = np.random.default_rng(1)
    similarities, boxes = rng.random((3, 6)).astype(np.float32), line(6)
    asked = np.array([True, False, True])
    np.testing.assert_allclose(heat(similarities, boxes, asked), heat(similarities[asked], boxes), atol=1e-6)


def test_where_several_tokens_match_side_by_side_it_is_hottest():
    boxes = np.concatenate([line(4, 0.1), line(4, 0.5)])
    similarities = np.full((3, 8), 0.1, np.float32)
    similarities[0, [0, 4]] = 0.8  # each token matches once in both lines, equally well, but for the third
    similarities[1, [1, 5]] = 0.8
    similarities[2, 6] = 0.8
    found = heat(similarities, boxes)
    assert found[4:].max() == pytest.approx(1)
    assert found[5] > found[1]


def test_a_token_that_matches_everywhere_weighs_less():
    similarities = np.full((2, 10), 0.1, np.float32)
    similarities[0, 2] = 0.8
    similarities[1, 3:] = 0.8
    found = heat(similarities, line(10))
    assert found.argmax() == 2


def test_regions_join_what_stands_in_one_line():
    boxes = np.concatenate([line(8, 0.1), line(8, 0.5)])
    scores = np.zeros(16, np.float32)
    scores[[1, 2, 3]] = 0.6
    scores[12] = 1.0
    regions, tops = best_regions(boxes, scores)
    np.testing.assert_allclose(regions[0], [boxes[1, 0], 0.1, boxes[3, 2], 0.12], atol=1e-6)
    np.testing.assert_allclose(regions[1], boxes[12])
    np.testing.assert_allclose(tops, [0.6, 1.0])
    assert len(best_regions(boxes, scores, 1)[0]) == 1
    assert best_regions(boxes, np.zeros(16, np.float32))[0].shape == (0, 4)
