"""The gallery: from small PDFs to a page with pictures, the same every time; and what it says of heat that is off."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latefold.encoders.errors import InvalidInputError
from latefold.eval.corpora import Place
from latefold.eval.pages import gallery
from latefold.eval.pages.gallery import EXAMPLES, MAX_BYTES, NAME, WIDTH, Example, main, webp, within, write
from latefold.eval.pages.sources import SOURCES

from .conftest import page_lines, write_pdf

TOP = (0.1, 0.08, 0.9, 0.13)
"""Where the lines of a page of `write_pdf` are."""
LEGAL = "Stones of the regions", "stones-doc", "1-1", "CC0-1.0"
EXAMPLE = Example("Text", "where are samples of marble to be found", "stones", 1, "A. Mason", TOP, "The last line.")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    """A data folder with a collection of one PDF of three pages."""
    home = tmp_path_factory.mktemp("gallery")
    folder = home / "data" / "known-items"
    (folder / "pdfs").mkdir(parents=True)
    (folder / "qrels").mkdir()
    texts = [page_lines(number) for number in range(3)]
    write_pdf(folder / "pdfs" / "stones.pdf", texts)
    corpus = [
        json.dumps({"_id": f"stones#p{number}", "title": LEGAL[0], "text": "\n".join(lines)})
        for number, lines in enumerate(texts)
    ]
    (folder / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "granite"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tstones#p0\t1\n")
    title, package, version, licence = LEGAL
    source = {"file": "pdfs/stones.pdf", "title": title, "package": package, "version": version, "path": "usr/s.pdf"}
    (folder / "manifest.json").write_text(json.dumps({"sources": [{**source, "licence": licence}]}))
    return Place(home / "data", home / "cache")


def test_writes_a_page_with_pictures_the_same_every_time(place, tmp_path) -> None:
    elsewhere = replace(EXAMPLE, answer=(0.1, 0.8, 0.9, 0.95))
    other = replace(EXAMPLE, question="granite and basalt of region 0", page=3)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        assert write(place, folder, [EXAMPLE, elsewhere, other]) == folder / f"{NAME}.md"
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == [f"{NAME}-1.webp", f"{NAME}-2.webp", f"{NAME}-3.webp", f"{NAME}.md"]
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    page = (folders[0] / f"{NAME}.md").read_text()
    assert all(part in page for part in (*LEGAL, "A. Mason"))
    assert f"]({NAME}-3.webp)" in page
    first, second, third = page.split("\n## ")[1:4]
    assert ": rank 1." in first
    assert "100% of its heat; the hottest part is there." in first
    assert "0% of its heat; the hottest part is elsewhere: **the heat is off**." in second
    assert "(the first is page 1 of *Stones of the regions*)" in third
    assert "Of 3 pages 3 are among the first 10 hits, and 2 the first hit. On 2 of them" in page
    assert str(place.data) not in page


def test_pictures_are_pages_with_heat_on_the_words_that_answer(place, tmp_path) -> None:
    write(place, tmp_path, [EXAMPLE])
    with Image.open(tmp_path / f"{NAME}-1.webp") as picture:
        pixels = np.asarray(picture.convert("RGB"), np.int32)
    assert pixels.shape[:2] == pytest.approx((WIDTH * 792 / 612, WIDTH), abs=1)
    warm = np.flatnonzero((pixels[..., 0] - pixels[..., 2] > 60).any(axis=1))
    assert warm.min() / len(pixels) > 0.08
    assert warm.max() / len(pixels) < 0.14


def test_scans_are_left_out_where_nothing_reads_them(place, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(gallery, "available_engines", list)
    write(place, tmp_path, [replace(EXAMPLE, scanned=True), EXAMPLE])
    page = (tmp_path / f"{NAME}.md").read_text()
    assert "without scans, since no OCR engine was installed" in page
    assert "## 2." not in page


def test_examples_of_unknown_documents_and_pages_are_refused(place, tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="the manifest of the collection names no dust"):
        write(place, tmp_path, [replace(EXAMPLE, file="dust")])
    with pytest.raises(InvalidInputError, match=r"page 9 of stones\.pdf is not in the index"):
        write(place, tmp_path, [replace(EXAMPLE, page=9)])


def test_the_command_says_what_is_missing(tmp_path, capsys) -> None:
    (tmp_path / "known-items").mkdir()
    (tmp_path / "known-items" / "manifest.json").write_text("{}")
    assert main(["--data", str(tmp_path), "--out", str(tmp_path), "--cache", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_boxes_are_where_their_middle_is() -> None:
    boxes = np.array([(0, 0, 0.5, 0.1), (0.2, 0.2, 0.4, 0.3), (0.3, 0.2, 0.9, 0.3), (0, 0, 1, 0.6)], np.float32)
    assert within(boxes, (0.1, 0.2, 0.5, 0.4)).tolist() == [False, True, False, True]
    assert within(boxes[:0], (0.1, 0.2, 0.5, 0.4)).tolist() == []


def test_pictures_are_small_even_of_noise() -> None:
    rng = np.random.default_rng(0)
    paper = np.full((900, WIDTH, 3), 255, np.uint8)
    speckled = paper.copy()
    speckled[:400] = rng.integers(0, 256, (400, WIDTH, 3), np.uint8)
    assert len(webp(paper)) < MAX_BYTES
    least = io.BytesIO()
    Image.fromarray(speckled).save(least, "WEBP", quality=30, method=6)
    assert len(webp(speckled)) in (len(least.getvalue()), *range(MAX_BYTES + 1))


def test_every_example_is_about_a_page_of_the_collection() -> None:
    pages = {source.name: source.pages for source in SOURCES}
    assert len({example.file for example in EXAMPLES}) == len(EXAMPLES)
    for example in EXAMPLES:
        kept = pages[example.file]
        assert 1 <= example.page <= (kept or 1000)
        left, top, right, bottom = example.answer
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert example.question.endswith("?")


def test_reports_in_the_tree_are_what_the_examples_make() -> None:
    reports = Path(gallery.__file__).parent.parent / "reports"
    page = (reports / f"{NAME}.md").read_text()
    for number, example in enumerate(EXAMPLES, 1):
        picture = reports / f"{NAME}-{number}.webp"
        assert f"> {example.question}" in page
        assert 0 < picture.stat().st_size <= 90_000
        assert example.authors in page


def test_notices_are_of_the_documents_shown_and_none_is_under_the_gpl_alone() -> None:
    reports = Path(gallery.__file__).parent.parent / "reports"
    notices = (reports / f"{NAME}-licences.txt").read_text()
    sources = {source.name: source for source in SOURCES}
    shown = [sources[example.file] for example in EXAMPLES]
    assert re.findall("(?m)^={79}\n(.+)\n={79}$", notices) == [f"{s.title}: package {s.package}" for s in shown]
    for source in shown:
        assert not all("GPL" in licence for licence in source.licence.split(" or ")), source.name
