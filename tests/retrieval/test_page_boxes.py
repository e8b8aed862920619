"""Where on its page the match is: words whose boxes the test knows, and patches of a page image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from latefold import Document, Index, IndexConfig, TokenEmbeddings, load_encoder
from latefold.encoders.base import Fingerprint
from latefold.encoders.errors import InvalidInputError
from latefold.encoders.pages import PageEmbeddings, PageImage
from latefold.index.storage.pages import StoredPage

FILE = "0123456789abcdef0123456789abcdef"
LINES = ("Rivers carry water to the sea.", "A baker sells bread and cakes.", "Trains leave at seven o'clock.")
TEXT = "\n".join(LINES)


def stored_page(text=TEXT):
    """A page of one line of words below the other; each word has a box of its own."""
    spans, boxes, at = [], [], 0
    for row, words in enumerate(line.split(" ") for line in text.split("\n")):
        for col, word in enumerate(words):
            spans.append((at, at + len(word)))
            at += len(word) + 1
            boxes.append((0.1 + 0.1 * col, 0.1 + 0.2 * row, 0.18 + 0.1 * col, 0.14 + 0.2 * row))
    return StoredPage(612, 792, "text", None, np.array(spans, np.int32), np.array(boxes, np.float32))


def box_of(word, text=TEXT):
    page = stored_page(text)
    start = text.index(word)
    return page.boxes[np.flatnonzero((page.spans[:, 0] <= start) & (start < page.spans[:, 1]))[0]]


def windows(page=1):
    """A document a line, as ingestion makes them."""
    for number, line in enumerate(LINES):
        start = TEXT.index(line)
        where = {"source": "a.pdf", "file": FILE, "page": page, "start": start, "end": start + len(line)}
        yield Document(f"p{page}#{number}", line, "Notes", where)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with Index.create(tmp_path_factory.mktemp("pages") / "i", encoder=load_encoder("default")) as index:
        index.add([*windows(), *windows(2), Document("plain", TEXT)])
        index.pages.put(FILE, 1, stored_page())
        yield index


def test_matches_have_the_box_of_their_word(index):
    found = index.explain("bread baker", "p1#1")
    assert (found.page.file, found.page.number, found.page.origin) == (FILE, 1, "text")
    matched = {match.query_text: match for match in found.matches}
    for word in ("bread", "baker"):
        assert matched[word].document_text == word
        np.testing.assert_allclose(matched[word].box, box_of(word), atol=1e-4)
    assert all(match.box is None for match in found.matches if match.field != "text")


def test_the_heat_of_all_windows_of_the_page_is_where_the_answer_is(index):
    for name in ("p1#0", "p1#1", "p1#2"):  # whichever of them is explained
        found = index.explain("who sells bread?", name)
        assert {part.document for part in found.boxes} == {"p1#0", "p1#1", "p1#2"}
        scores = np.array([part.score for part in found.boxes])
        assert scores.max() == pytest.approx(1)
        best = found.boxes[int(scores.argmax())]
        assert best.text in ("bread", "sells", "baker")
        np.testing.assert_allclose(best.box, box_of(best.text), atol=1e-4)
        on_line = np.array([part.document == "p1#1" for part in found.boxes])
        assert scores[on_line].sum() > 0.8 * scores.sum()


def test_heat_of_one_token(index):
    matches = index.explain("water bread", "p1#1").matches
    for word in ("water", "bread"):
        token = next(match.query_token for match in matches if match.query_text == word)
        parts = index.explain("water bread", "p1#1", token=token).boxes
        assert max(parts, key=lambda part: part.score).text == word
    with pytest.raises(InvalidInputError, match="token is 99; the query has"):
        index.explain("water bread", "p1#1", token=99)
    with pytest.raises(InvalidInputError, match="token is -1"):
        index.explain("water bread", "p1#1", token=-1)


@pytest.mark.parametrize("name", ["p2#1", "plain"])
def test_a_page_that_is_not_known_has_no_boxes(index, name):
    found = index.explain("who sells bread?", name)
    assert found.page is None
    assert found.boxes == []
    assert all(match.box is None for match in found.matches)


@pytest.mark.parametrize(
    "metadata",
    [
        {"file": FILE, "page": 1, "start": "x"},
        {"file": FILE, "page": 1, "start": -5},
        {"file": FILE, "page": 1, "start": 10**9},
        {"file": FILE, "page": 1, "start": 2**80},
        {"file": FILE, "page": True},
        {"file": FILE, "page": "1"},
        {"file": FILE, "page": 2**70},
        {"file": [FILE], "page": 1},
        {"file": "../../etc/passwd", "page": 1},
        {"page_image": [10**9, 10**9], "file": FILE, "page": 7},
        {"page_image": "big", "file": FILE, "page": 1, "start": None},
    ],
)
def test_metadata_that_anyone_may_have_written_does_no_harm(tmp_path, metadata):
    with Index.create(tmp_path / "i", encoder=load_encoder("default")) as index:
        index.pages.put(FILE, 1, stored_page())
        index.add([Document("d", "A baker sells bread.", metadata=metadata)])
        found = index.explain("bread", "d")
        assert all(match.box is None for match in found.matches)
        assert found.boxes == []


def test_what_is_kept_of_the_tokens_keeps_its_boxes(tmp_path):
    config = IndexConfig(keep=0.5, saliency="distance")
    with Index.create(tmp_path / "i", encoder=load_encoder("default"), config=config) as index:
        index.pages.put(FILE, 1, stored_page())
        index.add(list(windows()))
        for name in ("p1#0", "p1#1", "p1#2"):
            found = index.explain("water bread trains", name)
            for match in found.matches:
                if match.field == "text" and match.document_text.isalpha():
                    np.testing.assert_allclose(match.box, box_of(match.document_text), atol=1e-4)
            for part in found.boxes:
                if len(part.text) > 3 and part.text.isalpha():
                    np.testing.assert_allclose(part.box, box_of(part.text), atol=1e-4)


COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class Mosaic:
    """A real, if simple, encoder of page images: the mean colour of each of six patches, after one for the whole page.

    Texts are colours by name. It stands in for a vision model where all that matters is which vector saw what.
    """

    name = "mosaic"
    dim = 3
    fingerprint = Fingerprint("mosaic", "1", 3)

    def encode_queries(self, texts):
        return TokenEmbeddings.from_list([[COLOURS[word] for word in text.split()] for text in texts])

    def encode_documents(self, texts, progress=None):  # noqa: ARG002 - the contract's
        return TokenEmbeddings.from_list([np.eye(3)[: len(text.split())] for text in texts], dim=3)

    def query_spans(self, texts):
        found = []
        for text in texts:
            starts = np.cumsum([0, *(len(word) + 1 for word in text.split())])
            found.append(np.array([(a, b - 1) for a, b in pairwise(starts.tolist())], np.int32))
        return found

    def document_spans(self, texts):
        return self.query_spans(texts)

    def encode_images(self, images, progress=None, *, saliency=False):  # noqa: ARG002
        items = []
        for image in images:
            values = image.astype(np.float32) / 255
            cells = [cell for row in np.array_split(values, 2) for cell in np.array_split(row, 3, axis=1)]
            means = np.array([cell.mean(axis=(0, 1)) for cell in [values, *cells]]) + 1e-3
            items.append(means / np.linalg.norm(means, axis=1, keepdims=True))
        boxes = np.concatenate(self.image_boxes([(image.shape[1], image.shape[0]) for image in images]))
        return PageEmbeddings(TokenEmbeddings.from_list(items), boxes)

    def image_boxes(self, sizes):
        cells = [(c / 3, r / 2, (c + 1) / 3, (r + 1) / 2) for r in range(2) for c in range(3)]
        return [np.array([(0, 0, 0, 0), *cells], np.float32) for _ in sizes]


def picture():
    """Green, with red in the middle of the upper row and blue at the right of the lower one."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., 1] = 255
    pixels[:10, 10:20] = (255, 0, 0)
    pixels[10:, 20:] = (0, 0, 255)
    return pixels


