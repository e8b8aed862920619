"""The demonstration: an index of the documentation of the Python that runs it, and questions to ask it.

Nothing is shipped and nothing is fetched: the documents are the docstrings of the standard library, collected by
`stdlib_docs` in a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..encoders.base import Progress
from ..encoders.errors import (
    EncoderMismatchError,
    FormatVersionError,
    IndexCorruptedError,
    IndexExistsError,
    IndexNotFoundError,
    LatefoldError,
    StorageError,
)
from ..retrieval.index import Index
from ..retrieval.types import Document, Source, SyncReport
from . import stdlib_docs

QUESTIONS = (
    "stop waiting for a task after some seconds",
    "cache the results of a slow function",
    "find files by pattern in all subfolders",
    "run a shell command and capture its output",
    "keep only the n largest items of a list",
)
SOURCE = "python-standard-library"
REVISION = 1
"""Raised when the collected documents change, so that an index of an older release is brought up to date."""
COLLECT_SECONDS = 120
"""Time for one attempt at collecting; a module that hangs is left out of the next."""
MAX_CRASHES = 5


def default_folder(environment: Mapping[str, str], system: str = sys.platform) -> Path:
    """Where the index of the demonstration lives unless told otherwise: a folder of the user's cache."""
    if environment.get("XDG_CACHE_HOME"):
        cache = Path(environment["XDG_CACHE_HOME"])
    elif system == "win32" and environment.get("LOCALAPPDATA"):
        cache = Path(environment["LOCALAPPDATA"])
    elif system == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path.home() / ".cache"
    return cache / "latefold" / "demo.index"


def content_hash() -> str:
    """Identity of the documents: the Python they are read from and the way they are read."""
    return f"{platform.python_implementation()} {platform.python_version()} revision {REVISION}"


def collect() -> list[Document]:
    """Read the documentation of the standard library in a child process.

    A module that crashes or hangs the child is skipped in a new attempt. Raises `StorageError` when nothing works.
    """
    skip: list[str] = []
    with tempfile.TemporaryDirectory(prefix="latefold-") as folder:
        output = Path(folder) / "documents.jsonl"
        for _ in range(MAX_CRASHES):
            if _run_collector(output, skip, folder):
                return list(_read_documents(output))
            skip.append(_last_module(output))
    raise StorageError(
        f"could not read the documentation of {sys.executable}: importing {', '.join(skip)} ended the process"
    )


def _run_collector(output: Path, skip: list[str], folder: str) -> bool:
    command = [sys.executable, "-I", "-W", "ignore", str(Path(stdlib_docs.__file__)), str(output), *skip]
    try:
        done = subprocess.run(  # noqa: S603  our own script, run by the interpreter that runs us
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=COLLECT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _read_documents(output: Path) -> Iterator[Document]:
    with output.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if "id" in record:
                yield Document(**record)


def _last_module(output: Path) -> str:
    """The module that was being imported when the collector ended."""
    if not output.is_file():
        raise StorageError(f"{sys.executable} cannot run {stdlib_docs.__file__}: no output was written")
    name = ""
    for line in output.read_text(encoding="utf-8").splitlines():
        try:
            name = json.loads(line).get("module", name)
        except ValueError:  # a line cut off by the end of the process
            break
    return name


def is_complete(index: Index) -> bool:
    """Whether the index holds all the documents that this Python and this release would collect."""
    return index.sources().get(SOURCE) == content_hash()


def open_or_create(folder: Path, *, ours: bool = False) -> Index:
    """The demonstration's index at `folder`, made if need be, and made anew when this release cannot use it.

    ours: the folder is the demo's own, so that even an index that cannot be opened may be replaced. Raises
    `IndexExistsError` for a folder with other files, or an index of something else.
    """
    try:
        index = Index.open(folder)
    except IndexNotFoundError:
        return Index.create(folder)
    except (FormatVersionError, IndexCorruptedError):
        if not ours:
            raise
        _remove(folder)
        return Index.create(folder)
    try:
        _check_ours(index)
        _ = index.encoder
    except EncoderMismatchError:
        index.close()
        _remove(folder)
        return Index.create(folder)
    except LatefoldError:
        index.close()
        raise
    return index


def fill(index: Index, documents: list[Document], progress: Progress | None) -> SyncReport:
    """Index the documents. A run that was interrupted goes on where it stopped."""
    return index.sync([Source(SOURCE, content_hash(), documents)], progress=progress)


def delete(folder: Path, *, ours: bool = False) -> None:
    """Remove the demonstration's index; `ours` as in `open_or_create`.

    Raises `IndexNotFoundError` when there is none, `IndexExistsError` when the folder indexes something else.
    """
    try:
        with Index.open(folder) as index:
            _check_ours(index)
    except (FormatVersionError, IndexCorruptedError):
        if not ours:
            raise
    _remove(folder)


def _check_ours(index: Index) -> None:
    if len(index) and "builtins" not in index and SOURCE not in index.sources():
        raise IndexExistsError(f"{index.path} is an index of other documents; choose another folder with --into")


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(f"cannot delete {folder}: {error}; remove it by hand") from error


def environment() -> Mapping[str, str]:
    """The environment variables of this process."""
    return os.environ
