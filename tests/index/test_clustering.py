"""Clustering: what fits little data, repeats itself, and shares centroids fairly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.index.clustering import allocate, by_token, k_means, nearest, two_level


def blobs(rng, count, per_blob, dim=8):
    centres = rng.standard_normal((count, dim)) * 10
    return centres, (np.repeat(centres, per_blob, axis=0) + rng.standard_normal((count * per_blob, dim)) * 0.1).astype(
        "f4"
    )


@pytest.mark.parametrize("count", [0, 1, 5])
def test_as_many_centroids_as_vectors_are_the_vectors(count):
    vectors = np.random.default_rng(0).standard_normal((count, 3)).astype(np.float32)
    np.testing.assert_array_equal(k_means(vectors, 5)[:count], vectors)
    assert not k_means(vectors, 5)[count:].any()


def test_two_levels_tell_blobs_apart_and_repeat_themselves():
    rng = np.random.default_rng(1)
    _, vectors = blobs(rng, 32, 40)
    centroids = two_level(vectors, 8, 16).reshape(-1, 8)
    distances = np.linalg.norm(vectors - centroids[nearest(vectors, centroids)], axis=1)
    assert np.median(distances) < 0.5
    np.testing.assert_array_equal(two_level(vectors, 8, 16).reshape(-1, 8), centroids)


def test_nearest_is_the_smallest_distance():
    rng = np.random.default_rng(2)
    vectors, centroids = rng.standard_normal((300, 5)).astype("f4"), rng.standard_normal((37, 5)).astype("f4")
    plain = ((vectors[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest(vectors, centroids), plain)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60), st.integers(1, 5000))
def test_centroids_are_shared_by_the_root_of_the_count(counts, total):
    counts = np.array(counts)
    given_ = allocate(counts, total)
    assert (given_ <= counts).all()
    assert (given_[counts > 0] >= 1).all()
    assert given_.sum() <= max(total, np.count_nonzero(counts))
    assert (np.diff(given_[np.argsort(counts, kind="stable")]) >= 0).all()


def test_every_token_is_clustered_by_itself():
    rng = np.random.default_rng(3)
    _, vectors = blobs(rng, 10, 60)
    tokens = np.repeat(rng.permutation(1000)[:10], 60)
    order = rng.permutation(600)
    centroids, chosen = by_token(vectors[order], tokens[order], 40)
    assert 30 <= len(centroids) <= 40
    assert len(np.unique(np.stack([chosen, tokens[order]]), axis=1).T) == len(np.unique(chosen))
    assert np.linalg.norm(vectors[order] - centroids[chosen], axis=1).max() < 1
