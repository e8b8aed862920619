import numpy as np
import pytest
from numba import njit

from latefold.index.kernels.panels import ROWS, SPAN, sum_rows, tile
from latefold.index.kernels.sketch import LANES, pack


@njit
def multiply(rows, chosen, sizes, panels, r, out, places):
    for p in range(panels.shape[1]):
        at = (places[0] + p * 16, places[1] + p * 16, places[2] + p * 16, places[3] + p * 16)
        tile(rows, chosen, sizes, panels, r, p, out, at)


@njit
def add(rows, listed, first, last, out, target):
    for column in range(0, rows.shape[1], SPAN):
        sum_rows(rows, listed, first, last, column, out, target)


@pytest.mark.parametrize("dim", [0, 1, 7, 40])
@pytest.mark.parametrize("width", [1, 16, 33])
def test_a_tile_is_four_rows_of_a_product(dim, width):
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((9, dim)).astype(np.float32)
    matrices = rng.standard_normal((3, dim, width)).astype(np.float32)
    panels = pack(matrices)
    padded = panels.shape[1] * LANES
    chosen, sizes = (8, 0, 3, 3), tuple(np.float32([1, 2, 3, 7]))
    out = np.full((ROWS + 1) * padded, np.nan, np.float32)
    multiply(rows, chosen, sizes, panels, 1, out, tuple(i * padded for i in (1, 0, 2, 4)))
    expected = rows[list(chosen)] @ matrices[1] / np.array(sizes)[:, None]
    result = out.reshape(-1, padded)
    np.testing.assert_allclose(result[[1, 0, 2, 4], :width], expected, atol=1e-5)
    assert not result[[1, 0, 2, 4], width:].any()
    assert np.isnan(result[3]).all()


def test_rows_are_added_in_order():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((6, 2 * SPAN)).astype(np.float32)
    listed = np.array([4, 4, 0, 5, 1])
    out = np.full((3, 2 * SPAN), np.nan, np.float32)
    add(rows, listed, 1, 4, out, 2)
    np.testing.assert_array_equal(out[2], (rows[4] + rows[0]) + rows[5])
    assert np.isnan(out[:2]).all()
