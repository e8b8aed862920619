"""The catalog: one commit at a time, views that do not move, and a seal on what SQLite would not see changing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from catalogs import SEGMENTS, add, execute, record

from latefold.encoders.errors import (
    FormatVersionError,
    IndexCorruptedError,
    IndexNotFoundError,
    InvalidInputError,
)
from latefold.index.storage import catalog, commit, database
from latefold.index.storage.catalog import CatalogReader, transaction
from latefold.index.storage.format import CATALOG


def test_a_new_catalog(folder: Path) -> None:
    assert catalog.exists(folder)
    reader = CatalogReader(folder)
    assert (reader.generation, reader.count(), reader.meta("dim"), reader.meta("next_row")) == (0, 0, 4, 1)
    assert reader.meta("absent", 7) == 7
    assert reader.segments() == []
    assert reader.sources() == {}
    assert len(reader.tombstones()) == 0
    assert catalog.current_commit(folder) == reader.commit


def test_no_catalog(tmp_path: Path) -> None:
    assert not catalog.exists(tmp_path)
    with pytest.raises(IndexNotFoundError, match="latefold index"):
        CatalogReader(tmp_path)
    (tmp_path / CATALOG).touch()
    assert not catalog.exists(tmp_path)
    with pytest.raises(IndexNotFoundError, match="never finished"):
        CatalogReader(tmp_path)
    (tmp_path / CATALOG).write_bytes(b"no database at all" * 100)
    with pytest.raises(IndexCorruptedError, match=CATALOG):
        catalog.exists(tmp_path)
    with pytest.raises(IndexCorruptedError, match=CATALOG):
        CatalogReader(tmp_path)


def test_documents_come_back_by_row_id_and_filter(folder: Path) -> None:
    records = [record(i, source=f"s{i % 2}", title=f"title {i}") for i in range(1, 1201)]
    add(folder, *records)
    reader = CatalogReader(folder)
    assert reader.count() == 1200
    assert reader.records(range(0, 1300, 2)) == {r.row: r for r in records[1::2]}
    assert reader.records_by_id(r.id for r in records) == {r.id: r for r in records}
    assert reader.records_by_id(["no", "d3"]) == {"d3": records[2]}
    assert list(reader.iterate(limit=7)) == records
    np.testing.assert_array_equal(reader.rows_where("row < ?", [4]), [1, 2, 3])
    assert reader.ids_where("title = ?", ["title 9"]) == ["d9"]
    assert reader.ids_of_source("s0") == {f"d{i}" for i in range(2, 1201, 2)}


def test_full_text_follows_the_documents(folder: Path) -> None:
    add(folder, record(1, "a quick brown fox"), record(2, "lazy dogs", title="foxes"), record(3, "nothing"))
    reader = CatalogReader(folder)
    assert {row for row, _ in reader.match('"fox"', 9)} == {1, 2}
    assert [row for row, _ in reader.match('"fox"', 9, "row > ?", [1])] == [2]
    assert len(reader.match('"fox"', 1)) == 1
    with transaction(folder) as connection:
        commit.delete_rows(connection, [1])
    assert {row for row, _ in CatalogReader(folder).match('"fox"', 9)} == {2}
    database.check_database(folder)


def test_a_view_does_not_move(folder: Path) -> None:
    add(folder, record(1))
    before = CatalogReader(folder)
    with transaction(folder) as connection:
        commit.bump(connection, before.commit, {"dim": 5})
        commit.delete_rows(connection, [1])
        commit.insert_documents(connection, [record(2, "other words")])
        commit.set_source(connection, "a.txt", "h")
    database.compact(folder)
    database.checkpoint(folder)
    assert (before.generation, before.meta("dim"), list(before.records([1, 2]))) == (1, 4, [1])
    assert before.match('"fox"', 5)
    assert before.sources() == {}
    after = CatalogReader(folder)
    assert (after.generation, after.meta("dim"), list(after.records([1, 2]))) == (2, 5, [2])
    assert not after.match('"fox"', 5)
    np.testing.assert_array_equal(after.tombstones(), [1])


def test_a_view_in_another_process_does_not_move(folder: Path) -> None:
    code = """
