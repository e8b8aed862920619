"""Pictures of heat: what may change of a page, and what may not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from latefold.encoders.errors import InvalidInputError
from latefold.retrieval.heatmap import draw_heatmap, heat_grid, png

BOX = np.array([[0.25, 0.4, 0.75, 0.45]], np.float32)
HOT = np.ones(1, np.float32)


def paper(height=200, width=160, colour=255):
    return np.full((height, width, 3), colour, np.uint8)


def luminance(pixels):
    return pixels.astype(float) @ [0.2126, 0.7152, 0.0722]


def test_heat_is_in_the_box_and_the_rest_stays():
    page = paper()
    page[::7] = 0
    drawn = draw_heatmap(page, BOX, HOT)
    assert drawn.shape == page.shape
    assert drawn.dtype == np.uint8
    inside = np.s_[82:88, 44:116]
    assert (drawn[inside] != page[inside]).any(axis=2)[page[inside].all(axis=2)].all()
    outside = np.ones(page.shape[:2], bool)
    outside[70:100, 30:130] = False
    np.testing.assert_array_equal(drawn[outside], page[outside])
    assert (page == paper() * (page > 0)).all()  # the page itself is left alone


def test_text_stays_readable_below_the_hottest_colour():
    page = paper()
    page[84:86, 60:100] = 0
    drawn = draw_heatmap(page, BOX, HOT)
    ink, ground = luminance(drawn[84:86, 65:95]).max(), luminance(drawn[82:84, 65:95]).min()
    assert (ground / 255 + 0.05) / (ink / 255 + 0.05) > 4.5  # the contrast that accessible text needs


def test_more_heat_is_darker_in_grey_too():
    shades = [luminance(draw_heatmap(paper(), BOX, HOT * heat))[85, 80] for heat in np.linspace(0, 1, 11)]
    assert shades == sorted(shades, reverse=True)
    assert len(set(shades)) == len(shades)


def test_heat_shows_on_dark_ground():
    drawn = draw_heatmap(paper(colour=10), BOX, HOT)
    assert luminance(drawn)[85, 80] > 60


def test_outlines_are_around_boxes_and_not_on_them():
    page = paper()
    drawn = draw_heatmap(page, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), best=BOX)
    changed = (drawn != page).any(axis=2)
    assert changed.any()
    assert not changed[81:89, 42:118].any()
    sides = draw_heatmap(page, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), frame=BOX)
    across = np.flatnonzero((sides != page).any(axis=(0, 2)))
    assert (across < 40).sum() == (across > 120).sum() > 0
    assert len(across) == 2


def test_patches_run_into_each_other():
    edges = np.linspace(0, 1, 5)
    boxes = np.array([(a, c, a + 0.25, c + 0.25) for c in edges[:-1] for a in edges[:-1]], np.float32)
    scores = np.zeros(16, np.float32)
    scores[5] = 1
    drawn = draw_heatmap(paper(), boxes, scores, smooth=True)
    shades = luminance(drawn)[75, :]
    assert shades.argmin() in range(40, 80)
    assert (np.abs(np.diff(shades)) < 12).all()
    assert (drawn[150:] == 255).all()


def test_the_same_heat_gives_the_same_bytes():
    first, second = (png(draw_heatmap(paper(), BOX, HOT, best=BOX)) for _ in range(2))
    assert first == second
    with Image.open(io.BytesIO(first)) as picture:
        assert (picture.format, picture.size) == ("PNG", (160, 200))


@pytest.mark.parametrize(
    ("page", "boxes", "scores"),
    [
        (np.zeros((4, 4), np.uint8), BOX, HOT),
        (np.zeros((0, 4, 3), np.uint8), BOX, HOT),
        (np.zeros((4, 4, 3), np.float32), BOX, HOT),
        (np.broadcast_to(np.uint8(0), (10_000, 10_000, 3)), BOX, HOT),
        (paper(), BOX, np.ones(2, np.float32)),
        (paper(), BOX * np.nan, HOT),
        (paper(), BOX, HOT * np.inf),
    ],
)
def test_what_cannot_be_drawn_is_refused(page, boxes, scores):
    with pytest.raises(InvalidInputError):
        draw_heatmap(page, boxes, scores)


BOXES = st.lists(st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 4, st.floats(0, 1, width=32)), max_size=8)


@given(BOXES, st.integers(1, 20), st.integers(1, 20))
def test_a_grid_is_from_0_to_1_and_hot_only_below_boxes(rows, height, width):
    values = np.array(rows, np.float32).reshape(-1, 5)
    boxes, scores = values[:, :4], values[:, 4]
    grid = heat_grid(boxes, scores, (height, width))
    assert grid.shape == (height, width)
    assert grid.dtype == np.float32
    assert ((grid >= 0) & (grid <= 1)).all()
    assert grid.max() <= scores.max(initial=0) + 1e-6
    for row, col in np.argwhere(grid > 0):
        left, top, right, bottom = col / width, row / height, (col + 1) / width, (row + 1) / height
        assert any(b[0] < right and b[2] > left and b[1] < bottom and b[3] > top for b in boxes.tolist())
    drawn = draw_heatmap(paper(20, 30), boxes, scores)
    assert drawn.shape == (20, 30, 3)


def test_boxes_upside_down_have_no_heat():
    boxes = np.array([(0.1, 0.9, 0.5, 0.2), (0.1, 0.8, 0.5, 0.1), (0.2, 0.3, 0.4, 0.31)], np.float32)
    drawn = draw_heatmap(paper(20, 30), boxes, np.ones(3, np.float32))
    assert (drawn[10:] == paper(20, 30)[10:]).all()


def test_a_grid_of_the_patches_is_their_scores():
    boxes = np.array([(c / 3, r / 2, (c + 1) / 3, (r + 1) / 2) for r in range(2) for c in range(3)], np.float64)
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 1.0], np.float32)
    found = heat_grid(boxes.astype(np.float32), scores, (2, 3))
    np.testing.assert_allclose(found, scores.reshape(2, 3), atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 1), (1, 0), (-1, 5), (10_000, 10_000)])
def test_grids_have_limits(shape):
    with pytest.raises(InvalidInputError, match="grid"):
        heat_grid(BOX, HOT, shape)
