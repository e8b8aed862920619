"""The catalog: a SQLite database whose commit is the commit of the index."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from ...encoders.errors import IndexCorruptedError, IndexNotFoundError, LatefoldError
from .database import connect, typed_errors
from .files import FileInfo
from .format import CATALOG, FORMAT_VERSION, SEGMENTS, check_version
from .segments import SegmentInfo

IntArray = npt.NDArray[np.int64]

SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    source TEXT,
    content_hash TEXT NOT NULL
);
CREATE INDEX documents_source ON documents (source) WHERE source IS NOT NULL;
CREATE VIRTUAL TABLE fulltext USING fts5(
    title, text, content='documents', content_rowid='row', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER documents_insert AFTER INSERT ON documents BEGIN
    INSERT INTO fulltext(rowid, title, text) VALUES (new.row, new.title, new.text);
END;
CREATE TRIGGER documents_delete AFTER DELETE ON documents BEGIN
    INSERT INTO fulltext(fulltext, rowid, title, text) VALUES ('delete', old.row, old.title, old.text);
END;
CREATE TABLE tombstones (row INTEGER PRIMARY KEY);
CREATE TABLE sources (name TEXT PRIMARY KEY, content_hash TEXT NOT NULL, checksum TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, documents INTEGER NOT NULL, tokens INTEGER NOT NULL
);
CREATE TABLE files (
    segment TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, checksum TEXT NOT NULL,
    PRIMARY KEY (segment, name)
) WITHOUT ROWID;
"""
_BATCH = 500
_COLUMNS: Final = "row, id, title, text, metadata, source, content_hash"


@dataclass(frozen=True)
class Record:
    """A stored document. metadata is JSON text; content_hash is the xxh3-128 of everything that was indexed."""

    row: int
    id: str
    title: str
    text: str
    metadata: str
    source: str | None
    content_hash: str


def exists(folder: Path) -> bool:
    """Whether the folder holds a committed index. Raises `IndexCorruptedError` when it holds one without a catalog."""
    path = folder / CATALOG
    if path.is_file():
        with typed_errors(path), closing(connect(path, write=False)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is not None:
                return True
    if _has_segments(folder):
        raise _absent(folder, "")
    return False


def _has_segments(folder: Path) -> bool:
    home = folder / SEGMENTS
    return home.is_dir() and any(home.iterdir())


def _absent(folder: Path, instead: str) -> LatefoldError:
    """The error for a folder without a catalog: segments are only ever written beside a committed one."""
    if _has_segments(folder):
        return IndexCorruptedError(
            f"{CATALOG} of {folder.name} is missing or empty, but its segments are there: restore it from a backup"
        )
    return IndexNotFoundError(instead)


def create(folder: Path, meta: dict[str, Any]) -> None:
    """Create an empty catalog in one transaction, so that a kill leaves either none or a whole one."""
    with transaction(folder) as connection:
        for statement in _statements(SCHEMA):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        defaults = {"generation": 0, "commit": new_commit(), "next_row": 1, "next_position": 1}
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in (defaults | meta).items()],
        )


def new_commit() -> str:
    """A name for a commit: generation numbers come again when an index is built anew or restored from a backup."""
    return uuid.uuid4().hex


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def seal_of(connection: sqlite3.Connection) -> str:
    """xxh3-128 (hex) of the schema, settings, segments and checksums: what SQLite's checks would not see changing."""
    digest = xxhash.xxh3_128()
    for sql in (
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name",
        "SELECT key, value FROM meta WHERE key <> 'seal' ORDER BY key",
        "SELECT * FROM segments ORDER BY position",
        "SELECT * FROM files ORDER BY segment, name",
    ):
        for row in connection.execute(sql):
            digest.update(_canonical(row))
    return digest.hexdigest()


def row_checksum(*values: Any) -> str:
    """xxh3-128 (hex) of a row's values; damaged ones of any type hash as well, to something else."""
    return xxhash.xxh3_128_hexdigest(_canonical(values))


