import numpy as np
import pytest

from latefold.index.clustering import k_means, nearest
from latefold.index.tokens.codebooks import codebook


def directions(rng, count, dim=16):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("spherical", [True, False])
def test_separate_clusters_are_found(spherical):
    rng = np.random.default_rng(0)
    centres = directions(rng, 5, 32)
    members = np.repeat(centres, 200, axis=0) + 0.01 * rng.standard_normal((1000, 32)).astype(np.float32)
    book = codebook(np.ascontiguousarray(members, np.float32), 12, spherical=spherical)
    assert book.shape == (12, 32)
    similarities = (book / np.linalg.norm(book, axis=1, keepdims=True)) @ centres.T
    assert (similarities.max(axis=0) > 0.99).sum() >= 4  # a random start may join two of five


@pytest.mark.parametrize("spherical", [True, False])
def test_centroids_are_nearer_than_vectors_at_random_and_the_same_again(spherical):
    vectors = directions(np.random.default_rng(1), 2000)
    centroids = k_means(vectors, 20, spherical=spherical)
    random = vectors[:20]
    errors = [np.linalg.norm(vectors - book[nearest(vectors, book)], axis=1).mean() for book in (centroids, random)]
    assert errors[0] < 0.97 * errors[1]
    np.testing.assert_array_equal(k_means(vectors, 20, spherical=spherical), centroids)
    if spherical:
        np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)


def test_directions_are_as_long_as_their_members_are_on_average():
    rng = np.random.default_rng(2)
    vectors = directions(rng, 1000) * rng.uniform(1, 3, (1000, 1)).astype(np.float32)
    lengths = np.linalg.norm(codebook(vectors, 10, spherical=True), axis=1)
    assert ((lengths > 1.5) & (lengths < 2.5)).all()


def test_few_different_vectors_are_the_codebook():
    vectors = directions(np.random.default_rng(3), 7)
    book = codebook(np.repeat(vectors, 9, axis=0), 8, spherical=True)
    assert {tuple(row) for row in book.tolist()} == {tuple(row) for row in vectors.tolist()}
    assert codebook(vectors[:0], 8, spherical=True).tolist() == [[0.0] * 16]
