import numpy as np
import pytest
from correlation import order_quality
from hypothesis import given
from hypothesis import strategies as st

from latefold.index.tokens.ordering import hamming_distances, order_codes


@given(st.integers(0, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_an_order_is_a_permutation(count, dim, seed):
    centroids = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    assert sorted(order_codes(centroids)) == list(range(count))


def test_corners_of_a_box_get_their_own_bits():
    ids = np.random.default_rng(0).permutation(64)
    sides = np.linspace(1, 1.3, 6, dtype=np.float32)  # all different, so that the principal directions are its edges
    corners = (ids[:, None] >> np.arange(6) & 1) * sides
    assert abs(order_quality(corners)) < 0.2
    assert order_quality(corners[order_codes(corners)]) > 0.8


@pytest.mark.parametrize("count", [100, 256])
def test_ordered_ids_follow_distances_and_arbitrary_ones_do_not(count):
    """Directions around forty topics, as centroids of tokens are."""
    rng = np.random.default_rng(count)
    topics = rng.standard_normal((40, 32))
    centroids = (topics[rng.integers(0, 40, count)] + 0.5 * rng.standard_normal((count, 32))).astype(np.float32)
    arbitrary, ordered = order_quality(centroids), order_quality(centroids[order_codes(centroids)])
    assert abs(arbitrary) < 0.1
    assert ordered > arbitrary + 0.2


def test_equal_centroids_have_an_order_without_quality():
    same = np.ones((5, 3), np.float32)
    assert sorted(order_codes(same)) == [0, 1, 2, 3, 4]
    assert order_quality(same) == 0


def test_distances_of_ids_count_bits():
    distances = hamming_distances(9)
    assert distances[3, 4] == 3
    assert distances[8, 0] == 1
    np.testing.assert_array_equal(distances, distances.T)