def _canonical(values: Sequence[Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, default=repr).encode("utf-8", "surrogatepass")


@contextmanager
def transaction(folder: Path) -> Iterator[sqlite3.Connection]:
    """A write transaction (WAL, synchronous=FULL): durable when the block ends, undone when it raises.

    The caller holds the writer lock. Raises `StorageError` on a full disk, `IndexCorruptedError` on a damaged catalog.
    """
    path = folder / CATALOG
    with typed_errors(path, "write"), closing(connect(path, write=True)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('seal', ?)", (json.dumps(seal_of(connection)),))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


class CatalogReader:
    """A consistent view of the catalog at one generation, safe to use from several threads.

    The view is a SQLite read transaction: writers go on beside it, and it sees nothing of what they do.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / CATALOG
        self._lock = threading.Lock()
        if not self._path.is_file():
            raise _absent(folder, f"{folder} holds no latefold index: build one with `latefold index SOURCE --into`")
        with typed_errors(self._path):
            self._connection = connect(self._path, write=False)
            self._finalizer = weakref.finalize(self, self._connection.close)
            self._connection.execute("BEGIN")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                raise _absent(folder, f"{folder} holds an index whose creation never finished: create it again")
            check_version(version, f"{self._path.name} of {folder.name}")
            self._meta = self._sealed_settings()

    def _sealed_settings(self) -> dict[str, Any]:
        try:
            seal = seal_of(self._connection)
            meta = {key: json.loads(value) for key, value in self.query("SELECT key, value FROM meta")}
        except (ValueError, TypeError) as error:
            raise IndexCorruptedError(f"the settings in {self._path.name} are damaged: restore a backup") from error
        if meta.get("seal") != seal:
            raise IndexCorruptedError(f"the settings in {self._path.name} differ from their checksum: restore a backup")
        return meta

    def close(self) -> None:
        """End the view, after a query that another thread is at: closed under one, SQLite crashes the process."""
        with self._lock:
            self._finalizer()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of one statement. Raises `IndexCorruptedError` when SQLite finds the file damaged."""
        with typed_errors(self._path), self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def meta(self, key: str, default: Any = None) -> Any:
        """A setting, decoded from JSON."""
        return self._meta.get(key, default)

    @property
    def generation(self) -> int:
        """Number of the commit this view shows."""
        return int(self._meta["generation"])

    @property
    def commit(self) -> str:
        """Name of the commit this view shows."""
        return str(self._meta["commit"])

    def segments(self) -> list[SegmentInfo]:
        """The segments of this generation, in row order."""
        files: dict[str, list[FileInfo]] = {}
        for segment, name, size, checksum in self.query("SELECT segment, name, size, checksum FROM files"):
            files.setdefault(segment, []).append(FileInfo(name, size, checksum))
        return [
            SegmentInfo(name, documents, tokens, tuple(files.get(name, ())))
            for name, documents, tokens in self.query("SELECT id, documents, tokens FROM segments ORDER BY position")
        ]

    def tombstones(self) -> IntArray:
        """Deleted rows that segments still hold, ascending, `(t,)` int64."""
        rows = self.query("SELECT row FROM tombstones ORDER BY row")
        return np.array([row for (row,) in rows], dtype=np.int64)

    def count(self) -> int:
        """Number of live documents."""
        return int(self.query("SELECT count(*) FROM documents")[0][0])

    def records(self, rows: Iterable[int]) -> dict[int, Record]:
        """Documents by row; rows that are not live are absent."""
        return {record.row: record for record in self._select("row", list(rows))}

    def records_by_id(self, ids: Iterable[str]) -> dict[str, Record]:
        """Documents by external id; unknown ids are absent."""
        return {record.id: record for record in self._select("id", list(ids))}

    def _select(self, column: str, values: Sequence[int | str]) -> Iterator[Record]:
        for start in range(0, len(values), _BATCH):
            batch = values[start : start + _BATCH]
            marks = ",".join("?" * len(batch))
            sql = f"SELECT {_COLUMNS} FROM documents WHERE {column} IN ({marks})"  # noqa: S608 - values are bound
            yield from (Record(*fields) for fields in self.query(sql, batch))

    def iterate(self, after: int = 0, limit: int = 1000) -> Iterator[Record]:
        """All documents in row order, fetched in pages."""
        while True:
            page = self.query(
                f"SELECT {_COLUMNS} FROM documents WHERE row > ? ORDER BY row LIMIT ?",  # noqa: S608 - constant columns
                (after, limit),
            )
            if not page:
                return
            yield from (Record(*fields) for fields in page)
            after = page[-1][0]

    def rows_where(self, where: str, parameters: Sequence[Any]) -> IntArray:
        """Live rows that satisfy a compiled filter, ascending, `(r,)` int64."""
        sql = f"SELECT row FROM documents WHERE {where} ORDER BY row"  # noqa: S608 - compiled with bound values
        return np.array([row for (row,) in self.query(sql, parameters)], dtype=np.int64)

    def ids_where(self, where: str, parameters: Sequence[Any]) -> list[str]:
        """Ids of the live documents that satisfy a compiled filter, in row order."""
        sql = f"SELECT id FROM documents WHERE {where} ORDER BY row"  # noqa: S608 - compiled with bound values
        return [name for (name,) in self.query(sql, parameters)]

    def ids_of_source(self, source: str) -> set[str]:
        """Ids of the live documents that a source gave."""
        return {name for (name,) in self.query("SELECT id FROM documents WHERE source = ?", (source,))}

    def places(self) -> list[tuple[int, str | None, int | None]]:
        """Row of every document, and the source and page that its metadata names; None where it names none."""
        source, page = (
            f"CASE json_type(metadata, '$.{name}') WHEN '{kind}' THEN json_extract(metadata, '$.{name}') END"
            for name, kind in (("source", "text"), ("page", "integer"))
        )
        return self.query(f"SELECT row, {source}, {page} FROM documents ORDER BY row")  # noqa: S608 - nothing of a user's

    def values_of(self, field: str) -> set[str]:
        """Texts that documents have in a field of their metadata."""
        found = self.query("SELECT DISTINCT json_extract(metadata, ?) FROM documents", (f'$."{field}"',))
        return {value for (value,) in found if isinstance(value, str)}

    def sources(self) -> dict[str, str]:
        """Completely indexed sources: name to content hash."""
        return dict(self.query("SELECT name, content_hash FROM sources ORDER BY name"))

    def check_sources(self) -> None:
        """Compare every source with its checksum. Raises `IndexCorruptedError`."""
        for name, content_hash, checksum in self.query("SELECT name, content_hash, checksum FROM sources"):
            if row_checksum(name, content_hash) != checksum:
                raise IndexCorruptedError(
                    f"source {name!r:.80} in {self._path.name} differs from its checksum: restore a backup"
                )

    def match(
        self, expression: str, limit: int, where: str = "", parameters: Sequence[Any] = ()
    ) -> list[tuple[int, float]]:
        """BM25 (k1 1.2, b 0.75; title and text as one field): `(row, score)`, best first, ties by row.

        expression: an FTS5 query. where: a compiled filter, applied before ranking.
        """
        restrict = f"AND rowid IN (SELECT row FROM documents WHERE {where})" if where else ""  # noqa: S608 - compiled with bound values
        sql = f"SELECT rowid, -rank FROM fulltext WHERE fulltext MATCH ? {restrict} ORDER BY rank, rowid LIMIT ?"  # noqa: S608
        found = self.query(sql, (expression, *parameters, limit))
        if any(score is None for _, score in found):
            raise IndexCorruptedError(f"the full-text index in {self._path.name} is damaged: restore it from a backup")
        return [(int(row), float(score)) for row, score in found]


def current_commit(folder: Path) -> str:
    """The name of the newest commit, read without a lasting view."""
    path = folder / CATALOG
    with typed_errors(path), closing(connect(path, write=False)) as connection:
        row = connection.execute("SELECT value FROM meta WHERE key = 'commit'").fetchone()
    try:
        return str(json.loads(row[0]))
    except (ValueError, TypeError) as error:
        raise IndexCorruptedError(f"the settings in {path.name} are damaged: restore a backup") from error
