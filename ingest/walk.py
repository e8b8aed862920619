"""Which files there are to read, in a fixed order, and why others are left out."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..encoders.errors import InvalidInputError
from ..index.storage.format import CATALOG
from .options import MIB, IngestOptions, Kind, LeftOut
from .sniff import HEAD_BYTES, Unsupported, sniff

_JUNK = {"node_modules", "__pycache__", "site-packages", "Thumbs.db", "desktop.ini"}
_FOREIGN = {"pyvenv.cfg", CATALOG}
"""What marks a folder as a virtual environment or as an index."""
_BEIR_CORPUS = "corpus.jsonl"
_Paths = list[tuple[Path, str]]
"""Paths with their names below the root."""


@dataclass(frozen=True)
class FoundFile:
    """A readable file.

    relative: posix path below `root`, the folder (or the file itself) that was asked for; the file's name where `root`
    is the file. size: bytes. mtime: seconds since the epoch.
    """

    path: Path
    root: Path
    relative: str
    size: int
    mtime: float
    kind: Kind


@dataclass(frozen=True)
class Scan:
    """What is there: files to read in reading order, and what was left out or could not be opened.

    roots: the folders and files asked for, absolute, outermost first, each once.
    """

    roots: tuple[Path, ...]
    files: tuple[FoundFile, ...]
    skipped: tuple[LeftOut, ...]
    failed: tuple[LeftOut, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files to read."""
        return sum(file.size for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "roots": [str(root) for root in self.roots],
            "files": len(self.files),
            "bytes": self.bytes,
            "kinds": dict(sorted(Counter(str(file.kind) for file in self.files).items())),
            "skipped": [asdict(note.note()) for note in self.skipped],
            "failed": [asdict(note.note()) for note in self.failed],
        }


