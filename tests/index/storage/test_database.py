"""Connections, what SQLite's errors mean, the write-ahead log, and the checks of a database file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from catalogs import add, record

from latefold.encoders.errors import IndexCorruptedError, StorageError
from latefold.index.storage import commit, database
from latefold.index.storage.catalog import CatalogReader, transaction
from latefold.index.storage.format import CATALOG

WRITE_VERSION, READ_VERSION = 18, 19
"""Places in the header of a SQLite file: 2 means WAL mode."""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (sqlite3.SQLITE_FULL, StorageError),
        (sqlite3.SQLITE_IOERR_WRITE, StorageError),
        (sqlite3.SQLITE_BUSY, StorageError),
        (sqlite3.SQLITE_CANTOPEN, StorageError),
        (sqlite3.SQLITE_READONLY, StorageError),
        (sqlite3.SQLITE_CORRUPT, IndexCorruptedError),
        (sqlite3.SQLITE_NOTADB, IndexCorruptedError),
        (sqlite3.SQLITE_IOERR_SHORT_READ, IndexCorruptedError),
        (sqlite3.SQLITE_ERROR, IndexCorruptedError),
    ],
)
def test_errors_blame_the_machine_or_the_file(code: int, error: type[Exception]) -> None:
    cause = sqlite3.OperationalError("the cause")
    cause.sqlite_errorcode = code
    found = database.typed_error(Path("/x/my.index") / CATALOG, cause, "write")
    assert type(found) is error
    assert f"{CATALOG} of my.index" in str(found)
    assert "the cause" in str(found)


def test_a_log_is_folded_into_the_catalog(folder: Path) -> None:
    reader = CatalogReader(folder)
    add(folder, *(record(i, "words " * 500) for i in range(1, 50)))
    size = database.log_size(folder)
    assert size > 0
    database.checkpoint(folder)
    assert database.log_size(folder) == size  # the reader still needs it
    reader.close()
    database.checkpoint(folder)
    assert database.log_size(folder) == 0
    assert CatalogReader(folder).count() == 49


def test_deleted_documents_give_their_space_back(folder: Path) -> None:
    add(folder, *(record(i, f"word{i} " * 500) for i in range(1, 200)))
    database.checkpoint(folder)
    before = (folder / CATALOG).stat().st_size
    with transaction(folder) as connection:
        commit.delete_rows(connection, range(1, 200))
    database.compact(folder)
    database.checkpoint(folder)
    assert (folder / CATALOG).stat().st_size < before / 2
    database.check_database(folder)


def test_bytes_behind_the_end_are_damage(folder: Path) -> None:
    database.check_database(folder)
    with (folder / CATALOG).open("ab") as file:
        file.write(b"x" * 4096)
    with pytest.raises(IndexCorruptedError, match=r"its header promises"):
        database.check_database(folder)


@pytest.mark.parametrize("version", [0, 1])
def test_a_catalog_that_left_wal_mode_is_damage(folder: Path, version: int) -> None:
    """In the older modes a reader and the writer of the same process would wait for each other."""
    patch_header(folder, READ_VERSION, version)
    with pytest.raises(IndexCorruptedError, match=CATALOG):
        CatalogReader(folder)


def test_a_catalog_that_calls_itself_read_only_is_refused_by_the_checks(folder: Path) -> None:
    patch_header(folder, WRITE_VERSION, 3)
    CatalogReader(folder).close()
    with pytest.raises(StorageError, match=CATALOG):
        database.check_database(folder)


def patch_header(folder: Path, place: int, value: int) -> None:
    data = bytearray((folder / CATALOG).read_bytes())
    data[place] = value
    (folder / CATALOG).write_bytes(data)
