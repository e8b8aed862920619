from __future__ import annotations

from pathlib import Path

from latefold.ingest.naming import Sources, name_sources
from latefold.ingest.options import IngestOptions
from latefold.ingest.sources import Digests
from latefold.ingest.walk import scan


def write(root: Path, **texts: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (root / f"{name}.txt").write_text(text)
    return root


class Ledgerless:
    """What an index remembers of its sources, and nothing else."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def run(self, *paths: Path, prune: bool = False, **options: object) -> Sources:
        chosen = IngestOptions(**options)  # type: ignore[arg-type]
        digests = Digests(chosen)
        sources = name_sources(scan(paths, chosen), self.known, digests.of)
        self.known |= {named.name: named.content_hash(digests.of(named.file) or "") for named in sources.files}
        if prune:
            self.known = {name: value for name, value in self.known.items() if name not in sources.vanished}
        return sources


def named(sources: Sources) -> list[str]:
    return [file.name for file in sources.files]


def test_names_are_paths_below_the_root(tmp_path: Path) -> None:
    write(tmp_path / "docs", a="1")
    write(tmp_path / "docs" / "sub", b="2")
    index = Ledgerless()
    assert named(index.run(tmp_path / "docs")) == ["a.txt", "sub/b.txt"]
    assert index.run(tmp_path / "docs").vanished == ()


def test_roots_with_equal_names_are_told_apart_and_keep_their_names_in_any_order(tmp_path: Path) -> None:
    one, two, three = (write(tmp_path / folder, a=folder) for folder in ("one", "two", "x/two"))
    index = Ledgerless()
    first = {file.file.path: file.name for file in index.run(one, two, three).files}
    assert first[one / "a.txt"] == "a.txt"
    assert first[two / "a.txt"] == "two//a.txt"
    assert first[three / "a.txt"].startswith("two~")
    assert {file.file.path: file.name for file in index.run(three, two, one).files} == first
    assert {file.file.path: file.name for file in index.run(two).files} == {two / "a.txt": "two//a.txt"}
    (one / "a.txt").unlink()
    assert index.run(one, prune=True).vanished == ("a.txt",)
    assert named(index.run(two)) == ["two//a.txt"]


def test_only_sources_of_scanned_roots_vanish(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", a="1", b="2"), write(tmp_path / "two", c="3", d="4")
    index = Ledgerless()
    index.run(one, two)
    (one / "a.txt").unlink()
    (two / "c.txt").unlink()
    assert index.run(one).vanished == ("a.txt",)
    assert index.run(two).vanished == ("c.txt",)
    assert index.run(one, two).vanished == ("a.txt", "c.txt")


def test_what_was_left_out_by_a_glob_has_not_vanished_but_what_became_unreadable_has(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", a="1", b="2", c="3")
    index = Ledgerless()
    index.run(docs)
    assert index.run(docs, include=["a*"]).vanished == ()
    (docs / "b.txt").write_bytes(b"")
    (docs / "c.txt").write_bytes(b"PK\x03\x04")
    assert index.run(docs).vanished == ("b.txt", "c.txt")


def test_a_part_of_a_known_root_keeps_its_names(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", a="1")
    sub = write(docs / "sub", b="2", c="3")
    index = Ledgerless()
    index.run(docs)
    before = dict(index.known)
    assert named(index.run(sub)) == ["sub/b.txt", "sub/c.txt"]
    assert named(index.run(docs / "a.txt", sub / "b.txt")) == ["a.txt", "sub/b.txt"]
    assert index.known == before
    (docs / "a.txt").unlink()
    (sub / "c.txt").unlink()
    assert index.run(sub).vanished == ("sub/c.txt",)
    assert index.run(sub / "b.txt").vanished == ()


def test_single_files_are_named_by_their_names(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", a="1"), write(tmp_path / "two", a="2")
    index = Ledgerless()
    assert named(index.run(one / "a.txt", two / "a.txt")) == ["a.txt", "two//a.txt"]
    assert named(index.run(two / "a.txt")) == ["two//a.txt"]


def test_a_folder_that_moved_is_recognised_by_its_content(tmp_path: Path) -> None:
    old = write(tmp_path / "old" / "docs", a="1", b="2", c="3")
    index = Ledgerless()
    index.run(old)
    new = write(tmp_path / "new" / "docs", a="1", b="2", c="changed", d="4")
    assert named(index.run(new)) == ["a.txt", "b.txt", "c.txt", "d.txt"]
    (new / "a.txt").unlink()
    assert index.run(new).vanished == ("a.txt",)


def test_a_folder_that_only_has_the_name_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "docs", license="same", readme="1", a="1")
    index = Ledgerless()
    index.run(one)
    two = write(tmp_path / "two" / "docs", license="same", readme="2", b="2")
    sources = index.run(two)
    assert named(sources) == ["b.txt", "docs//license.txt", "docs//readme.txt"]
    assert sources.vanished == ()


def test_sources_that_ingestion_did_not_make_are_left_alone(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", a="1")
    index = Ledgerless()
    index.known = {"a.txt": "hash of someone else", "gone.txt": "another"}
    sources = index.run(docs)
    assert named(sources) == ["docs//a.txt"]
    assert sources.vanished == ()
