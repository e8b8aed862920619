"""SQLite as the commit point: connections, what its errors mean, the write-ahead log, and its own checks."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from ...encoders.errors import IndexCorruptedError, InvalidInputError, LatefoldError, StorageError
from .format import CATALOG

LOG_LIMIT: Final = 1 << 24
"""Bytes of write-ahead log from which a writer folds it into the catalog."""
_READ_WAIT_SECONDS: Final = 30.0
_WRITE_WAIT_SECONDS: Final = 600.0
"""Writers have a lock of their own: what they wait for here is the full-text check of a `verify` beside them."""

_ERRNO: Final = {
    sqlite3.SQLITE_BUSY: errno.EAGAIN,
    sqlite3.SQLITE_LOCKED: errno.EAGAIN,
    sqlite3.SQLITE_PROTOCOL: errno.EAGAIN,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_FULL: errno.ENOSPC,
}
"""Result codes that blame the machine and not the bytes of the file."""


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open the catalog in autocommit.

    Raises `sqlite3.Error`, as everything done with a connection does, and `IndexCorruptedError` for a catalog to read
    that is not in WAL mode: there a reader and a writer would wait for each other.
    """
    if write:
        connection = sqlite3.connect(path, isolation_level=None, timeout=_WRITE_WAIT_SECONDS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT}")
    else:
        mode = _read_mode(path)
        uri = f"{path.absolute().as_uri()}?{mode}"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=_READ_WAIT_SECONDS, check_same_thread=False
        )
        journal, pages = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "page_count"))
        if pages and journal != "wal" and "immutable" not in mode:
            connection.close()
            raise IndexCorruptedError(f"the header of {path.name} of {path.parent.name} is damaged: restore a backup")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _read_mode(path: Path) -> str:
    """A folder that may not be written cannot be given a log to share, but one that is there can be read."""
    if os.access(path.parent, os.W_OK):
        return "mode=rw"
    return "mode=ro" if _log(path).is_file() else "mode=ro&immutable=1"


def typed_error(path: Path, error: sqlite3.Error, action: str = "read") -> LatefoldError:
    """The typed form of a SQLite error: the machine refused (`StorageError`), or the file is damaged."""
    name = f"{path.name} of {path.parent.name}"
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return InvalidInputError(f"the index {path.parent.name} was closed: open it again to use it")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    number = _ERRNO.get(code & 0xFF)
    if number is None or code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return IndexCorruptedError(f"{name} is damaged ({error}): restore it from a backup")
    return StorageError(
        number,
        f"cannot {action} {name}: {error}; what was stored before is intact. "
        "Free space or fix the folder's permissions and run again",
    )


@contextmanager
def typed_errors(path: Path, action: str = "read") -> Iterator[None]:
    """Raise the SQLite errors of a block in their typed form."""
    try:
        yield
    except sqlite3.Error as error:
        raise typed_error(path, error, action) from error
    except UnicodeDecodeError as error:  # SQLite quotes the damaged bytes in its own message
        raise IndexCorruptedError(f"{path.name} of {path.parent.name} is damaged: restore it from a backup") from error


def log_size(folder: Path) -> int:
    """Bytes of the write-ahead log."""
    try:
        return _log(folder / CATALOG).stat().st_size
    except FileNotFoundError:
        return 0


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def checkpoint(folder: Path) -> None:
    """Copy the write-ahead log into the catalog, and empty it, as far as readers of older generations allow.

    Waits for nobody. The caller holds the writer lock.
    """
    path = folder / CATALOG
    with typed_errors(path, "write"), closing(connect(path, write=True)) as connection:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def compact(folder: Path) -> None:
    """Merge the full-text index and give free pages back. The caller holds the writer lock."""
    path = folder / CATALOG
    with typed_errors(path, "compact"), closing(connect(path, write=True)) as connection:
        connection.execute("INSERT INTO fulltext(fulltext) VALUES ('optimize')")
        pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        if free * 4 > pages:
            connection.execute("VACUUM")


def check_database(folder: Path) -> None:
    """SQLite's own checks of the database, its size, and the full-text index against the documents.

    Raises `IndexCorruptedError`. The full-text check needs a writable folder and is left out elsewhere.
    """
    path = folder / CATALOG
    with typed_errors(path), closing(connect(path, write=False)) as connection:
        _check_size(path, connection)
        result = connection.execute("PRAGMA integrity_check").fetchall()
        if result != [("ok",)]:
            raise IndexCorruptedError(
                f"{CATALOG} of {folder.name} is damaged ({result[0][0]}): restore it from a backup"
            )
        if os.access(folder, os.W_OK):
            connection.execute("INSERT INTO fulltext(fulltext, rank) VALUES ('integrity-check', 1)")


def _check_size(path: Path, connection: sqlite3.Connection) -> None:
    """A catalog without a log is as long as its header says: SQLite itself overlooks bytes behind the last page."""
    connection.execute("BEGIN")
    try:
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        actual = path.stat().st_size
        if log_size(path.parent) == 0 and actual != pages * size:
            raise IndexCorruptedError(
                f"{path.name} of {path.parent.name} has {actual} bytes, its header promises {pages * size}: "
                "restore it from a backup"
            )
    finally:
        connection.execute("ROLLBACK")
