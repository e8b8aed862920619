"""One writer at a time, across processes, and never after its death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latefold.encoders.errors import IndexLockedError, StorageError
from latefold.index.storage.format import LOCK
from latefold.index.storage.lock import writer_lock

HOLD = """
import sys, time
from pathlib import Path
from latefold.index.storage.lock import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder_of(folder: Path) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    with holder_of(tmp_path) as process:
        with pytest.raises(IndexLockedError, match=rf"written by process {process.pid} on .* since 2"):
            writer_lock(tmp_path).__enter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
        with writer_lock(tmp_path):
            assert json.loads((tmp_path / f"{LOCK}.json").read_text())["pid"] == os.getpid()


def test_the_lock_is_free_after_use_and_after_an_error(tmp_path: Path) -> None:
    with writer_lock(tmp_path):
        pass
    with pytest.raises(RuntimeError, match="mine"), writer_lock(tmp_path):
        raise RuntimeError("mine")
    with writer_lock(tmp_path):
        pass


def test_the_lock_is_not_reentrant(tmp_path: Path) -> None:
    with writer_lock(tmp_path), pytest.raises(IndexLockedError, match=str(os.getpid())):
        writer_lock(tmp_path).__enter__()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\0\xff"])
def test_a_holder_that_cannot_be_read_is_another_process(tmp_path: Path, text: str) -> None:
    with writer_lock(tmp_path):
        (tmp_path / f"{LOCK}.json").write_text(text)
        with pytest.raises(IndexLockedError, match="another process"):
            writer_lock(tmp_path).__enter__()


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(StorageError, match="cannot lock"):
        writer_lock(tmp_path).__enter__()
    with pytest.raises(StorageError, match="absent"):
        writer_lock(tmp_path / "absent").__enter__()
    assert not (tmp_path / "absent").exists()
