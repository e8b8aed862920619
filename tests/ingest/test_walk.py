from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.ingest.naming import name_sources
from latefold.ingest.options import IngestOptions, Kind
from latefold.ingest.sources import Digests, SourceReader
from latefold.ingest.walk import scan


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")


def names(*paths: Path, **options: object) -> list[str]:
    return [file.relative for file in scan(paths, IngestOptions(**options)).files]  # type: ignore[arg-type]


def test_order_is_fixed_and_junk_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "a/z.md", "a/b.txt", "a-b.txt", ".hidden", ".git/x.txt", "node_modules/x.txt")
    write(tmp_path, "__pycache__/x.txt", "env/pyvenv.cfg", "env/x.txt", "my.index/catalog.sqlite", "my.index/x.txt")
    found = scan([tmp_path])
    assert [file.relative for file in found.files] == ["a-b.txt", "a/b.txt", "a/z.md", "b.txt"]
    assert not found.skipped
    assert not found.failed
    assert found.files[0].size == len("text of a-b.txt")
    assert found.bytes == sum(file.size for file in found.files)


def test_what_is_asked_for_by_name_is_read(tmp_path: Path) -> None:
    write(tmp_path, ".hidden/.x", "node_modules/x.txt")
    assert sorted(names(tmp_path / ".hidden" / ".x", tmp_path / "node_modules")) == [".x", "x.txt"]


def test_globs(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "b.txt", "docs/c.md", "docs/deep/d.md", "build/e.md")
    assert names(tmp_path, include=["*.md"]) == ["a.md", "build/e.md", "docs/c.md", "docs/deep/d.md"]
    assert names(tmp_path, include=["docs/*.md"]) == ["docs/c.md", "docs/deep/d.md"]
    assert names(tmp_path, exclude=["build", "*.txt"]) == ["a.md", "docs/c.md", "docs/deep/d.md"]
    assert names(tmp_path, include=["*.md"], exclude=["docs/deep/*"]) == ["a.md", "build/e.md", "docs/c.md"]


def test_reasons_for_leaving_files_out(tmp_path: Path) -> None:
    write(tmp_path, "ok.txt")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "photo.gif").write_bytes(b"GIF89a\0\0")
    (tmp_path / "big.txt").write_text("x" * 3_000_000)
    (tmp_path / "big.jsonl").write_text('{"text": "x"}\n' * 200_000)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    found = scan([tmp_path], IngestOptions(max_file_bytes=1 << 20))
    assert [file.relative for file in found.files] == ["big.jsonl", "ok.txt"]
    reasons = {note.relative: note.reason for note in found.skipped}
    assert reasons.pop("nowhere").startswith("a link that leads nowhere")
    assert reasons == {
        "empty.txt": "empty file",
        "photo.gif": "unsupported type: GIF image",
        "big.txt": "2.9 MiB is more than the limit of 1 MiB for text files",
        "pipe": "not a regular file",
    }
    assert json.loads(json.dumps(found.to_dict()))["kinds"] == {"jsonl": 1, "text": 1}


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(root, "z/file.txt")
    write(outside, "other.txt")
    (root / "z" / "loop").symlink_to(root)
    (root / "a").symlink_to(root / "z")
    (root / "b").symlink_to(outside)
    (outside / "back").symlink_to(root / "b")
    (root / "copy.txt").symlink_to(root / "z" / "file.txt")
    found = scan([root])
    assert [file.relative for file in found.files] == ["b/other.txt", "z/file.txt"]
    assert [note.relative for note in found.skipped] == ["copy.txt"]


def test_only_the_corpus_of_a_beir_folder_is_read(tmp_path: Path) -> None:
    write(tmp_path, "set/qrels/test.tsv", "set/notes.txt", "other/corpus.jsonl")
    for name in ("corpus", "queries"):
        (tmp_path / "set" / f"{name}.jsonl").write_text('{"_id": "1", "text": "x"}\n')
    found = scan([tmp_path])
    assert {file.relative: file.kind for file in found.files} == {
        "set/corpus.jsonl": Kind.BEIR,
        "other/corpus.jsonl": Kind.TEXT,
    }
    assert [note.relative for note in found.skipped] == ["set/notes.txt", "set/qrels", "set/queries.jsonl"]
    assert scan([tmp_path / "set" / "corpus.jsonl"]).files[0].kind is Kind.BEIR


def test_enclosed_roots_are_read_once(tmp_path: Path) -> None:
    write(tmp_path, "a/b.txt", "c.txt")
    found = scan([tmp_path / "a" / "b.txt", tmp_path / "a", tmp_path, tmp_path])
    assert [file.relative for file in found.files] == ["a/b.txt", "c.txt"]
    assert found.roots == (tmp_path, tmp_path / "a", tmp_path / "a" / "b.txt")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w") as file:  # noqa: PTH123 - a name in bytes
        file.write("<html><body>x</body></html>")
    assert names(tmp_path) == ["caf\\xe9.txt"]
    with SourceReader() as reader:
        assert [document.text for document in reader.documents(scan([tmp_path]).files[0], "x")] == ["x"]


def test_very_deep_folders(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(300):
        path /= "d"
    path.mkdir(parents=True)
    (path / "x.txt").write_text("x")
    assert len(names(tmp_path)) == 1


def test_a_missing_path_and_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="give a file or folder that exists"):
        scan([tmp_path / "missing"])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="neither a file nor a folder"):
        scan([tmp_path / "pipe"])
    with pytest.raises(InvalidInputError, match="chunk_tokens"):
        IngestOptions(chunk_tokens=5)
    with pytest.raises(InvalidInputError, match="list of globs"):
        IngestOptions(include="*.md")
    with pytest.raises(InvalidInputError, match="must be positive"):
        IngestOptions(max_file_bytes=0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of another kind")
def test_what_cannot_be_opened_has_failed_and_not_vanished() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        root = Path(name).resolve()
        root.chmod(0o755)
        write(root, "a.txt", "dir/b.txt", "ok.txt")
        digests = Digests(IngestOptions())
        named = name_sources(scan([root]), {}, digests.of).files
        known = {source.name: source.content_hash(digests.of(source.file) or "") for source in named}
        (root / "a.txt").chmod(0)
        (root / "dir").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # permissions do not bind root
        try:
            found = scan([root])
            vanished = name_sources(found, known, digests.of).vanished
        finally:
            os.seteuid(user)
            (root / "dir").chmod(0o700)
        assert sorted(note.relative for note in found.failed) == ["a.txt", "dir/"]
        assert [file.relative for file in found.files] == ["ok.txt"]
        assert vanished == ()
