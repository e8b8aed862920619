"""`explain` of a document that is from a page, and the picture it writes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from page_files import make_page_index
from PIL import Image

from latefold import load_encoder

QUERY = "what does rye bread cost"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The index of a PDF that is still where it was."""
    return make_page_index(tmp_path_factory.mktemp("pages"), load_encoder("default"))


@pytest.fixture(scope="module")
def best(cli, pages):
    """The id of the best result."""
    return cli("search", pages, QUERY, "-k", 1, "--json").json["hits"][0]["id"]


def coloured(path):
    """Rows of a picture, as fractions, that have colour in them; and its size."""
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    rows = np.flatnonzero(((pixels[..., 0] - pixels[..., 2]) > 60).any(axis=1))
    return rows / len(pixels), (pixels.shape[1], pixels.shape[0])


def test_the_picture_is_of_the_page_with_heat_on_the_right_line(cli, pages, best, tmp_path):
    path = tmp_path / "page.png"
    done = cli("explain", pages, QUERY, best, "--picture", path, "--json")
    assert done.code == 0, done
    assert done.json["picture"] == {"path": str(path), "drawn_from": "file"}
    assert done.json["page"]["number"] == 1
    assert done.json["page"]["origin"] == "text"
    hottest = max(done.json["boxes"], key=lambda part: part["score"])
    assert hottest["text"] in ("Rye", "bread")
    assert hottest["score"] == 1
    rows, size = coloured(path)
    assert size == (1082, 1400)
    assert (np.abs(rows - hottest["box"][1]) < 0.03).mean() > 0.8
    matched = next(match for match in done.json["matches"] if match["query_text"] == "bread")
    assert matched["box"][1] == pytest.approx(hottest["box"][1], abs=0.01)


def test_the_text_says_that_there_is_a_page(cli, pages, best, tmp_path):
    assert "page 1 of its file: --picture FILE.png shows" in cli("explain", pages, QUERY, best).out
    path = tmp_path / "page.png"
    assert f"page 1 of its file: {path}, drawn from the file" in cli(
        "explain", pages, QUERY, best, "--picture", path
    ).out.replace("\n", "")


def test_one_token(cli, pages, best, tmp_path):
    found = cli("explain", pages, "bread dollars", best, "--json").json["matches"]
    token = next(match["query_token"] for match in found if match["query_text"] == "dollars")
    done = cli("explain", pages, "bread dollars", best, "--token", token, "--picture", tmp_path / "a.png", "--json")
    assert max(done.json["boxes"], key=lambda part: part["score"])["text"] == "dollars"
    wrong = cli("explain", pages, "bread dollars", best, "--token", 99, "--json")
    assert (wrong.code, wrong.json["error"]["code"]) == (2, "invalid_input")


def test_a_file_that_has_changed_is_not_drawn(cli, tmp_path):
    index = make_page_index(tmp_path, load_encoder("default"))
    best = cli("search", index, QUERY, "-k", 1, "--json").json["hits"][0]["id"]
    (tmp_path / "bakery.pdf").write_bytes(b"something else")
    done = cli("explain", index, QUERY, best, "--picture", tmp_path / "page.png", "--json")
    assert done.json["picture"]["drawn_from"] == "thumbnail"
    rows, size = coloured(tmp_path / "page.png")
    assert size == (1082, 1400)
    assert len(rows)
    (tmp_path / "bakery.pdf").unlink()
    assert "its thumbnail" in cli("explain", index, QUERY, best, "--picture", tmp_path / "page.png").out.replace(
        "the stored thumbnail", "its thumbnail"
    )


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("page.jpg", None, "invalid_input"),
        ("page", None, "invalid_input"),
        ("notes.png", b"precious words", "invalid_input"),
        ("none/page.png", None, "storage"),
    ],
)
def test_nothing_but_a_png_is_written_over(cli, pages, best, tmp_path, name, content, code):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    done = cli("explain", pages, QUERY, best, "--picture", path, "--json")
    assert done.json["error"]["code"] == code
    assert path.exists() == (content is not None)
    assert content is None or path.read_bytes() == content
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert cli("explain", pages, QUERY, best, "--picture", folder).code == 2


def test_a_document_from_no_page_has_no_picture(cli, shared_index, tmp_path):
    done = cli("explain", shared_index, "rye", "r2", "--picture", tmp_path / "page.png", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")
    assert "from no page" in done.json["error"]["message"]
    assert not (tmp_path / "page.png").exists()


def test_pages_collapse_to_their_best_windows(cli, pages):
    every = cli("search", pages, QUERY, "--json").json["hits"]
    hits = cli("search", pages, QUERY, "--collapse", "page", "--json").json["hits"]
    assert len(every) > 2
    assert [(hit["source"], hit["metadata"]["page"]) for hit in hits] == [("bakery.pdf", 1), ("bakery.pdf", 2)]
    assert hits[0]["id"] == every[0]["id"]
    assert len(cli("search", pages, QUERY, "--collapse", "source", "--json").json["hits"]) == 1
    assert cli("search", pages, QUERY, "--collapse", "chapter").code == 2