import sys
from pathlib import Path
from latefold.index.storage.catalog import CatalogReader
folder = Path(sys.argv[1])
reader = CatalogReader(folder)
print(reader.generation, reader.count(), flush=True)
sys.stdin.readline()
print(reader.generation, reader.count(), CatalogReader(folder).generation, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "0 0\n"
    add(folder, record(1))
    out, _ = process.communicate("\n", timeout=30)
    assert out == "0 0 1\n"


def test_a_block_that_raises_changes_nothing(folder: Path) -> None:
    add(folder, record(1))

    def change_and_raise(error: BaseException) -> None:
        with transaction(folder) as connection:
            commit.bump(connection, catalog.current_commit(folder))
            commit.delete_rows(connection, [1])
            raise error

    for error in (RuntimeError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            change_and_raise(error)
        reader = CatalogReader(folder)
        assert (reader.generation, reader.count(), len(reader.tombstones())) == (1, 1, 0)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE meta SET value = '5' WHERE key = 'dim'",
        "INSERT INTO meta VALUES ('more', '1')",
        "DELETE FROM meta WHERE key = 'seal'",
        "UPDATE meta SET value = '\"0\"' WHERE key = 'seal'",
        "UPDATE segments SET documents = 3 WHERE id = 'x'",
        "UPDATE segments SET position = 9 WHERE id = 'x'",
        "UPDATE files SET size = 11 WHERE segment = 'y' AND name = 'a.bin'",
        "DELETE FROM files WHERE segment = 'z' AND name = 'd.bin'",
        "UPDATE files SET checksum = x'ff' WHERE segment = 'z'",
        "DROP TRIGGER documents_insert",
        "CREATE TRIGGER forged AFTER INSERT ON sources BEGIN DELETE FROM documents; END",
    ],
)
def test_the_seal_sees_every_change_to_settings_and_schema(folder: Path, sql: str) -> None:
    with transaction(folder) as connection:
        for info in SEGMENTS:
            commit.append_segment(connection, info)
    CatalogReader(folder)
    execute(folder, sql)
    with pytest.raises(IndexCorruptedError, match=CATALOG):
        CatalogReader(folder)


@pytest.mark.parametrize(
    ("version", "error"), [(1, FormatVersionError), (3, FormatVersionError), (-3, IndexCorruptedError)]
)
def test_another_version(folder: Path, version: int, error: type[Exception]) -> None:
    execute(folder, f"PRAGMA user_version = {version}")
    with pytest.raises(error, match=CATALOG):
        CatalogReader(folder)


def test_a_closed_view_says_so(folder: Path) -> None:
    reader = CatalogReader(folder)
    reader.close()
    with pytest.raises(InvalidInputError, match="was closed"):
        reader.count()


def test_row_checksums_tell_values_types_and_order_apart() -> None:
    values = [("a", "b"), ("b", "a"), ("ab", ""), ("a", "b", ""), ("a", None), ("a", b"b"), ("a", 1), ("a", "1")]
    assert len({catalog.row_checksum(*row) for row in values}) == len(values)
    assert catalog.row_checksum("é", "\ud800") == catalog.row_checksum("é", "\ud800")


def test_a_reader_s_view_is_the_same_in_all_its_threads(folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    add(folder, *(record(i) for i in range(1, 200)))
    reader = CatalogReader(folder)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: (len(reader.records(range(1, 300))), reader.count()), range(60)))
    assert set(found) == {(199, 199)}


def test_a_view_is_closed_after_the_queries_that_other_threads_are_at(folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    add(folder, *(record(i) for i in range(1, 200)))

    def read(reader: CatalogReader) -> str:
        while True:
            try:
                reader.records(range(1, 300))
            except InvalidInputError as error:
                return str(error)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            reader = CatalogReader(folder)
            running = [pool.submit(read, reader) for _ in range(4)]
            reader.records(range(1, 300))
            reader.close()
            assert all("was closed" in result.result() for result in running)
