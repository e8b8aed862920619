"""Documents, segments and meddling for tests of a bare catalog."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from latefold.index.storage import commit
from latefold.index.storage.catalog import Record, current_commit, transaction
from latefold.index.storage.files import FileInfo
from latefold.index.storage.format import CATALOG
from latefold.index.storage.segments import SegmentInfo

SEGMENTS = [
    SegmentInfo(name, 2, 5, tuple(FileInfo(f"{part}.bin", 10, f"{name}{part}") for part in "abcd")) for name in "xyz"
]


def record(row: int, text: str = "a quick fox", **fields: str | None) -> Record:
    values = {"id": f"d{row}", "title": "", "text": text, "metadata": '{"n": 1}', "source": None, "content_hash": "h"}
    return Record(row, **{**values, **fields})


def add(folder: Path, *records: Record) -> None:
    with transaction(folder) as connection:
        commit.bump(connection, current_commit(folder))
        commit.insert_documents(connection, records)


def execute(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / CATALOG, isolation_level=None)) as connection:
        connection.execute(sql)
