"""The single-writer lock: an OS lock on `writer.lock`, whose text names the holder."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ...encoders.errors import IndexLockedError, StorageError
from .format import LOCK

_WAIT_SECONDS = 0.5


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the index for writing. The OS frees the lock when the process dies, however it dies.

    Raises `IndexLockedError` naming process, machine and start time of the holder after half a second, and
    `StorageError` when the folder is gone or may not be written.
    """
    if not folder.is_dir():  # filelock would make it
        raise StorageError(errno.ENOENT, f"cannot lock {folder.name} for writing: the folder is not there any more")
    lock = FileLock(folder / LOCK, timeout=_WAIT_SECONDS, thread_local=False)
    holder = folder / f"{LOCK}.json"
    try:
        lock.acquire()
    except Timeout:
        raise IndexLockedError(
            f"{folder.name} is being written by {_holder(holder)}: wait for it to end, or stop that process"
        ) from None
    except OSError as error:
        raise StorageError(error.errno, f"cannot lock {folder.name} for writing: {error.strerror}") from error
    try:
        _announce(holder)
        yield
    finally:
        lock.release()


def _announce(holder: Path) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "machine": socket.gethostname(), "since": since})
    try:
        holder.write_text(text)
    except OSError as error:
        raise StorageError(error.errno, f"cannot write {holder.name}: {error.strerror}") from error


def _holder(path: Path) -> str:
    try:
        value = json.loads(path.read_text())
        return f"process {value['pid']} on {value['machine']} since {value['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
