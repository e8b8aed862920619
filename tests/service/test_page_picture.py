"""What a page is drawn on, as its file and its thumbnail come and go."""

from __future__ import annotations

import io

import numpy as np
import pytest
from page_files import write_pdf
from PIL import Image

from latefold.encoders.errors import InvalidInputError
from latefold.index.storage.pages import PageStore, StoredPage
from latefold.ingest.sources import file_hash
from latefold.retrieval.types import Explanation, PagePlace, ScoredBox
from latefold.service.page_picture import draw, page_pixels, thumbnail_of

BOX = (0.25, 0.5, 0.75, 0.55)


def stored_page(thumbnail=b""):
    return StoredPage(
        612, 792, "text", None, np.array([[0, 4]], np.int32), np.array([BOX], np.float32), thumbnail=thumbnail
    )


def webp(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (247, 320), colour).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path):
    return write_pdf(tmp_path / "bakery.pdf")


@pytest.fixture
def place(file):
    return PagePlace(file_hash(file), 1, 612, 792, "text")


@pytest.fixture
def store(tmp_path, file, place):
    store = PageStore(tmp_path)
    store.put(place.file, 1, stored_page(webp((200, 220, 240))))
    store.remember(place.file, file, "pdf")
    return store


def none():
    return np.zeros((0, 4), np.float32)


def test_the_file_first_then_the_thumbnail_then_the_words(store, file, place):
    drawn, origin = page_pixels(store, place, 400, none())
    assert (origin, drawn.shape) == ("file", (400, 310, 3))
    assert (drawn < 100).any()
    file.write_bytes(file.read_bytes() + b" ")
    drawn, origin = page_pixels(store, place, 400, none())
    assert (origin, drawn.shape) == ("thumbnail", (400, 309, 3))
    np.testing.assert_allclose(drawn[200, 150], (200, 220, 240), atol=2)
    store.put(place.file, 1, stored_page())
    drawn, origin = page_pixels(store, place, 400, none())
    assert (origin, drawn.shape) == ("words", (400, 309, 3))
    grey = np.flatnonzero((drawn[..., 0] < 255).any(axis=1)) / 400
    np.testing.assert_allclose([grey.min(), grey.max()], [0.5, 0.55], atol=0.01)


def test_what_is_no_file_or_no_picture_is_passed_over(store, file, place):
    for content in (b"", b"no picture", webp((0, 0, 0))[:40]):
        store.put(place.file, 1, stored_page(content))
        file.unlink(missing_ok=True)
        assert page_pixels(store, place, 100, none())[1] == "words"
    file.mkdir()
    assert page_pixels(store, place, 100, none())[1] == "words"


def test_a_page_that_is_only_known_by_its_patches(tmp_path):
    place = PagePlace("0" * 32, 3, 300, 200, "none")
    drawn, origin = page_pixels(PageStore(tmp_path), place, 150, none())
    assert (origin, drawn.shape) == ("words", (100, 150, 3))
    assert (drawn == 255).all()
    assert thumbnail_of(PageStore(tmp_path), place.file, 3) is None


@pytest.mark.parametrize("longest", [0, -1, 10**6])
def test_sizes_have_limits(store, place, longest):
    with pytest.raises(InvalidInputError, match="longer side"):
        page_pixels(store, place, longest, none())


def test_a_picture_has_the_heat_and_says_what_it_was_drawn_from(store, place):
    boxes = [ScoredBox(BOX, 1.0, "four", "a"), ScoredBox((0.1, 0.8, 0.2, 0.82), 0.1, "ten", "b")]
    drawn = draw(store, Explanation("a", 1.0, [], [], place, boxes), longest=400)
    assert drawn.drawn_from == "file"
    with Image.open(io.BytesIO(drawn.png)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels[205:215, 100:200, 0] - pixels[205:215, 100:200, 2] > 60).all()
    assert draw(store, Explanation("a", 1.0, [], [], place, boxes), longest=400).png == drawn.png


def test_what_is_from_no_page_cannot_be_drawn(store):
    with pytest.raises(InvalidInputError, match="from no page"):
        draw(store, Explanation("a", 1.0, [], []))
