"""Named points in the writing path, at which a test can kill the process or make the machine fail."""

from __future__ import annotations

import errno
import functools
import os
import sqlite3
from collections.abc import Callable
from typing import Any

Patch = Callable[[object, str, Any], None]
"""`setattr`, or pytest's `monkeypatch.setattr`."""
_CALLS = ("link", "mkdir", "fsync", "replace", "unlink", "rmdir")


class Interrupted(KeyboardInterrupt):
    """A Ctrl-C of our own."""


def interrupt(_: str) -> None:
    raise Interrupted


def fail(name: str) -> None:
    """What the operating system or SQLite says when the disk is full or broken."""
    if name.split()[1].islower():
        raise OSError(errno.ENOSPC, "No space left on device")
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


class Tripwire:
    """Counts the points that are passed, and acts at the `at`-th (from 0)."""

    def __init__(self, at: int | None = None, action: Callable[[str], None] | None = None) -> None:
        self.passed: list[str] = []
        self._at = at
        self._action = action

    def point(self, name: str) -> None:
        self.passed.append(name)
        if self._action is not None and len(self.passed) - 1 == self._at:
            self._action(name)

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        self.point(f"before {name}")
        result = call()
        self.point(f"after {name}")
        return result

    def install(self, patch: Patch) -> None:
        """Wrap the system calls that change files, and every SQL statement that writes."""
        for name in _CALLS:
            patch(os, name, self._wrapped(name, getattr(os, name)))
        connection = type("Connection", (_Connection,), {"tripwire": self})
        patch(sqlite3, "connect", functools.partial(sqlite3.connect, factory=connection))

    def _wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            return self.around(name, lambda: original(*arguments, **options))

        return wrapper


class _Connection(sqlite3.Connection):
    tripwire: Tripwire

    def execute(self, sql: str, *arguments: Any) -> Any:
        return self._traced(sql, super().execute, arguments)

    def executemany(self, sql: str, *arguments: Any) -> Any:
        return self._traced(sql, super().executemany, arguments)

    def _traced(self, sql: str, method: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        name = _statement(sql)
        if name is None:
            return method(sql, *arguments)
        return self.tripwire.around(name, lambda: method(sql, *arguments))


def _statement(sql: str) -> str | None:
    """A short name of a statement that writes; None for one that reads."""
    words = sql.replace("(", " ").split()
    verb = words[0].upper()
    if verb in ("COMMIT", "VACUUM", "ROLLBACK"):
        return verb
    if verb in ("INSERT", "DELETE", "UPDATE"):
        return " ".join([verb, next(word for word in words if word in _TABLES)])
    if verb in ("CREATE", "BEGIN"):
        return " ".join(words[:2]) if len(words) > 1 else None
    return "CHECKPOINT" if "wal_checkpoint" in sql else None


_TABLES = {"documents", "fulltext", "tombstones", "sources", "segments", "files", "meta"}