def scan(paths: Iterable[str | Path], options: IngestOptions | None = None) -> Scan:
    """Find the files below `paths`, reading no more of each than its beginning.

    Hidden files and folders, caches, virtual environments and latefold indexes are passed over in silence, unless asked
    for by name. Links are followed after everything else, and no folder or linked file is visited twice, so loops
    end. Of a BEIR folder (`corpus.jsonl`, `queries.jsonl` and `qrels/`) only the corpus is read.

    Raises `InvalidInputError` when one of `paths` does not exist.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    roots = list(dict.fromkeys(_resolve(path) for path in paths))
    roots.sort(key=lambda root: len(root.parts))  # stable: an enclosing folder goes before what it encloses
    walker = _Walker(options or IngestOptions())
    for root in roots:
        walker.walk(root)
    return Scan(tuple(roots), tuple(walker.files), tuple(walker.skipped), tuple(walker.failed))


def _resolve(path: str | Path) -> Path:
    try:
        resolved = Path(path).expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInputError(f"{path}: {_reason(error)}; give a file or folder that exists") from error
    if not (resolved.is_dir() or resolved.is_file()):
        raise InvalidInputError(f"{path} is neither a file nor a folder")
    return resolved


class _Walker:
    def __init__(self, options: IngestOptions) -> None:
        self._options = options
        self._seen: set[tuple[int, int]] = set()
        self.files: list[FoundFile] = []
        self.skipped: list[LeftOut] = []
        self.failed: list[LeftOut] = []

    def walk(self, root: Path) -> None:
        """Visit a root: what really lies in it first, then what links lead to."""
        if root.is_file():
            self._file(root, root, readable_name(root.name))
            return
        found = len(self.files)
        links: _Paths = []
        self._folder(root, root, "", links)
        while links:
            path, relative = links.pop(0)
            self._link(path, root, relative, links)
        self.files[found:] = sorted(self.files[found:], key=lambda file: file.relative)

    def _folder(self, path: Path, root: Path, prefix: str, links: _Paths) -> None:
        """Visit a folder and those in it (without recursion: folders may be nested very deeply)."""
        waiting = [(path, prefix)]
        while waiting:
            folder, prefix = waiting.pop()
            try:
                if not self._first_visit(folder):
                    continue
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
                beir = is_beir(folder)
            except OSError as error:
                self.failed.append(LeftOut(folder, prefix or ".", f"the folder cannot be opened: {_reason(error)}"))
                continue
            if prefix and any(entry.name in _FOREIGN for entry in entries):
                continue
            if beir:
                entries = self._corpus_only(entries, prefix)
            for entry in entries:
                self._entry(entry, root, prefix, waiting, links)

    def _entry(self, entry: os.DirEntry[str], root: Path, prefix: str, folders: _Paths, links: _Paths) -> None:
        path, relative = Path(entry.path), prefix + readable_name(entry.name)
        if entry.is_symlink():
            if not _passed_over(entry.name):
                links.append((path, relative))
        elif entry.is_dir(follow_symlinks=False):
            if self._enters(entry.name, relative):
                folders.append((path, f"{relative}/"))
        elif self._wanted(entry.name, relative):
            self._file(path, root, relative)

    def _link(self, path: Path, root: Path, relative: str, links: _Paths) -> None:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            self.skipped.append(LeftOut(path, relative, f"a link that leads nowhere: {_reason(error)}"))
            return
        if is_folder:
            if self._enters(path.name, relative):
                self._folder(path, root, f"{relative}/", links)
        elif self._wanted(path.name, relative):
            if _identity(path) in self._seen:
                self.skipped.append(LeftOut(path, relative, "a link to a file that is read anyway"))
            else:
                self._file(path, root, relative)

    def _first_visit(self, path: Path) -> bool:
        identity = _identity(path)
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True

    def _enters(self, name: str, relative: str) -> bool:
        return not (_passed_over(name) or any(_matches(glob, name, relative) for glob in self._options.exclude))

    def _wanted(self, name: str, relative: str) -> bool:
        include = self._options.include
        return self._enters(name, relative) and (not include or any(_matches(glob, name, relative) for glob in include))

    def _corpus_only(self, entries: list[os.DirEntry[str]], prefix: str) -> list[os.DirEntry[str]]:
        for entry in entries:
            if entry.name != _BEIR_CORPUS and not _passed_over(entry.name):
                self.skipped.append(
                    LeftOut(
                        Path(entry.path),
                        prefix + readable_name(entry.name),
                        f"part of a BEIR folder: only {_BEIR_CORPUS} is read",
                    )
                )
        return [entry for entry in entries if entry.name == _BEIR_CORPUS]

    def _file(self, path: Path, root: Path, relative: str) -> None:
        try:
            status = path.stat()
            identity = (status.st_dev, status.st_ino)
            if path == root and identity in self._seen:
                return  # also asked for by way of its folder
            self._seen.add(identity)
            kind = self._kind(path, status)
        except OSError as error:
            self.failed.append(LeftOut(path, relative, f"the file cannot be opened: {_reason(error)}"))
            return
        if isinstance(kind, Unsupported):
            self.skipped.append(LeftOut(path, relative, kind.reason))
        else:
            self.files.append(FoundFile(path, root, relative, status.st_size, status.st_mtime, kind))

    def _kind(self, path: Path, status: os.stat_result) -> Kind | Unsupported:
        if not stat.S_ISREG(status.st_mode):
            return Unsupported("not a regular file")
        if status.st_size == 0:
            return Unsupported("empty file")
        with path.open("rb") as file:
            kind = sniff(path.name, file.read(HEAD_BYTES))
        if isinstance(kind, Unsupported):
            return kind
        if kind is Kind.JSONL and path.name == _BEIR_CORPUS and is_beir(path.parent):
            return Kind.BEIR
        limit = self._options.max_file_bytes
        if status.st_size > limit and not kind.streamed:
            return Unsupported(
                f"{status.st_size / MIB:.1f} MiB is more than the limit of {limit / MIB:g} MiB for {kind} files"
            )
        return kind


def is_beir(folder: Path) -> bool:
    """Whether a folder is in the layout of the BEIR collections."""
    files = (folder / _BEIR_CORPUS, folder / "queries.jsonl")
    return all(file.is_file() for file in files) and (folder / "qrels").is_dir()


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name in _JUNK


def _matches(glob: str, name: str, relative: str) -> bool:
    return fnmatchcase(relative if "/" in glob else name, glob)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def readable_name(name: str) -> str:
    """A file name as text that can be stored: bytes that are not UTF-8 are written as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
