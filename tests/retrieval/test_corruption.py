"""A damaged index is refused with an error that names the file: never a crash, a hang or a clean verification."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from damage import CATALOG, array_files, copy_of, dump, examine, sample_index
from workload import contents, create
from zygote import Zygote

from latefold import Index
from latefold.encoders.errors import FormatVersionError, IndexCorruptedError, IndexNotFoundError
from latefold.index.storage.catalog import transaction
from latefold.index.storage.commit import append_segment
from latefold.index.storage.format import FORMAT_VERSION
from latefold.index.storage.segments import Segment, write_segment

MOST_MEMORY_KIB = 1 << 20


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "index"
    sample_index(path)
    return path


def damaged(zygote: Zygote, base: Path, path: Path, kind: str, seeds: range) -> list[dict[str, Any]]:
    """What was said of each damaged copy. The child's survival is part of the test: a signal would end it."""
    child = zygote.start("examine_damaged", base=base, path=path, kind=kind, seeds=list(seeds))
    reports = list(child.reports())
    assert child.status == 0, f"status {child.status} on {reports[-1]}"
    assert reports.pop()["peak_kib"] < MOST_MEMORY_KIB
    return [report for report in reports if "how" in report]


def check_arrays(reports: list[dict[str, Any]]) -> None:
    for report in reports:
        said = report["open"] or report["verify"]
        assert said is not None, report
        assert any(name in said[1] for name in report["files"]), report


def check_catalogs(reports: list[dict[str, Any]]) -> None:
    """Some bytes of a database file mean nothing (free space, reserved fields): then all it says is unchanged."""
    for report in reports:
        said = report["open"] or report["verify"]
        assert (report["same"] is True) if said is None else (CATALOG in said[1]), report


def test_damaged_arrays(zygote: Zygote, base: Path, ram_path: Path) -> None:
    reports = damaged(zygote, base, ram_path / "copy", "arrays", range(80))
    check_arrays(reports)
    assert {name for report in reports for name in report["files"]} == {path.name for path in array_files(base)}


