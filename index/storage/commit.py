"""What a commit can change: one function per kind of change, all inside `catalog.transaction`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...encoders.errors import IndexLockedError
from .catalog import Record, new_commit, row_checksum
from .segments import SegmentInfo


def bump(connection: sqlite3.Connection, after: str, values: Mapping[str, Any] | None = None) -> None:
    """Begin the generation after the commit named `after`, and store settings.

    Raises `IndexLockedError` when that is not the newest one: whoever computed the change has not seen it.
    """
    if get_meta(connection, "commit") != after:
        raise IndexLockedError(
            "another writer changed the index during this write, which its file system's locks should have prevented: "
            "write from one process only"
        )
    generation = get_meta(connection, "generation") + 1
    set_meta(connection, {"generation": generation, "commit": new_commit(), **(values or {})})


def get_meta(connection: sqlite3.Connection, key: str) -> Any:
    """A setting as this transaction sees it."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else json.loads(row[0])


def set_meta(connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Store settings as JSON."""
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [(key, json.dumps(value)) for key, value in values.items()],
    )


def insert_documents(connection: sqlite3.Connection, records: Iterable[Record]) -> None:
    """Add documents; their rows must be fresh."""
    connection.executemany(
        "INSERT INTO documents (row, id, title, text, metadata, source, content_hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(r.row, r.id, r.title, r.text, r.metadata, r.source, r.content_hash) for r in records],
    )


def delete_rows(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Delete documents and mark their rows dead in the segments."""
    marks = [(int(row),) for row in rows]
    connection.executemany("DELETE FROM documents WHERE row = ?", marks)
    connection.executemany("INSERT OR IGNORE INTO tombstones VALUES (?)", marks)


def assign_source(connection: sqlite3.Connection, source: str, ids: Iterable[str]) -> None:
    """Record that unchanged documents now come from this source."""
    connection.executemany("UPDATE documents SET source = ? WHERE id = ?", [(source, name) for name in ids])


def append_segment(connection: sqlite3.Connection, info: SegmentInfo) -> None:
    """Add a segment behind the others."""
    position = get_meta(connection, "next_position")
    _insert_segment(connection, info, position)
    set_meta(connection, {"next_position": position + 1})


def replace_segments(connection: sqlite3.Connection, old: Sequence[str], new: SegmentInfo | None) -> None:
    """Put a merged segment in the place of its parts (or of nothing, when no document survived)."""
    marks = ",".join("?" * len(old))
    positions = connection.execute(f"SELECT position FROM segments WHERE id IN ({marks})", old).fetchall()  # noqa: S608
    connection.execute(f"DELETE FROM segments WHERE id IN ({marks})", old)  # noqa: S608 - values are bound
    connection.execute(f"DELETE FROM files WHERE segment IN ({marks})", old)  # noqa: S608
    if new is not None:
        _insert_segment(connection, new, min(position for (position,) in positions))


def _insert_segment(connection: sqlite3.Connection, info: SegmentInfo, position: int) -> None:
    connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", (position, info.id, info.documents, info.tokens))
    connection.executemany(
        "INSERT INTO files VALUES (?, ?, ?, ?)", [(info.id, f.name, f.size, f.checksum) for f in info.files]
    )


def drop_tombstones(connection: sqlite3.Connection, rows: Iterable[int]) -> None:
    """Forget dead rows that no segment holds any more."""
    connection.executemany("DELETE FROM tombstones WHERE row = ?", [(int(row),) for row in rows])


def set_source(connection: sqlite3.Connection, name: str, content_hash: str) -> None:
    """Record a source as completely indexed."""
    connection.execute(
        "INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", (name, content_hash, row_checksum(name, content_hash))
    )


def drop_sources(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Forget sources."""
    connection.executemany("DELETE FROM sources WHERE name = ?", [(name,) for name in names])