def test_patches_of_a_page_image_have_boxes(tmp_path):
    where = {"file": FILE, "page": 1, "page_image": [30, 20]}
    with Index.create(tmp_path / "i", encoder=Mosaic()) as index:
        index.add([Document("p", "red words", metadata=where, image=PageImage(picture))])
        found = index.explain("red", "p")
        assert (found.page.width, found.page.height, found.page.origin) == (30, 20, "none")
        np.testing.assert_allclose(found.matches[0].box, (1 / 3, 0, 2 / 3, 1 / 2), atol=1e-6)
        assert found.matches[0].document_text == ""
        assert len(found.boxes) == 6  # none for the vector of the whole page
        assert [round(part.score, 2) for part in found.boxes] == [0, 1, 0, 0, 0, 0]
        (blue,) = index.explain("blue", "p").matches
        np.testing.assert_allclose(blue.box, (2 / 3, 1 / 2, 1, 1), atol=1e-6)


def test_a_page_image_of_another_number_of_vectors_has_no_boxes(tmp_path):
    where = {"file": FILE, "page": 1, "page_image": [30, 20]}
    with Index.create(tmp_path / "i", encoder=Mosaic()) as index:
        index.add([Document("p", "red words", metadata=where)])  # two vectors, of its words
        found = index.explain("red", "p")
        assert found.boxes == []
        assert found.matches[0].box is None