def test_damaged_catalogs(zygote: Zygote, base: Path, ram_path: Path) -> None:
    reports = damaged(zygote, base, ram_path / "copy", "catalog", range(80))
    check_catalogs(reports)
    assert sum(report["same"] is None for report in reports) > len(reports) / 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_damaged_arrays_by_the_thousand(zygote: Zygote, base: Path, ram_path: Path) -> None:
    for start in range(1000, 6000, 500):
        check_arrays(damaged(zygote, base, ram_path / "copy", "arrays", range(start, start + 500)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_damaged_catalogs_by_the_thousand(zygote: Zygote, base: Path, ram_path: Path) -> None:
    for start in range(1000, 6000, 500):
        check_catalogs(damaged(zygote, base, ram_path / "copy", "catalog", range(start, start + 500)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_byte_of_every_array_file_counts(base: Path, ram_path: Path) -> None:
    for target in array_files(base):
        data = target.read_bytes()
        for place in range(len(data)):
            copy = copy_of(base, ram_path / "copy")
            (copy / target.relative_to(base)).write_bytes(
                data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
            )
            said = examine(copy)
            assert target.name in (said["open"] or said["verify"])[1], (target.name, place)


@pytest.mark.parametrize("name", ["rows.bin", "offsets.bin", "tokens.bin", "fine.bin", "vectors.bin", "factors.bin"])
def test_an_array_of_a_newer_version(base: Path, ram_path: Path, name: str) -> None:
    copy = copy_of(base, ram_path / "copy")
    target = next(path for path in array_files(copy) if path.name == name)
    data = bytearray(target.read_bytes())
    struct.pack_into("<H", data, 4, FORMAT_VERSION + 1)
    target.write_bytes(data)
    with pytest.raises(FormatVersionError, match=rf"{name} has format version {FORMAT_VERSION + 1}.*upgrade"):
        Index.open(copy)


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path / CATALOG, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_catalog_of_a_newer_version(base: Path, ram_path: Path) -> None:
    copy = copy_of(base, ram_path / "copy")
    execute(copy, "PRAGMA user_version = 3")
    with pytest.raises(
        FormatVersionError, match=rf"{CATALOG} of copy has format version {FORMAT_VERSION + 1}.*upgrade"
    ):
        Index.open(copy)


@pytest.mark.parametrize("version", [0, -1])
def test_a_catalog_of_no_version(base: Path, ram_path: Path, version: int) -> None:
    copy = copy_of(base, ram_path / "copy")
    execute(copy, f"PRAGMA user_version = {version}")
    with pytest.raises(IndexCorruptedError, match=CATALOG):
        Index.open(copy)


@pytest.mark.parametrize("emptied", [True, False])
def test_an_index_without_its_catalog_is_neither_opened_nor_made_anew(
    base: Path, ram_path: Path, emptied: bool
) -> None:
    copy = copy_of(base, ram_path / "copy")
    (copy / CATALOG).unlink()
    if emptied:
        (copy / CATALOG).touch()
    with pytest.raises(IndexCorruptedError, match=CATALOG):
        Index.open(copy)
    with pytest.raises(IndexCorruptedError, match=CATALOG):
        create(copy)
    assert len(array_files(copy)) == len(array_files(base))


def test_a_folder_that_never_became_an_index(ram_path: Path) -> None:
    (ram_path / CATALOG).touch()
    with pytest.raises(IndexNotFoundError, match="never finished"):
        Index.open(ram_path)
    create(ram_path).close()
    Index.open(ram_path).close()


SETTINGS = {
    "a setting": "UPDATE meta SET value = '9' WHERE key = 'dim'",
    "a missing setting": "DELETE FROM meta WHERE key = 'config'",
    "a broken setting": "UPDATE meta SET value = '{' WHERE key = 'config'",
    "a missing seal": "DELETE FROM meta WHERE key = 'seal'",
    "a commit that is no text": "UPDATE meta SET value = x'00ff' WHERE key = 'commit'",
    "a file size": "UPDATE files SET size = size + 1",
    "a file checksum": "UPDATE files SET checksum = replace(checksum, 'a', 'b')",
    "a segment": "DELETE FROM segments WHERE position = (SELECT min(position) FROM segments)",
    "a segment's id": "UPDATE segments SET id = x'00' WHERE position = (SELECT min(position) FROM segments)",
    "a trigger": "DROP TRIGGER documents_delete",
    "a table": "CREATE TABLE more (value)",
}
CONTENTS = {
    "a text": "UPDATE documents SET text = 'forged' WHERE id = 'a1'",
    "a title": "UPDATE documents SET title = 'forged' WHERE id = 'a1'",
    "a text that is no text": "UPDATE documents SET text = x'ff00' WHERE id = 'a1'",
    "metadata": "UPDATE documents SET metadata = '{}' WHERE id = 'a1'",
    "metadata that is no JSON": "UPDATE documents SET metadata = '{' WHERE id = 'a1'",
    "an id": "UPDATE documents SET id = 'a100' WHERE id = 'a1'",
    "a document": "DELETE FROM documents WHERE id = 'a1'",
    "a document's row": "UPDATE documents SET row = 1000 WHERE id = 'a1'",
    "a tombstone": "DELETE FROM tombstones",
    "a tombstone too many": "INSERT INTO tombstones SELECT row FROM documents WHERE id = 'a1'",
    "a source's hash": "UPDATE sources SET content_hash = 'forged' WHERE name = 'a.txt'",
    "a source's name": "UPDATE sources SET name = 'forged' WHERE name = 'a.txt'",
    "a word of the full text": "INSERT INTO fulltext(rowid, title, text) VALUES (1, 'forged', 'forged')",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_forged_settings_are_refused_when_opened(base: Path, ram_path: Path, name: str) -> None:
    copy = copy_of(base, ram_path / "copy")
    execute(copy, SETTINGS[name])
    with pytest.raises(IndexCorruptedError, match=CATALOG):
        Index.open(copy)


@pytest.mark.parametrize("name", CONTENTS)
def test_forged_contents_are_refused_by_verify(base: Path, ram_path: Path, name: str) -> None:
    copy = copy_of(base, ram_path / "copy")
    execute(copy, CONTENTS[name])
    said = examine(copy)
    assert said["open"] is None
    assert said["verify"][0] == "IndexCorruptedError"
    assert CATALOG in said["verify"][1]


def test_a_segment_of_another_codec_is_refused(base: Path, ram_path: Path) -> None:
    """A kernel would read beyond its rows."""
    copy = copy_of(base, ram_path / "copy")
    with Index.open(copy) as index:
        one = index._session.snapshot.segments[0]
        narrow = Segment(one.rows + 1000, one.offsets, one.tokens[:, :-1], one.vectors)
        with transaction(copy) as connection:
            append_segment(connection, write_segment(copy, narrow))
    with pytest.raises(IndexCorruptedError, match=r"tokens\.bin"):
        Index.open(copy)


def test_another_index_s_catalog(base: Path, ram_path: Path) -> None:
    sample_index(ram_path / "other")
    copy = copy_of(base, ram_path / "copy")
    shutil.copy(ram_path / "other" / CATALOG, copy / CATALOG)
    with pytest.raises(IndexCorruptedError, match="is missing"):
        Index.open(copy)


def test_a_write_into_a_damaged_index_is_refused(base: Path, ram_path: Path) -> None:
    copy = copy_of(base, ram_path / "copy")
    with Index.open(copy) as index:
        execute(copy, CONTENTS["a document"], SETTINGS["a commit that is no text"])
        with pytest.raises(IndexCorruptedError, match=CATALOG):
            index.delete(["a2"])


def left_by_a_killed_writer(zygote: Zygote, path: Path) -> Path:
    """An index whose last commits are in its write-ahead log alone."""
    create(path).close()
    child = zygote.start("random_operations", path=path, seed=5, model={})
    for report in child.reports():
        if report.get("acknowledged") == 12:
            child.kill()
    log = path / f"{CATALOG}-wal"
    assert log.stat().st_size > 0
    return log


def test_a_damaged_log_never_gives_a_mixed_state(zygote: Zygote, ram_path: Path) -> None:
    """SQLite takes a log up to the first frame that is wrong: what opens is a whole earlier commit, or nothing.

    Segments that merges have removed since then are missing, which is said.
    """
    log = left_by_a_killed_writer(zygote, ram_path / "index")
    data = log.read_bytes()
    outcomes = set()
    for place in range(0, len(data), max(1, len(data) // 24)):
        copy = copy_of(ram_path / "index", ram_path / "copy")
        broken = bytearray(data)
        broken[place] ^= 0x40
        (copy / log.name).write_bytes(broken)
        said = examine(copy)
        outcomes.add("refused" if said["open"] or said["verify"] else "earlier")
        if said["open"] is None and said["verify"] is None:
            with Index.open(copy) as index:
                contents(index)
    assert "earlier" in outcomes


def test_the_log_s_own_index_is_not_needed(zygote: Zygote, ram_path: Path) -> None:
    log = left_by_a_killed_writer(zygote, ram_path / "index")
    shared = log.with_name(f"{CATALOG}-shm")
    with Index.open(copy_of(ram_path / "index", ram_path / "sound")) as index:
        expected = contents(index)
    for damage in (os.unlink, lambda path: path.write_bytes(b"\xff" * 32768), lambda path: path.write_bytes(b"")):
        copy = copy_of(ram_path / "index", ram_path / "copy")
        damage(copy / shared.name)
        with Index.open(copy) as index:
            assert contents(index) == expected
            index.verify()


def test_dump_tells_indexes_apart(base: Path, ram_path: Path) -> None:
    copy = copy_of(base, ram_path / "copy")
    assert dump(copy) == dump(base)
    execute(copy, CONTENTS["metadata"])
    assert dump(copy) != dump(base)
