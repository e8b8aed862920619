"""Names of sources, and which root each belongs to, so that one index can be fed from several folders.

A source is named by its path below its root: `guide/intro.md`. Where that name belongs to another root already, the
name of the root's folder goes before it, `docs//guide/intro.md`; if that is taken too, with eight digits of the root's
identity, `docs~1f2e3d4c//guide/intro.md`. A name once given stays, whatever order roots come in.

The root is the folder that was asked for, or the outermost enclosing folder that was asked for too or that the index
was fed from before: `index docs` and later `index docs/new.md` speak of the same sources. Its identity is kept in the
content hash of each source, behind the hash of the bytes: `<xxh3-128>.<xxh3-64 of its path><xxh32 of its name>`.
A folder that moved is recognised by its content: a root never seen takes over the sources of an earlier one when
the folder's name is the same and more than half of those sources are here, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xxhash

from .walk import FoundFile, Scan, readable_name

_NAME_DIGITS = 8


@dataclass(frozen=True)
class Root:
    """A folder (or a single file) that sources are named below."""

    path: Path

    @cached_property
    def id(self) -> str:
        """16 hex digits for the path, 8 for the name."""
        path = xxhash.xxh3_64_hexdigest(str(self.path).encode("utf-8", "surrogatepass"))
        return path + xxhash.xxh32_hexdigest(self.label.encode("utf-8", "surrogatepass"))

    @cached_property
    def label(self) -> str:
        """Name of the folder; for a single file, of the folder it lies in."""
        return (self.path.parent if self.path.is_file() else self.path).name


@dataclass(frozen=True)
class NamedFile:
    """A file, the name of its source, and the root it belongs to."""

    file: FoundFile
    name: str
    root: Root

    def content_hash(self, content: str) -> str:
        """The hash that the index keeps, given that of the content."""
        return f"{content}.{self.root.id}"


@dataclass(frozen=True)
class Sources:
    """The named files of a scan, and the sources of an index that are not among them any more (names, sorted)."""

    files: tuple[NamedFile, ...]
    vanished: tuple[str, ...]


def name_sources(scan: Scan, known: Mapping[str, str], digest: Callable[[FoundFile], str | None]) -> Sources:
    """Name the files of a scan, in the light of the sources that an index has.

    known: name to content hash. digest: hash of a file's content, None when unreadable; asked only about folders that
    may have moved.

    A source has vanished when it belongs to a root (or the part of one) that was scanned, and its file is either
    gone or no longer readable as a document (empty, of another type, too large); a file that could not be
    opened, or was left out by a glob, has not.
    """
    owners = {name: root for name, content in known.items() if (root := split_hash(content)[1])}
    bases = {path: _base(path, scan.roots, set(owners.values())) for path in scan.roots}
    for base in dict.fromkeys(bases.values()):
        owners = _adopt_moved(base, bases, scan, owners, known, digest)
    files = tuple(_assign(scan, bases, owners, known))
    here = {file.name for file in files}
    absent = {name: root for name, root in owners.items() if name not in here}
    return Sources(files, tuple(sorted(set(_vanished(scan, bases, absent)))))


def split_hash(content_hash: str) -> tuple[str, str]:
    """Hash of the content and id of the root; the latter is empty for a source that ingestion did not make."""
    content, _, root = content_hash.partition(".")
    return content, root


def _below(name: str) -> str:
    """The path below its root that a source name stands for."""
    return name.partition("//")[2] or name


def _base(path: Path, roots: Iterable[Path], known_roots: set[str]) -> Root:
    asked = set(roots)
    for folder in reversed(path.parents):
        if folder in asked or Root(folder).id in known_roots:
            return Root(folder)
    return Root(path)


def _prefix(root: Path, base: Root) -> str:
    """What stands before names below `root` (for a file: before its name) when they are told from `base`."""
    folder = root.parent if root.is_file() else root
    if root == base.path or folder == base.path:
        return ""
    return readable_name(folder.relative_to(base.path).as_posix()) + "/"


def _adopt_moved(
    base: Root,
    bases: Mapping[Path, Root],
    scan: Scan,
    owners: dict[str, str],
    known: Mapping[str, str],
    digest: Callable[[FoundFile], str | None],
) -> dict[str, str]:
    """Owners of the known sources, with those of a folder that is now `base` handed over to it."""
    if base.id in owners.values():
        return owners
    others = {root for root in owners.values() if root[-_NAME_DIGITS:] == base.id[-_NAME_DIGITS:]}
    others -= {other.id for other in bases.values()}
    here = {file.relative: file for file in scan.files if file.root == base.path}
    for other in sorted(others):
        earlier = {_below(name): split_hash(known[name])[0] for name, root in owners.items() if root == other}
        shared = [name for name in earlier if name in here]
        half = len(earlier) / 2
        if len(shared) > half and sum(digest(here[name]) == earlier[name] for name in shared) > half:
            return {name: base.id if root == other else root for name, root in owners.items()}
    return owners


def _assign(
    scan: Scan, bases: Mapping[Path, Root], owners: Mapping[str, str], known: Mapping[str, str]
) -> Iterator[NamedFile]:
    used: set[str] = set()
    prefixes = {root: _prefix(root, base) for root, base in bases.items()}
    for file in scan.files:
        base = bases[file.root]
        below = prefixes[file.root] + file.relative
        label = readable_name(base.label)
        names = [below, f"{label}//{below}", f"{label}~{base.id[:8]}//{below}"]
        own = [name for name in names if owners.get(name) == base.id]
        free = [name for name in names if name not in known]
        name = next((name for name in own + free if name not in used), names[-1])
        used.add(name)
        yield NamedFile(file, name, base)


def _vanished(scan: Scan, bases: Mapping[Path, Root], absent: Mapping[str, str]) -> Iterator[str]:
    """Those of the absent sources (name to root) whose files are gone, or are left out for what they are."""
    failed = {note.path for note in scan.failed}
    skipped = {note.path for note in scan.skipped}
    for root, base in bases.items():
        if root.is_file():
            continue
        prefix = _prefix(root, base)
        for name, owner in absent.items():
            below = _below(name)
            if owner != base.id or not below.startswith(prefix):
                continue
            path = base.path / below
            places = {path, *path.parents}
            if not places & failed and (places & skipped or not path.exists()):
                yield name
