"""The page store: where words stand on the pages that documents were read from, what OCR read, and thumbnails.

It is addressed by content (the hash of a file and a page number), so that it can be written before the documents that
refer to it are committed, and nothing in it is ever wrong: an interrupted run finds the pages that it had read. A page
that no document refers to any more is dropped when the index is optimized. Documents can be searched without it.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ...encoders.errors import IndexCorruptedError, StorageError
from ...encoders.pages import Boxes

PAGES: Final = "pages.sqlite"
Origin = Literal["text", "ocr", "none"]
Spans = npt.NDArray[np.int32]

_SCHEMA = """
BEGIN;
CREATE TABLE IF NOT EXISTS pages (
    file TEXT NOT NULL, number INTEGER NOT NULL, width REAL NOT NULL, height REAL NOT NULL, origin TEXT NOT NULL,
    text TEXT, words BLOB NOT NULL, thumbnail BLOB NOT NULL, PRIMARY KEY (file, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (file TEXT PRIMARY KEY, path BLOB NOT NULL, kind TEXT NOT NULL) WITHOUT ROWID;
COMMIT;
"""
"""`origin` ends in a space and the OCR engine, where there is one."""
_EVERY = "SELECT width, height, origin, text, words, thumbnail, file, number FROM pages"
_SCALE = 65_535
_WAIT_SECONDS = 30.0
_MOST_WORDS = 1 << 24


@dataclass(frozen=True, eq=False)
class StoredPage:
    """A page.

    width, height: in points of 1/72 inch for a PDF, in pixels for an image. origin: where its text is from. text: what
    OCR read, None for a page that has a text of its own. spans: `(words, 2)` int32, characters of each word in the
    page's text. boxes: `(words, 4)`. thumbnail: a WebP picture; empty where there is none. engine: what OCR read it,
    by name and version.
    """

    width: float
    height: float
    origin: Origin
    text: str | None
    spans: Spans
    boxes: Boxes
    thumbnail: bytes = b""
    engine: str = ""


class PageStore:
    """Pages by content. Every call opens and closes the file, so that threads and processes may share it.

    Reading takes no right to write.

    Raises `StorageError` where it cannot be read or written, `IndexCorruptedError` where it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PAGES

    @property
    def exists(self) -> bool:
        """Whether any page was ever stored."""
        return self._path.is_file() and self._path.stat().st_size > 0  # empty: its first writer was killed

    def put(self, file: str, number: int, page: StoredPage) -> None:
        """Store a page, in place of what was there. Durable when it returns."""
        self.put_all(file, {number: page})

    def put_all(self, file: str, pages: Mapping[int, StoredPage]) -> None:
        """Store pages of a file by their numbers, all or none, in place of what was there."""
        with self._writing() as database:
            database.executemany(
                "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(file, number, *_row(page)) for number, page in pages.items()],
            )

    def get(self, file: str, number: int) -> StoredPage | None:
        """A page, or None where it is not known."""
        found = self._one(f"{_EVERY} WHERE file = ? AND number = ?", (file, number))
        return None if found is None else self._page(found)

    def remember(self, file: str, path: Path, kind: str) -> None:
        """Note where a file lies, so that its pages can be drawn again."""
        with self._writing() as database:
            database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (file, os.fsencode(path), kind))

    def place(self, file: str) -> tuple[Path, str] | None:
        """Where a file was seen last, and of which kind it is; it may have changed since, or be gone."""
        found = self._one("SELECT path, kind FROM files WHERE file = ?", (file,))
        return None if found is None else (Path(os.fsdecode(found[0])), str(found[1]))

    def count(self) -> int:
        """How many pages there are."""
        found = self._one("SELECT count(*) FROM pages", ())
        return 0 if found is None else int(found[0])

    def keep(self, files: Collection[str]) -> int:
        """Drop the pages of all files but these; returns how many were dropped."""
        if not self.exists:
            return 0
        with self._writing() as database:
            database.execute("CREATE TEMP TABLE kept (file TEXT PRIMARY KEY)")
            database.executemany("INSERT OR IGNORE INTO kept VALUES (?)", [(file,) for file in files])
            dropped = database.execute("DELETE FROM pages WHERE file NOT IN (SELECT file FROM kept)").rowcount
            database.execute("DELETE FROM files WHERE file NOT IN (SELECT file FROM kept)")
        if dropped:
            with self._connected("mode=rw") as database:
                database.execute("VACUUM")
        return dropped

    def check(self) -> int:
        """Read all there is, and return its bytes. Raises `IndexCorruptedError` where anything is damaged."""
        if not self.exists:
            return 0
        with self._connected(self._read_mode) as database:
            (result,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if result != "ok":
                raise self._damaged(result)
            for row in database.execute(_EVERY):
                self._page(row)
        return self._path.stat().st_size

    def _page(self, row: tuple[Any, ...]) -> StoredPage:
        width, height, made, text, words, thumbnail, file, number = row
        try:
            origin, _, engine = made.partition(" ")
            spans, boxes = _unpack(words)
            return StoredPage(float(width), float(height), origin, text, spans, boxes, bytes(thumbnail), engine)
        except (AttributeError, ValueError, TypeError, zlib.error) as error:
            raise self._damaged(f"page {number} of file {file}: {error}") from None

    def _damaged(self, what: object) -> IndexCorruptedError:
        return IndexCorruptedError(f"{self._path} is damaged ({what}): delete it and index the files again")

    def _one(self, query: str, parameters: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self.exists:
            return None
        with self._connected(self._read_mode) as database:
            found: tuple[Any, ...] | None = database.execute(query, parameters).fetchone()
            return found

    @property
    def _read_mode(self) -> str:
        """Whoever may write undoes what a killed writer left half done; others read what is there."""
        return "mode=rw" if os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK) else "mode=ro"

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connected("mode=rwc") as database:
            database.executescript(_SCHEMA)
            with database:
                yield database

    @contextmanager
    def _connected(self, mode: str) -> Iterator[sqlite3.Connection]:
        uri = f"{self._path.absolute().as_uri()}?{mode}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_SECONDS)) as database:
                yield database
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite quotes damaged bytes in its own message
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if not isinstance(error, sqlite3.OperationalError) or code == sqlite3.SQLITE_ERROR:
                raise self._damaged(error) from error
            raise StorageError(
                f"{self._path} cannot be used ({error}): free space or fix the permissions of its folder, and run again"
            ) from error


def _row(page: StoredPage) -> tuple[Any, ...]:
    origin = f"{page.origin} {page.engine}" if page.engine else page.origin
    return page.width, page.height, origin, page.text, _pack(page.spans, page.boxes), page.thumbnail


def _pack(spans: Spans, boxes: Boxes) -> bytes:
    """Words as compressed columns: differences of the characters, boxes in 1/65,535 of the page."""
    places = np.diff(spans.astype("<i4").ravel(), prepend=np.int32(0)).astype("<i4")
    corners = np.rint(np.clip(boxes, 0.0, 1.0) * _SCALE).astype("<u2")
    return zlib.compress(len(spans).to_bytes(4, "little") + places.tobytes() + corners.T.tobytes(), 6)


def _unpack(blob: bytes) -> tuple[Spans, Boxes]:
    data = zlib.decompressobj().decompress(blob, 4 + _MOST_WORDS * 16)
    count = int.from_bytes(data[:4], "little")
    if len(data) != 4 + 16 * count:
        raise ValueError(f"{len(data)} bytes for {count} words")
    places = np.frombuffer(data, "<i4", 2 * count, 4)
    corners = np.frombuffer(data, "<u2", 4 * count, 4 + 8 * count).reshape(4, count)
    spans = np.cumsum(places, dtype=np.int64).astype(np.int32).reshape(count, 2)
    return spans, np.ascontiguousarray(corners.T, np.float32) / np.float32(_SCALE)
