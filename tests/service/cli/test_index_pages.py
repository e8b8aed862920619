"""Files with pages on the command line: what reads them, what is kept of them, and what happens when that is lost."""

from __future__ import annotations

import shutil
import sqlite3

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from stencil import Stencil, picture, scan

from latefold import Index
from latefold.ingest import ocr_tesseract, sources
from latefold.ingest.ocr import available_engines

PAGES = "pages.sqlite"


@pytest.fixture
def docs(tmp_path):
    """A scan of two pages, a picture and a text."""
    folder = tmp_path / "docs"
    folder.mkdir()
    scan(folder / "scan.pdf", 1, 2)
    picture(3).save(folder / "photo.png")
    (folder / "bread.txt").write_text("Bread is baked in a hot oven.")
    return folder


@pytest.fixture
def engine(monkeypatch):
    stencil = Stencil()
    monkeypatch.setattr(sources, "find_engine", lambda name, **_: None if name == "off" else stencil)
    return stencil


@pytest.fixture
def index(cli, docs, engine):
    done = run(cli, docs, "--json")
    assert (done.code, done.json["added"]) == (0, 4)
    return docs.parent / "new.index"


def run(cli, docs, *options):
    return cli("index", docs, "--into", docs.parent / "new.index", "--no-progress", *options)


def test_without_ocr_scans_are_skipped_without_advice(cli, docs):
    done = run(cli, docs, "--ocr", "off", "--json")
    assert (done.code, done.json["added"]) == (0, 1)
    assert {note["source"]: note["reason"] for note in done.json["skipped"]} == {
        "photo.png": "an image",
        "scan.pdf": "no text layer (scanned?)",
    }
    plain = run(cli, docs, "--ocr", "off")
    assert "latefold[ocr]" not in plain.err


def test_without_an_engine_the_person_reads_what_to_install(cli, docs, monkeypatch):
    monkeypatch.setattr(sources, "find_engine", lambda *_, **__: None)
    done = run(cli, docs)
    assert done.code == 0
    assert "skipped 1 file: an image: to read it, pip install 'latefold[ocr]'" in " ".join(done.err.split())


def test_an_engine_that_is_not_there_makes_no_index(cli, docs, monkeypatch):
    monkeypatch.setattr(ocr_tesseract, "_version", lambda: None)
    for command in (("index", docs, "--into", docs.parent / "new.index"), ("plan", docs)):
        done = cli(*command, "--ocr", "tesseract", "--json")
        assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")
        assert "apt install tesseract-ocr" in done.json["error"]["message"]
    assert not (docs.parent / "new.index").exists()
    assert cli("index", docs, "--into", docs.parent / "new.index", "--ocr", "abbyy").code == 2


@pytest.mark.skipif("tesseract" not in available_engines(), reason="the program tesseract is not installed")
def test_tesseract_reads_a_scan(cli, tmp_path):
    page = Image.new("RGB", (1240, 900), "white")
    draw = ImageDraw.Draw(page)
    for row, line in enumerate(("The harbour master", "closes the lighthouse", "at midnight")):
        draw.text((100, 100 + 120 * row), line, fill="black", font=ImageFont.load_default(64))
    (tmp_path / "docs").mkdir()
    page.save(tmp_path / "docs" / "scan.pdf", resolution=150)
    done = run(cli, tmp_path / "docs", "--ocr", "tesseract", "--json")
    assert (done.code, done.json["added"], done.json["skipped"]) == (0, 1, [])
    (hit,) = cli("search", tmp_path / "new.index", "lighthouse", "--json").json["hits"]
    assert "lighthouse" in hit["text"]
    explained = cli("explain", tmp_path / "new.index", "lighthouse", hit["id"], "--json").json
    (match,) = [match for match in explained["matches"] if match["query_text"] == "lighthouse"]
    left, top, right, bottom = match["box"]
    assert explained["page"]["origin"] == "ocr"
    assert left < 700 / 1240 < right
    assert 200 / 900 < (top + bottom) / 2 < 310 / 900


def test_an_unchanged_scan_is_read_once(cli, docs, index, engine):
    assert engine.reads == 3
    done = run(cli, docs, "--json")
    assert (done.json["unchanged_files"], engine.reads) == (3, 3)
    hits = cli("search", index, "penguin", "--collapse", "page", "--json").json["hits"]
    assert {(hit["source"], hit["metadata"].get("page")) for hit in hits} >= {("scan.pdf", 1), ("scan.pdf", 2)}


