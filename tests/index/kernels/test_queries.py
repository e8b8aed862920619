import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidEmbeddingsError
from latefold.index.kernels.queries import for_bytes, for_nibbles, pack, quantize_queries


@settings(deadline=None)
@given(
    st.integers(0, 4), st.integers(1, 70), st.integers(1, 2), st.sampled_from([1e-30, 1.0, 1e30]), st.integers(0, 99)
)
def test_planes_come_within_half_of_the_last_scale(count, dim, planes, size, seed):
    rng = np.random.default_rng(seed)
    queries = (rng.standard_normal((count, dim)) * size).astype(np.float32)
    mean = rng.standard_normal(dim).astype(np.float32)
    codes, constants = quantize_queries(queries, mean, planes, code_max=255)
    scales = constants[:, :planes].astype(np.float64)
    rounded = np.einsum("mp,pmd->md", scales, codes)
    largest = np.abs(queries).max(axis=1, initial=0).astype(np.float64)
    # half a scale, and the float32 rounding of quotients and differences
    assert (np.abs(rounded - queries) <= (scales[:, -1] * 0.5001 + largest * 2.0**-23)[:, None]).all()
    assert (scales[:, -1] <= largest / 127 * 1.00001 / 253.0 ** (planes - 1)).all()
    np.testing.assert_allclose(constants[:, 2], rounded.sum(axis=1), rtol=1e-6, atol=1e-6 * size)
    np.testing.assert_allclose(constants[:, 3], queries.astype(np.float64) @ mean, rtol=1e-5, atol=1e-5 * size)


def test_halves_round_to_even_and_the_largest_is_127():
    codes, constants = quantize_queries(np.float32([[127, 0.5, 1.5, -2.5, -127]]), np.zeros(5, np.float32), 1, 15)
    assert codes.tolist() == [[[127, 0, 2, -2, -127]]]
    assert constants.tolist() == [[1, 0, 0, 0]]


def test_layouts_put_every_code_beside_its_dimension():
    codes = np.random.default_rng(0).integers(-127, 128, (2, 3, 131)).astype(np.int8)
    whole = for_bytes(codes).reshape(3, 3, 2, 64)
    np.testing.assert_array_equal(whole.transpose(2, 0, 1, 3).reshape(2, 3, -1)[:, :, :131], codes)
    halves = for_nibbles(codes[0]).reshape(3, 2, 2, 64).transpose(0, 2, 1, 3).reshape(3, 2, 128)
    np.testing.assert_array_equal(halves[:, 0, :66], codes[0, :, :66])
    np.testing.assert_array_equal(halves[:, 1, :65], codes[0, :, 66:])
    assert not halves[:, :, 66:].any()
    assert not halves[:, 1, 65:].any()


def test_sums_of_many_dimensions_stay_within_32_bits():
    dim = 100_000
    codes, _ = quantize_queries(np.ones((1, dim), np.float32), np.zeros(dim, np.float32), 2, code_max=255)
    assert int(codes.max()) * 255 * dim < 2**31
    assert codes.max() > 80


def test_groups_cover_all_queries():
    weights = pack(np.eye(5, dtype=np.float32), np.zeros(5, np.float32), 8)
    for size in (0, 1, 2, 5, 9):
        groups = list(weights.groups(size))
        np.testing.assert_array_equal(np.concatenate([group.codes for _, group in groups]), weights.codes)
        assert [first for first, _ in groups] == list(range(0, 5, max(1, size)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_queries_that_are_not_finite_are_refused(value):
    with pytest.raises(InvalidEmbeddingsError, match="NaN"):
        pack(np.array([[1, value]], np.float32), np.zeros(2, np.float32), 4)
