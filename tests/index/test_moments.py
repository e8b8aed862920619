import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.moments import BLOCK_ROWS, Moments


def vectors_of(count, dim, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, dim)) * rng.uniform(0.1, 9, dim) + rng.standard_normal(dim)).astype(np.float32)


def direct(vectors):
    wide = vectors.astype(np.float64)
    return wide.T @ wide / len(wide)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any), st.integers(1, 20))
def test_parts_add_up_to_the_whole(counts, dim):
    vectors = vectors_of(sum(counts), dim)
    moments = Moments(dim)
    for part in np.split(vectors, np.cumsum(counts)[:-1]):
        moments.add(part)
    assert moments.count == len(vectors)
    slack = 1e-5 * np.square(vectors).mean()
    np.testing.assert_allclose(moments.matrix, direct(vectors), rtol=1e-5, atol=slack)
    np.testing.assert_allclose(moments.mean, vectors.mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moments.centred, direct(vectors - moments.mean), rtol=1e-4, atol=10 * slack)


def test_more_than_a_block_from_a_memory_map(tmp_path):
    vectors = vectors_of(2 * BLOCK_ROWS + 77, 12)
    vectors.tofile(tmp_path / "vectors")
    moments = Moments(12)
    moments.add(np.memmap(tmp_path / "vectors", np.float32, "r", shape=vectors.shape))
    assert moments.count == len(vectors)
    np.testing.assert_allclose(moments.matrix, direct(vectors), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(moments.matrix, moments.matrix.T)


def test_many_blocks_lose_no_more_than_one():
    """float32 sums over everything would drift; sums over blocks do not."""
    block = vectors_of(BLOCK_ROWS, 2)
    one, many = Moments(2), Moments(2)
    one.add(block)
    for _ in range(500):
        many.add(block)
    np.testing.assert_allclose(many.matrix, one.matrix, rtol=1e-12)


def test_merging_equals_seeing_both():
    vectors = vectors_of(90, 7)
    both, left, right = Moments(7), Moments(7), Moments(7)
    both.add(vectors)
    left.add(vectors[:30])
    right.add(vectors[30:])
    left.merge(right)
    assert left.count == 90
    np.testing.assert_allclose(left.matrix, both.matrix, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(left.mean, both.mean, rtol=1e-9)
    np.testing.assert_allclose(right.matrix, direct(vectors[30:]), rtol=1e-5, atol=1e-5)


def test_bad_input_is_refused():
    moments = Moments(3)
    with pytest.raises(InvalidInputError, match="no vectors"):
        _ = moments.matrix
    with pytest.raises(InvalidEmbeddingsError, match=r"\(2, 4\)"):
        moments.add(np.zeros((2, 4), np.float32))
    for bad in (np.nan, np.inf, 1e30):
        with pytest.raises(InvalidEmbeddingsError, match="NaN"):
            moments.add(np.array([[1, bad, 0]], np.float32))
    assert moments.count == 0
    with pytest.raises(InvalidInputError, match="4 dimensions"):
        moments.merge(Moments(4))
    with pytest.raises(InvalidInputError, match="at least one"):
        Moments(0)