def test_thumbnails_may_be_left_out(cli, docs, engine):
    assert run(cli, docs, "--no-thumbnails").code == 0
    assert engine.reads == 3
    path = docs.parent / "new.index"
    with Index.open(path) as index:
        metadata = index.get("photo.png#0").metadata
        page = index.pages.get(metadata["file"], metadata["page"])
        assert page is not None
        assert (page.thumbnail, page.text) == (b"", "penguin penguin penguin")
    drawn = cli("explain", path, "penguin", "photo.png#0", "--picture", docs.parent / "page.png", "--json")
    assert (drawn.code, drawn.json["picture"]["drawn_from"]) == (0, "file")


def test_plan_counts_the_pages_that_ocr_has_to_read(cli, docs, engine):
    done = cli("plan", docs, "--json", "--no-progress")
    assert (done.code, done.json["ocr_pages"], done.json["documents"]) == (0, 3, 4)
    assert 1 <= engine.reads <= 2  # a page of each file
    assert "about 3 pages" in cli("plan", docs).out
    assert cli("plan", docs, "--ocr", "off", "--json").json["ocr_pages"] == 0


def test_doctor_names_the_engines(cli, monkeypatch):
    (check,) = [check for check in cli("doctor", "--json").json["checks"] if check["name"] == "ocr"]
    assert check["status"] == "ok"
    assert all(name in check["detail"] for name in available_engines())
    monkeypatch.setattr("latefold.ingest.ocr.available_engines", list)
    (check,) = [check for check in cli("doctor", "--json").json["checks"] if check["name"] == "ocr"]
    assert check["status"] == "ok"
    assert "not installed" in check["detail"]
    assert "latefold[ocr]" in check["fix"]


def test_stats_weigh_the_pages(cli, index):
    size = (index / PAGES).stat().st_size
    stats = cli("stats", index, "--json").json
    assert stats["bytes"]["pages"] == size
    assert stats["bytes"]["total"] > size
    assert "pages" in cli("stats", index).out


def test_an_index_whose_pages_are_lost_is_searched_and_gets_them_back(cli, docs, index, engine):
    (index / PAGES).unlink()
    assert cli("verify", index).code == 0
    assert cli("search", index, "penguin", "--json").json["hits"]
    explained = cli("explain", index, "penguin", "scan.pdf#0", "--json")
    assert (explained.code, explained.json["page"], explained.json["boxes"]) == (0, None, [])
    done = run(cli, docs, "--json")
    assert (done.json["added"], done.json["updated"], done.json["unchanged"]) == (0, 0, 3)
    assert engine.reads == 6
    assert cli("explain", index, "penguin", "scan.pdf#0", "--json").json["boxes"]


@pytest.mark.parametrize("how", ["overwritten", "cut", "rubbish"])
def test_damaged_pages_are_found_and_the_rest_works(cli, docs, index, how):
    if how == "overwritten":
        (index / PAGES).write_bytes(b"no database" * 1000)
    elif how == "cut":
        (index / PAGES).write_bytes((index / PAGES).read_bytes()[:5000])
    else:
        with sqlite3.connect(index / PAGES) as database:
            database.execute("UPDATE pages SET words = ?", (np.random.default_rng(0).bytes(40),))
    for command in (("verify", index), ("explain", index, "penguin", "scan.pdf#0")):
        done = cli(*command, "--json")
        assert (done.code, done.json["error"]["code"]) == (7, "index_corrupted")
        assert "delete it and index the files again" in done.json["error"]["message"]
    hits = cli("search", index, "penguin", "--json")
    assert (hits.code, len(hits.json["hits"])) == (0, 4)
    assert cli("stats", index).code == 0
    assert cli("explain", index, "bread", "bread.txt#0").code == 0
    (index / PAGES).unlink()
    shutil.copy(docs / "bread.txt", docs / "more.txt")
    assert run(cli, docs).code == 0
    assert cli("verify", index).code == 0
    assert cli("explain", index, "penguin", "scan.pdf#0", "--json").json["boxes"]
