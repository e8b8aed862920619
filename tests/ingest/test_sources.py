from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.ingest.options import IngestOptions
from latefold.ingest.readers import first_heading
from latefold.ingest.sources import SourceReader, read_sources
from latefold.ingest.walk import scan
from latefold.retrieval.types import Document

PROSE = " ".join(f"Sentence number {i} is about retrieval with several vectors." for i in range(120))


def read(*paths: Path, **options: Any) -> dict[str, list[Document]]:
    chosen = IngestOptions(**options)
    with SourceReader(chosen) as reader:
        found = {source.name: list(source.documents) for source in read_sources(scan(paths, chosen), reader)}
        assert not reader.failed
        assert not reader.skipped
    return found


def write_one_of_each(folder: Path, pdf: Any) -> None:
    (folder / "sub").mkdir()
    (folder / "plain.txt").write_bytes(PROSE.replace(". ", ".\r\n").encode("utf-16"))
    (folder / "sub" / "notes.md").write_text(
        f"---\ntitle: no\n---\n```\n# no\n```\nTop\n===\n\n{PROSE}\n\n## Two\n\n{PROSE}"
    )
    (folder / "page.html").write_text(
        "<html><head><title>A page</title></head><body>"
        + "".join(f"<p>{part}.</p>" for part in PROSE.split(". "))
        + "</body></html>"
    )
    lines = [PROSE[i : i + 80] for i in range(0, 2400, 80)]
    pdf.text(folder / "paper.pdf", [lines, lines[::-1]], "A fine paper")
    with (folder / "records.jsonl").open("w") as file:
        file.write(json.dumps({"_id": "long", "title": "Long", "text": PROSE, "year": 2001}) + "\n")
        file.write(json.dumps({"text": "short"}) + "\n" + json.dumps({"title": "only a title", "text": ""}) + "\n")
    with (folder / "table.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["id", "text", "lang"], ["c1", "quoted\nline", "en"], ["c2", PROSE, "de"]])


def test_chunks_are_at_their_offsets_in_files_of_all_kinds(tmp_path: Path, pdf: Any) -> None:
    write_one_of_each(tmp_path, pdf)
    found = scan([tmp_path])
    assert len({file.kind for file in found.files}) == 6
    options = IngestOptions(chunk_tokens=64)
    with SourceReader(options) as reader, SourceReader(options) as other:
        for file in found.files:
            passages = list(other.passages(file, file.relative))
            documents = list(reader.documents(file, file.relative))
            assert len(documents) > len(passages)
            for document in documents:
                place = document.metadata
                candidates = [p for p in passages if p.page == place.get("page") and document.id.startswith(p.id or "")]
                assert any(p.text[place["start"] : place["end"]] == document.text for p in candidates)
                assert place["source"] == file.relative
            ids = [document.id for document in documents]
            assert len(set(ids)) == len(ids)


def test_ids_titles_and_metadata(tmp_path: Path, pdf: Any) -> None:
    write_one_of_each(tmp_path, pdf)
    found = read(tmp_path)
    assert [document.id for document in found["plain.txt"]] == [
        f"plain.txt#{n}" for n in range(len(found["plain.txt"]))
    ]
    titles = {name: documents[0].title for name, documents in found.items()}
    assert titles == {
        "plain.txt": "plain.txt",
        "sub/notes.md": "Top",
        "page.html": "A page",
        "paper.pdf": "A fine paper",
        "records.jsonl": "Long",
        "table.csv": "",
    }
    paper = found["paper.pdf"]
    assert {document.metadata["page"] for document in paper} == {1, 2}
    assert [document.id for document in paper] == [f"paper.pdf#{n}" for n in range(len(paper))]
    records = {document.id: document for document in found["records.jsonl"]}
    assert list(records)[:2] == ["long#0", "long#1"]
    assert list(records)[-2:] == ["records.jsonl#2", "records.jsonl#3"]
    assert records["long#1"].metadata["year"] == 2001
    assert records["records.jsonl#3"].title == "only a title"
    assert found["table.csv"][0].id == "c1"
    assert found["table.csv"][1].metadata["lang"] == "de"


def test_beir_documents_are_whole_and_keep_their_ids(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "query"}\n')
    rows = [{"_id": str(i), "title": f"T{i}", "text": f" {PROSE}\r\n", "metadata": {"url": "u"}} for i in range(3)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    documents = read(tmp_path)["corpus.jsonl"]
    assert [document.id for document in documents] == ["0", "1", "2"]
    assert documents[1] == Document("1", f" {PROSE}\r\n", "T1", {"url": "u", "source": "corpus.jsonl"})


def test_a_real_beir_collection(shared_data: Path) -> None:
    with SourceReader() as reader:
        (source,) = read_sources(scan([shared_data / "cranfield"]), reader)
        documents = list(source.documents)
    lines = [json.loads(line) for line in (shared_data / "cranfield" / "corpus.jsonl").read_text().splitlines()]
    assert [document.id for document in documents] == [
        line["_id"] for line in lines if line["text"].strip() or line["title"].strip()
    ]
    assert [note.reason for note in reader.skipped] == ["a record with neither text nor title"] * 2


def test_real_pdfs_keep_their_pages(shared_data: Path) -> None:
    (documents,) = read(shared_data / "financebench-mini" / "pdfs" / "ULTABEAUTY_2023Q4_EARNINGS.pdf").values()
    assert documents[0].metadata["page"] == 1
    assert max(document.metadata["page"] for document in documents) > 3
    assert len({document.id for document in documents}) == len(documents)


def test_files_without_text_are_skipped_and_broken_parts_reported(tmp_path: Path, pdf: Any) -> None:
    (tmp_path / "blank.txt").write_text(" \n\t\n")
    (tmp_path / "blank.html").write_text("<html><body></body></html>")
    pdf.text(tmp_path / "scan.pdf", [[], []])
    (tmp_path / "late.bin.txt").write_bytes(b"text " * 20_000 + b"\0" * 20_000)
    (tmp_path / "bad.jsonl").write_text('{"text": "x", "id": "a"}\n' * 2 + "nonsense\n" * 30)
    (tmp_path / "none.jsonl").write_text('{"text": "", "id": "b"}\n')
    with SourceReader() as reader:
        found = {source.name: list(source.documents) for source in read_sources(scan([tmp_path]), reader)}
    assert {name: len(documents) for name, documents in found.items() if documents} == {"bad.jsonl": 1}
    skipped = {note.source: note.reason for note in reader.skipped}
    assert skipped == {
        "blank.txt": "no text: only white space",
        "blank.html": "no text on the page",
        "scan.pdf": "no text on its pages",
        "late.bin.txt": "unsupported type: binary file",
        "none.jsonl:1": "a record with neither text nor title",
        "none.jsonl": "no records that can be read",
    }
    failed = [(note.source, note.reason) for note in reader.failed]
    assert failed[0] == ("bad.jsonl:2", "the id 'a' is taken by a record of bad.jsonl: ids must be unique")
    assert failed[1][0] == "bad.jsonl:3"
    assert failed[-1] == ("bad.jsonl", "11 more records cannot be read")
    assert len(failed) == 21


def test_sources_that_are_known_are_left_out_until_something_changes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")

    def changed(**options: Any) -> list[str]:
        chosen = IngestOptions(**options)
        with SourceReader(chosen) as reader:
            return [source.name for source in read_sources(scan([tmp_path], chosen), reader, known=known)]

    known: dict[str, str] = {}
    with SourceReader() as reader:
        known = {source.name: source.content_hash for source in read_sources(scan([tmp_path]), reader)}
    assert changed() == []
    assert changed(chunk_tokens=128) == ["a.txt", "b.txt"]
    (tmp_path / "b.txt").write_text("two!")
    assert changed() == ["b.txt"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from(["a.txt", "a.md", "a.csv", "a.jsonl", "a"]), st.binary(min_size=1, max_size=400))
def test_any_bytes_are_read_or_given_a_reason(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    found = scan([path])
    with SourceReader() as reader:
        for source in read_sources(found, reader):
            documents: list[Document] = []
            with suppress(InvalidInputError):  # "%PDF-" begins a PDF, and this one is broken
                documents += source.documents
            for document in documents:
                json.dumps(dict(document.metadata), allow_nan=False)
                assert "\0" not in document.text + document.id + document.title
                (document.text + document.id + document.title).encode("utf-8")
    assert len(found.files) + len(found.skipped) == 1


@pytest.mark.parametrize(
    ("text", "heading"),
    [
        ("# One\n# Two", "One"),
        ("intro\n\n## Some *text* ##\n", "Some *text*"),
        ("Setext\n======\n", "Setext"),
        ("Setext\n---\n", "Setext"),
        ("---\ntitle: x\n---\n\n# Real", "Real"),
        ("~~~\n# code\n~~~\n# Real", "Real"),
        ("```\n# never closed", ""),
        ("#hashtag\n\n---\n", ""),
        ("", ""),
    ],
)
def test_first_heading(text: str, heading: str) -> None:
    assert first_heading(text) == heading
