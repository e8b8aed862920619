"""The grids against the image processors whose arithmetic they mirror."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.encoders.page_images.geometry import MergedGrid, SquareGrid, TileGrid, require_size

side = st.integers(1, 5000)


def covers(boxes: np.ndarray) -> None:
    """The boxes lie in the page, have an area, and share it without gap or overlap."""
    assert boxes.dtype == np.float32
    assert 0 <= boxes.min() <= boxes.max() <= 1
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(1, abs=1e-4)


@given(side, side)
def test_every_grid_covers_the_page_once(width: int, height: int) -> None:
    covers(SquareGrid(32).boxes(width, height))
    covers(MergedGrid(28, 56 * 56, 768 * 28 * 28).boxes(width, height))
    boxes, (rows, columns) = (grid := TileGrid(2048, 512, 8)).boxes(width, height), grid.shape(width, height)
    assert len(boxes) == 64 * (rows * columns + 1) if rows * columns > 1 else 64
    covers(boxes[-64:])
    if rows * columns > 1:
        covers(boxes[:-64])


@given(side, side)
def test_merged_cells_are_those_of_the_qwen_processors(width: int, height: int) -> None:
    module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    grid = MergedGrid(28, 56 * 56, 768 * 28 * 28)
    fitted = grid.fit(width, height)
    tall, wide = module.smart_resize(fitted[1], fitted[0], 28, 56 * 56, 768 * 28 * 28)
    assert grid.shape(width, height) == (tall // 28, wide // 28)


def test_strips_are_stretched_no_more_than_the_processor_asks() -> None:
    grid = MergedGrid(28, 56 * 56, 768 * 28 * 28)
    assert grid.fit(1000, 1) == (1000, 5)
    assert grid.fit(1, 1001) == (6, 1001)
    assert grid.fit(200, 1) == (200, 1)


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([(84, 28), (100, 28), (20, 28), (64, 16)]))
def test_tiles_are_those_of_the_idefics_processors(width: int, height: int, sizes: tuple[int, int]) -> None:
    module = pytest.importorskip("transformers.models.idefics3.image_processing_pil_idefics3")
    images = pytest.importorskip("PIL.Image")
    longest, tile = sizes
    processor = module.Idefics3ImageProcessorPil(size={"longest_edge": longest}, max_image_size={"longest_edge": tile})
    made = processor([images.new("RGB", (width, height))], return_row_col_info=True)
    rows, columns = made["rows"][0][0], made["cols"][0][0]
    assert TileGrid(longest, tile, 2).shape(width, height) == ((rows, columns) if rows else (1, 1))


def test_tiles_come_row_by_row_and_the_whole_page_last() -> None:
    boxes = TileGrid(1024, 512, 2).boxes(1000, 1000)
    assert boxes.shape == (20, 4)
    np.testing.assert_allclose(boxes[0], [0, 0, 0.25, 0.25])
    np.testing.assert_allclose(boxes[3], [0.25, 0.25, 0.5, 0.5])
    np.testing.assert_allclose(boxes[4], [0.5, 0, 0.75, 0.25])
    np.testing.assert_allclose(boxes[16:], TileGrid(1024, 512, 2, split=False).boxes(1000, 1000))


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 3)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="image 2 is"):
        require_size(*size, 2)
