"""The known-item collection: from packages to a folder, the same every time; and what is said where it cannot be."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from latefold.encoders.errors import InvalidInputError
from latefold.eval.beir import load_beir
from latefold.eval.pages import known_items
from latefold.eval.pages.known_items import build, fetched, main
from latefold.eval.pages.scans import DPI, rasterise
from latefold.eval.pages.sources import SOURCES, Source

from .conftest import page_lines, write_pdf

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
PATH = "usr/share/doc/stones/stones.pdf"


@pytest.fixture
def packaged(tmp_path) -> tuple[Source, Path]:
    """A source, and a cache with its package."""
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: stones\nVersion: 1-1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\nDescription: stones\n"
    )
    file = tree / PATH
    file.parent.mkdir(parents=True)
    lines = [page_lines(number) for number in range(4)]
    write_pdf(file, lines, [(line[0], number) for number, line in enumerate(lines)])
    cache = tmp_path / "cache"
    cache.mkdir()
    subprocess.run(["dpkg-deb", "-b", str(tree), str(cache / "stones_1-1_all.deb")], check=True, capture_output=True)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Source("stones", "Stones of the regions", "stones", "1-1", PATH, 3, "CC0-1.0", digest), cache


@needs_dpkg
def test_a_package_becomes_a_collection_the_same_every_time(packaged, tmp_path) -> None:
    source, cache = packaged
    for name in ("first", "second"):
        build(tmp_path / name, cache, [source])
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert [path.name for path in files] == ["corpus.jsonl", "manifest.json", "stones.pdf", "test.tsv", "queries.jsonl"]
    for path in files:
        assert (tmp_path / "first" / path).read_bytes() == (tmp_path / "second" / path).read_bytes()
    dataset = load_beir(tmp_path / "first")
    assert [document.id for document in dataset.documents] == ["stones#p0", "stones#p1", "stones#p2"]
    texts = {document.id: document.text.lower() for document in dataset.documents}
    assert len(dataset.queries) == 3
    for query, text in dataset.queries.items():
        (answer,) = dataset.qrels[query]
        assert text.lower() in texts[answer]
    about = json.loads((tmp_path / "first" / "manifest.json").read_text())
    assert about["kinds"] == {"outline": 3}
    assert about["sources"][0]["licence"] == "CC0-1.0"
    with pypdfium2.PdfDocument(tmp_path / "first" / "pdfs" / "stones.pdf") as document:
        assert len(document) == 3


@needs_dpkg
def test_another_file_is_refused(packaged, monkeypatch) -> None:
    source, cache = packaged
    monkeypatch.setattr(known_items, "_download", lambda _, folder: folder / "stones_1-1_all.deb")
    wrong = Source(**{**vars(source), "sha256": "0" * 64})
    with pytest.raises(InvalidInputError, match="is not the file that the collection is made from"):
        fetched(wrong, cache)


def test_without_apt_it_is_said_what_is_missing(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]) == 1
    said = capsys.readouterr().err
    assert "no apt-get" in said
    assert SOURCES[0].package in said


def test_the_list_is_complete_and_without_doubles() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES) >= 12
    for source in SOURCES:
        assert len(source.sha256) == 64
        assert source.licence
        assert source.version
        assert source.path.removesuffix(".gz").endswith(".pdf")


def test_scans_are_pictures_of_the_same_pages(tmp_path) -> None:
    write_pdf(tmp_path / "one.pdf", [page_lines(0), page_lines(1)])
    (first,) = rasterise(tmp_path, tmp_path / "scans")
    (again,) = rasterise(tmp_path, tmp_path / "others")
    assert first.read_bytes() == again.read_bytes()
    with pypdfium2.PdfDocument(first) as scan, pypdfium2.PdfDocument(tmp_path / "one.pdf") as page:
        assert len(scan) == 2
        assert scan[1].get_size() == page[1].get_size()
        assert scan[1].get_textpage().get_text_bounded() == ""
        (picture,) = scan[1].get_objects()
        assert picture.get_px_size() == (612 * DPI // 72, 792 * DPI // 72)
        seen, meant = (Image.Image.convert(item[1].render(scale=1).to_pil(), "L") for item in (scan, page))
    difference = sum(abs(a - b) for a, b in zip(seen.tobytes(), meant.tobytes(), strict=True)) / len(meant.tobytes())
    assert difference < 3
