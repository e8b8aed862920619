"""Files with pages: what is indexed of them, what is kept about them, and what is said of those that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from stencil import Stencil, picture, scan

from latefold import Index
from latefold.index.storage.pages import PAGES
from latefold.ingest import sources
from latefold.ingest.extractor import Extractor
from latefold.ingest.folder import ingest
from latefold.ingest.ledger import Ledger
from latefold.ingest.options import IngestOptions, Kind
from latefold.ingest.page_passages import PageReader
from latefold.ingest.sources import file_hash


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Stencil:
    stencil = Stencil()
    monkeypatch.setattr(sources, "find_engine", lambda name, **_: None if name == "off" else stencil)
    return stencil


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_engine", lambda *_, **__: None)


@pytest.fixture
def index(tmp_path: Path) -> Any:
    with Index.create(tmp_path / "index") as index:
        yield index


def test_a_text_layer_is_indexed_with_a_place_for_every_word(index: Index, tmp_path: Path, pdf: Any) -> None:
    path = pdf.text(tmp_path / "docs.pdf", [["Penguins dive."], ["Owls hunt at night."]], title="All birds")
    assert ingest(index, [path]).ok
    file = file_hash(path)
    second = index.get("docs.pdf#1")
    assert (second.title, second.text) == ("All birds (docs)", "Owls hunt at night.")
    assert second.metadata == {"source": "docs.pdf", "page": 2, "file": file, "start": 0, "end": 19}
    page = index.pages.get(file, 2)
    assert page is not None
    assert (page.origin, page.text, page.width, page.height) == ("text", None, 612, 792)
    assert [second.text[a:b] for a, b in page.spans.tolist()] == ["Owls", "hunt", "at", "night."]
    assert (page.boxes[1:, 0] > page.boxes[:-1, 0]).all()
    assert page.thumbnail[8:12] == b"WEBP"
    assert index.pages.place(file) == (path, "pdf")


def test_scanned_pages_and_images_are_read_by_ocr(index: Index, tmp_path: Path, engine: Stencil) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    scan(docs / "scan.pdf", 1, 2)
    picture(3).save(docs / "photo.png")
    seen: list[tuple[str, int, int | None]] = []
    report = ingest(index, [docs], progress=lambda *told: seen.append(told))
    assert (report.ok, report.added, engine.reads) == (True, 3, 3)
    assert index.get("photo.png#0").text == "penguin penguin penguin"
    assert index.get("scan.pdf#1").metadata["page"] == 2
    stored = index.pages.get(file_hash(docs / "scan.pdf"), 2)
    assert stored is not None
    assert (stored.origin, stored.text, len(stored.boxes)) == ("ocr", "penguin penguin", 2)
    told = [(done, total) for phase, done, total in seen if phase == "ocr"]
    assert told[-1] == (3, 3)
    assert told == sorted(told)


def test_what_was_read_is_not_read_again(index: Index, tmp_path: Path, engine: Stencil) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    scan(docs / "scan.pdf", 1, 2)
    ingest(index, [docs])
    ingest(index, [docs])
    (docs / "scan.pdf").rename(docs / "renamed.pdf")
    report = ingest(index, [docs], prune=True)
    assert (report.added, report.vanished, engine.reads) == (2, ("scan.pdf",), 2)


def test_an_interrupted_run_keeps_the_pages_it_read(index: Index, tmp_path: Path, engine: Stencil) -> None:
    path = scan(tmp_path / "scan.pdf", *range(1, 9))

    def stop(phase: str, done: int, _total: int | None) -> None:
        if phase == "ocr" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(index, [path], progress=stop)
    kept = [n for n in range(1, 9) if (page := index.pages.get(file_hash(path), n)) is not None and page.text]
    before = engine.reads
    assert ingest(index, [path]).added == 8
    assert 3 <= len(kept) <= 4
    assert engine.reads - before == 8 - len(kept)


def test_a_page_that_ocr_fails_on_is_reported_and_the_others_are_indexed(
    index: Index, tmp_path: Path, pdf: Any, engine: Stencil
) -> None:
    path = pdf.text(tmp_path / "mixed.pdf", [["Penguins dive."]])
    image = scan(tmp_path / "scan.pdf", 2)
    engine.fails = True
    report = ingest(index, [path, image])
    assert [(note.source, note.reason) for note in report.failed] == [
        ("scan.pdf", "page 1: OCR took longer than 1 seconds")
    ]
    assert report.added == 1


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_it_is_said_what_to_install(index: Index, tmp_path: Path, pdf: Any) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    picture(3).save(docs / "photo.webp")
    scan(docs / "scan.pdf", 1)
    pdf.text(docs / "text.pdf", [["Penguins dive."]])
    report = ingest(index, [docs])
    notes = {note.source: note.reason for note in report.skipped}
    assert (report.ok, report.added) == (True, 1)
    assert notes["photo.webp"].startswith("an image: to read it, pip install 'latefold[ocr]'")
    assert notes["scan.pdf"].startswith("no text layer (scanned?): to read it")
    with Index.create(tmp_path / "other") as other:
        off = ingest(other, [docs], IngestOptions(ocr="off"))
    assert {note.source: note.reason for note in off.skipped}["photo.webp"] == "an image"


def test_an_engine_that_comes_later_reads_what_was_left(index: Index, tmp_path: Path, monkeypatch: Any) -> None:
    path = scan(tmp_path / "scan.pdf", 1)
    monkeypatch.setattr(sources, "find_engine", lambda *_, **__: None)
    assert ingest(index, [path]).added == 0
    monkeypatch.setattr(sources, "find_engine", lambda *_, **__: Stencil())
    assert ingest(index, [path]).added == 1


def test_another_engine_reads_again_and_another_version_does_not(
    index: Index, tmp_path: Path, engine: Stencil, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scan(tmp_path / "scan.pdf", 1, 2)
    ingest(index, [path])
    for name, reads in (("stencil 2", 2), ("template 1", 4), ("template 1", 4)):
        monkeypatch.setattr(engine, "name", name)
        ingest(index, [path])
        assert engine.reads == reads


def test_the_pages_of_a_lost_store_are_read_again(index: Index, tmp_path: Path, engine: Stencil, pdf: Any) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    pdf.text(docs / "text.pdf", [["Penguins dive."]])
    scan(docs / "scan.pdf", 1)
    (docs / "bread.txt").write_text("Bread is baked.")
    ingest(index, [docs])
    (index.path / PAGES).unlink()
    assert ingest(index, [docs], dry_run=True).unchanged_files == 3
    report = ingest(index, [docs])
    assert (report.unchanged_files, report.unchanged, report.updated, engine.reads) == (1, 2, 0, 2)
    assert index.pages.count() == 2
    assert ingest(index, [docs]).unchanged_files == 3


def test_a_file_whose_name_is_not_text_has_a_place(index: Index, tmp_path: Path, pdf: Any) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.pdf"))
    try:
        pdf.text(path, [["Penguins dive."]])
    except OSError:
        pytest.skip("this file system takes no such names")
    report = ingest(index, [path])
    assert (report.ok, report.added) == (True, 1)
    assert index.pages.place(file_hash(path)) == (path, "pdf")


def test_a_large_sheet_is_read_at_a_lower_resolution(index: Index, tmp_path: Path, engine: Stencil) -> None:
    path = tmp_path / "poster.pdf"
    picture(4).save(path, resolution=9)  # 2400 x 3200 points
    report = ingest(index, [path])
    assert (report.ok, report.added, engine.reads) == (True, 1, 1)
    assert index.get("poster.pdf#0").text == "penguin penguin penguin penguin"


def test_a_page_that_cannot_be_drawn_is_said_and_keeps_its_text(tmp_path: Path, pdf: Any) -> None:
    path = pdf.text(tmp_path / "docs.pdf", [["Penguins dive."]])
    options = IngestOptions(page_images=True, image_pixels=300)
    ledger = Ledger(lambda _: None, ())
    with Extractor(30, 1536 << 20) as extractor:
        (passage,) = PageReader(options, extractor, ledger, None, 1).passages(path, Kind.PDF, "docs.pdf", "f")
        path.write_bytes(b"%PDF-1.4\nnothing here")
        assert passage.image is not None
        pixels = passage.image.load()
    assert [pixels.shape[1], pixels.shape[0]] == passage.metadata["page_image"]
    assert (pixels == 255).all()
    assert passage.text == "Penguins dive."
    ((source, reason),) = [(note.source, note.reason) for note in ledger.failed]
    assert source == "docs.pdf"
    assert reason.startswith("page 1 is indexed as an empty one, since it cannot be drawn: not a readable PDF")


def test_a_dry_run_reads_nothing_by_ocr_and_writes_nothing(index: Index, tmp_path: Path, engine: Stencil) -> None:
    path = scan(tmp_path / "scan.pdf", 1)
    report = ingest(index, [path], dry_run=True)
    assert (engine.reads, index.pages.exists) == (0, False)
    assert [note.reason for note in report.skipped] == ["no text layer (scanned?): a dry run runs no OCR"]
    ingest(index, [path])
    assert ingest(index, [path], dry_run=True).unchanged_files == 1


def test_copies_of_a_file_are_indexed_once(index: Index, tmp_path: Path, pdf: Any) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    pdf.text(docs / "b.pdf", [["Penguins dive."]])
    ingest(index, [docs])
    for name in ("a.pdf", "c.pdf"):
        (docs / name).write_bytes((docs / "b.pdf").read_bytes())
    report = ingest(index, [docs])
    assert {note.source: note.reason for note in report.skipped} == dict.fromkeys(
        ("a.pdf", "c.pdf"), "the same content as b.pdf"
    )
    (docs / "b.pdf").unlink()
    report = ingest(index, [docs], prune=True)
    assert (report.added, report.vanished) == (1, ("b.pdf",))
    assert index.ids() == ["a.pdf#0"]


def test_pages_of_vanished_files_leave_with_optimize(index: Index, tmp_path: Path, pdf: Any) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    pdf.text(docs / "a.pdf", [["Penguins dive."]])
    pdf.text(docs / "b.pdf", [["Owls hunt."], ["At night."]])
    ingest(index, [docs])
    assert index.stats().bytes["pages"] > 0
    (docs / "b.pdf").unlink()
    ingest(index, [docs], prune=True)
    index.optimize()
    assert index.pages.count() == 1


def test_the_size_of_a_picture_is_known_before_it_is_drawn(tmp_path: Path, pdf: Any) -> None:
    paths = [(pdf.text(tmp_path / "a.pdf", [["Penguins."]]), Kind.PDF)]
    for number, size in enumerate([(300, 400), (2000, 900), (1537, 1536), (97, 1201)]):
        paths.append((tmp_path / f"{number}.png", Kind.IMAGE))
        Image.new("RGB", size, "white").save(paths[-1][0])
    options = IngestOptions(page_images=True)
    with Extractor(30, 1536 << 20) as extractor:
        reader = PageReader(options, extractor, ledger=None, engine=None, workers=1)  # type: ignore[arg-type]
        for path, kind in paths:
            (passage,) = reader.passages(path, kind, path.name, "f")
            assert passage.image is not None
            height, width, _ = passage.image.load().shape
            assert passage.metadata["page_image"] == [width, height]
            assert passage.whole
