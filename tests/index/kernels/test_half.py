import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from latefold.index.kernels import int8, unpack
from latefold.index.kernels.half import HALF_MAX, half_above, half_below
from latefold.index.kernels.rows import FP16, decode

ALL_HALVES = np.arange(65536, dtype="<u2")


def test_all_halves_are_read_like_numpy_reads_them():
    expected = ALL_HALVES.view("<f2").astype(np.float32)
    read = decode(ALL_HALVES.view(np.uint8).reshape(1, -1), 65536, FP16)[0]
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(np.signbit(read), np.signbit(expected))


@pytest.mark.parametrize("feature", [unpack.CONVERTING, "none"])
def test_halves_are_read_sixteen_at_a_time_with_and_without_an_instruction(feature, monkeypatch):
    @njit
    def read(halves, out):
        for i in range(0, len(out), 16):
            int8.store_floats(out, i, unpack.load_halves(halves, 2 * i))

    monkeypatch.setattr(unpack, "CONVERTING", feature)
    out, expected = np.empty(65536, np.float32), ALL_HALVES.view("<f2").astype(np.float32)
    read(ALL_HALVES.view(np.uint8), out)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(out[number].view(np.uint32), expected[number].view(np.uint32))
    assert np.isnan(out[~number]).all()


@settings(deadline=None)
@given(st.lists(st.floats(-HALF_MAX, HALF_MAX), min_size=1))
def test_rounding_down_and_up_brackets_a_value_tightly(values):
    exact = np.array(values)
    below, above = half_below(exact), half_above(exact)
    assert (below.astype(np.float64) <= exact).all()
    assert (above.astype(np.float64) >= exact).all()
    representable = exact.astype(np.float16).astype(np.float64) == exact
    np.testing.assert_array_equal(above[representable], below[representable])
    gap = ~representable
    np.testing.assert_array_equal(np.nextafter(below[gap], np.float16(np.inf)), above[gap])
