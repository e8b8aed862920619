from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latefold.encoders.errors import InvalidInputError, StorageError
from latefold.ingest.folder import IngestReport, ingest
from latefold.ingest.options import IngestOptions
from latefold.retrieval.index import Index


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "test.index", encoder="minilm-128", threads=1) as made:
        yield made


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "cats.txt").write_text("Cats sleep through most of the day.")
    (folder / "dogs.md").write_text("# Dogs\n\nDogs like long walks.")
    (folder / "birds.jsonl").write_text('{"_id": "tit", "text": "Tits sing."}\n{"_id": "owl", "text": "Owls hunt."}\n')
    return folder


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    return report.files, report.unchanged_files, report.added, report.updated, report.deleted


def test_a_folder_is_indexed_and_a_second_run_leaves_it_alone(index: Index, docs: Path) -> None:
    steps: list[tuple[str, int]] = []
    report = ingest(index, [docs], progress=lambda phase, done, _total: steps.append((phase, done)))
    assert report.ok
    assert counts(report) == (3, 0, 4, 0, 0)
    assert ("files", 3) in steps
    assert any(phase == "encode" for phase, _ in steps)
    hit = index.search("long walks", k=1)[0]
    assert (hit.id, hit.title, hit.source) == ("dogs.md#0", "Dogs", "dogs.md")
    generation = index.generation
    assert counts(ingest(index, [docs])) == (0, 3, 0, 0, 0)
    assert index.generation == generation
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_changed_files_are_read_again_and_only_what_changed_is_encoded(index: Index, docs: Path) -> None:
    ingest(index, [docs])
    (docs / "birds.jsonl").write_text('{"_id": "tit", "text": "Tits sing."}\n{"_id": "owl", "text": "Owls sleep."}\n')
    report = ingest(index, [docs])
    assert counts(report) == (1, 2, 0, 1, 0)
    assert report.unchanged == 1
    (docs / "birds.jsonl").write_text('{"_id": "tit", "text": "Tits sing."}\n')
    assert counts(ingest(index, [docs])) == (1, 2, 0, 0, 1)
    assert "owl" not in index


def test_vanished_files_are_reported_and_pruned_on_demand(index: Index, docs: Path) -> None:
    ingest(index, [docs])
    (docs / "cats.txt").unlink()
    report = ingest(index, [docs])
    assert (report.vanished, report.deleted, report.pruned) == (("cats.txt",), 0, False)
    assert "cats.txt#0" in index
    dry = ingest(index, [docs], prune=True, dry_run=True)
    assert (dry.vanished, dry.deleted) == (("cats.txt",), 1)
    assert "cats.txt#0" in index
    report = ingest(index, [docs], prune=True)
    assert (report.vanished, report.deleted) == (("cats.txt",), 1)
    assert "cats.txt#0" not in index
    assert ingest(index, [docs]).vanished == ()


def test_files_that_cannot_be_read_are_reported_and_keep_their_documents(index: Index, docs: Path, pdf: Any) -> None:
    pdf.text(docs / "paper.pdf", [["A page about penguins."]])
    ingest(index, [docs])
    pdf.encrypted(docs / "paper.pdf")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.4 nothing more")
    (docs / "birds.jsonl").write_text('{"_id": "tit", "text": "Tits fly."}\n{broken\n')
    (docs / "photo.gif").write_bytes(b"GIF89a\0\0")
    (docs / "empty.txt").touch()
    report = ingest(index, [docs])
    assert not report.ok
    failed = {note.source: note.reason for note in report.failed}
    assert failed.pop("birds.jsonl:2").startswith("not valid JSON")
    assert failed.pop("bad.pdf").startswith("not a readable PDF")
    assert failed == {"paper.pdf": "the PDF is encrypted: save it without a password"}
    assert {note.source: note.reason for note in report.skipped} == {
        "empty.txt": "empty file",
        "photo.gif": "unsupported type: GIF image",
    }
    assert index.get("paper.pdf#0").text == "A page about penguins."
    assert index.get("tit").text == "Tits fly."
    assert [note.source for note in ingest(index, [docs]).failed] == ["bad.pdf", "paper.pdf"]


def test_ids_of_records_are_not_taken_from_other_files(index: Index, docs: Path) -> None:
    ingest(index, [docs])
    (docs / "more.jsonl").write_text('{"_id": "owl", "text": "Another owl."}\n{"_id": "new", "text": "New."}\n')
    report = ingest(index, [docs])
    assert [(note.source, note.reason) for note in report.failed] == [
        ("more.jsonl:1", "the id 'owl' is taken by a record of birds.jsonl: ids must be unique")
    ]
    assert index.get("owl").text == "Owls hunt."
    assert "new" in index


def test_a_renamed_file_of_records_keeps_its_documents(index: Index, docs: Path) -> None:
    ingest(index, [docs])
    (docs / "birds.jsonl").rename(docs / "flyers.jsonl")
    report = ingest(index, [docs], prune=True)
    assert report.ok
    assert report.vanished == ("birds.jsonl",)
    assert index.get("owl").text == "Owls hunt."
    assert set(index.sources()) == {"cats.txt", "dogs.md", "flyers.jsonl"}


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02}.txt").write_text(f"Text number {i}.")
    from latefold.retrieval.config import IndexConfig

    config = IndexConfig(batch_documents=8)

    def stop(phase: str, done: int, _total: int | None) -> None:
        if phase == "files" and done == 30:
            raise StorageError("the power went out")

    with Index.create(tmp_path / "many.index", encoder="minilm-128", threads=1, config=config) as index:
        with pytest.raises(StorageError):
            ingest(index, [folder], progress=stop)
        committed = len(index)
        assert 0 < committed < 40
        report = ingest(index, [folder])
        assert report.unchanged_files + report.files == 40
        assert report.unchanged_files >= committed - 8
        assert len(index) == 40


def test_a_dry_run_says_what_would_happen(index: Index, docs: Path) -> None:
    report = ingest(None, [docs], dry_run=True)
    assert counts(report) == (3, 0, 4, 0, 0)
    assert report.dry_run
    ingest(index, [docs])
    (docs / "birds.jsonl").write_text('{"_id": "tit", "text": "Tits sing."}\n{"_id": "jay", "text": "Jays."}\n')
    (docs / "dogs.md").write_text("# Dogs\n\nDogs bark.")
    generation = index.generation
    dry = ingest(index, [docs], dry_run=True)
    assert (counts(dry), dry.unchanged) == ((2, 1, 1, 1, 1), 1)
    assert index.generation == generation
    assert counts(ingest(index, [docs])) == counts(dry)


def test_several_folders_feed_one_index(index: Index, docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "cats.txt").write_text("Other cats hunt mice.")
    ingest(index, [docs])
    ingest(index, [other])
    assert index.get("other//cats.txt#0").text == "Other cats hunt mice."
    assert index.get("cats.txt#0").text == "Cats sleep through most of the day."
    assert ingest(index, [other, docs]).unchanged_files == 4


def test_without_an_index_only_a_dry_run_works(docs: Path) -> None:
    with pytest.raises(InvalidInputError, match="dry run"):
        ingest(None, [docs])
    with pytest.raises(InvalidInputError, match="exists"):
        ingest(None, [docs / "missing"], IngestOptions(), dry_run=True)
