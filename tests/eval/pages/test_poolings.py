"""Poolings of pages: how many vectors are left, and which are put together."""

from __future__ import annotations

import numpy as np
import pytest

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.eval.pages.poolings import FACTORS, pooled, spatial


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def pages(rng) -> tuple[TokenEmbeddings, np.ndarray]:
    """Three pages of 40, 7 and 0 vectors, each with a box but the first of a page."""
    vectors = unit(rng.standard_normal((47, 16)))
    corners = rng.random((47, 2)).astype(np.float32) * 0.9
    boxes = np.concatenate([corners, corners + 0.05], axis=1)
    boxes[[0, 40]] = 0
    return TokenEmbeddings(vectors, np.array([0, 40, 47, 47])), boxes


@pytest.mark.parametrize("kind", ["ward", "crisp", "spatial"])
@pytest.mark.parametrize("factor", FACTORS)
def test_about_one_vector_for_so_many_and_all_of_length_one(pages, kind, factor) -> None:
    embeddings, boxes = pages
    made = pooled(embeddings, boxes, kind, factor)
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    assert (np.abs(made.lengths - embeddings.lengths / factor) <= 2).all()
    assert made.lengths[2] == 0


def test_no_pooling_and_no_such_pooling(pages) -> None:
    assert pooled(*pages, "none", 1) is pages[0]
    with pytest.raises(InvalidInputError, match="no pooling of pages"):
        pooled(*pages, "fancy", 2)


def test_neighbours_are_put_together_and_the_unplaced_left_alone(rng) -> None:
    # Two columns of four words; pairs that are near each other on the page are far apart in the order of vectors.
    places = [(x, y) for y in (0.1, 0.15, 0.8, 0.85) for x in (0.1, 0.8)]
    boxes = np.array([(0, 0, 0, 0), *((x, y, x + 0.1, y + 0.03) for x, y in places)], np.float32)
    vectors = unit(rng.standard_normal((9, 8)))
    made = spatial(TokenEmbeddings(vectors, np.array([0, 9])), boxes, 2)
    wanted = [vectors[0]] + [vectors[1 + a] + vectors[1 + b] for a, b in ((0, 2), (1, 3), (4, 6), (5, 7))]
    np.testing.assert_allclose(made.vectors, unit(np.array(wanted)), atol=1e-6)


def test_every_placed_vector_counts_once(pages) -> None:
    embeddings, boxes = pages
    marks = np.eye(47, dtype=np.float32)
    made = spatial(TokenEmbeddings(marks, embeddings.offsets), boxes, 3)
    assert ((made.vectors > 0).sum(axis=0) == 1).all()
