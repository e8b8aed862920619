import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.index.kernels.rows import FP16, LVQ4, LVQ4X4, LVQ8, decode, quantize


def quantize_twin(vectors, constants):
    levels = (vectors - constants[:, :1]) / constants[:, 1:] + np.float32(0.5)
    return np.minimum(levels, np.float32(255)).astype(np.uint8)


def decode_twin(rows):
    constants = np.ascontiguousarray(rows[:, -4:]).view("<f2").astype(np.float32)
    return constants[:, :1] + constants[:, 1:] * rows[:, :-4].astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_kernels_equal_their_twins(count, dim, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    constants = np.stack([vectors.min(1), np.ptp(vectors, 1) / 255 + 1e-3], axis=1).astype(np.float16)
    constants[:, 0] -= np.float16(0.01)
    rows = np.empty((count, dim + 4), np.uint8)
    rows[:, dim:] = constants.astype("<f2").view(np.uint8)
    quantize(vectors, constants.astype(np.float32), rows)
    np.testing.assert_array_equal(rows[:, :dim], quantize_twin(vectors, constants.astype(np.float32)))
    # lower + step * code is exact in the product, so that only the sum is rounded, fused or not
    np.testing.assert_array_equal(decode(rows, dim, LVQ8), decode_twin(rows))
    np.testing.assert_array_equal(decode(vectors.astype("<f2").view(np.uint8), dim, FP16), vectors.astype(np.float16))


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_kernels_of_nibbles_equal_their_twins(count, dim, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.random((count, dim)).astype(np.float32)
    constants = np.tile(np.array([0, 1 / 15], np.float16), (count, 1)).astype(np.float32)
    half = -(-dim // 2)
    rows = np.zeros((count, half + 4), np.uint8)
    rows[:, half:] = constants.astype("<f2").view(np.uint8)
    quantize(vectors, constants, rows, LVQ4)
    codes = np.minimum((vectors - constants[:, :1]) / constants[:, 1:] + np.float32(0.5), 15).astype(np.uint8)
    padded = np.pad(codes, ((0, 0), (0, 2 * half - dim)))
    np.testing.assert_array_equal(rows[:, :half], padded[:, :half] | padded[:, half:] << 4)
    np.testing.assert_array_equal(decode(rows, dim, LVQ4), constants[:, 1:] * codes)


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_two_levels_of_nibbles_are_read_as_one_code(count, dim, seed):
    rng = np.random.default_rng(seed)
    half = -(-dim // 2)
    constants = np.stack([rng.uniform(-1, 0, count), rng.uniform(0, 0.2, count)], axis=1).astype("<f2")
    levels = rng.integers(0, 256, (2, count, half), np.uint8)
    rows = np.concatenate([levels[0], constants.view(np.uint8), levels[1]], axis=1)
    coarse, fine = np.concatenate([levels & 15, levels >> 4], axis=2)[:, :, :dim].astype(np.float64)
    lower, step = constants.astype(np.float64).T[:, :, None]
    np.testing.assert_allclose(
        decode(rows, dim, LVQ4X4), lower - step / 2 + step * coarse + step / 15 * fine, atol=1e-6
    )


@pytest.mark.parametrize("layout", [LVQ8, FP16])
def test_several_threads_decode_the_same(layout, three_threads):
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 60, (50, 68), np.uint8)  # small high bytes: no infinities
    dim = 64 if layout == LVQ8 else 34
    alone = [decode(codes[i : i + 1], dim, layout) for i in range(50)]
    np.testing.assert_array_equal(decode(codes, dim, layout), np.concatenate(alone))


def test_several_threads_quantize_the_same(three_threads):
    rng = np.random.default_rng(4)
    vectors = rng.random((50, 30)).astype(np.float32)
    constants = np.tile(np.array([0, 1 / 255], np.float32), (50, 1))
    rows = np.zeros((50, 34), np.uint8)
    quantize(vectors, constants, rows)
    np.testing.assert_array_equal(rows[:, :30], quantize_twin(vectors, constants))
    assert not rows[:, 30:].any()
