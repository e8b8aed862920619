"""Segments: immutable groups of documents, written and committed as one folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...encoders.errors import IndexCorruptedError
from .files import FileInfo, check_file, copy_file, open_array, write_array, write_folder
from .format import (
    FACTORS,
    FINE,
    GRAPH,
    OFFSETS,
    OPTIONAL_FILES,
    PARAMS,
    PLACES,
    ROWS,
    SEGMENT_FILES,
    SEGMENTS,
    TOKENS,
    VECTORS,
    Header,
)

Bytes = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
Parts = Mapping[str, tuple[Header, Iterable[npt.NDArray[np.generic]]]]
"""Array files by name: header and consecutive pieces."""
_MERGE_ROWS = 1 << 16


@dataclass(frozen=True)
class SegmentInfo:
    """A segment as the catalog records it."""

    id: str
    documents: int
    tokens: int
    files: tuple[FileInfo, ...]


@dataclass(frozen=True, eq=False)
class Segment:
    """An open segment; all arrays may be read-only memory maps.

    rows: `(n,)` int64 catalog rows, ascending. offsets: `(n + 1,)` int64. tokens: `(offsets[-1], bytes_per_token)`
    uint8. vectors: `(n, width)` uint8, the single vector per document. fine: `(offsets[-1], bytes)` uint8, finer codes
    of the tokens, or None. places: `(offsets[-1],)` int32, the number of each token within its document as it was
    encoded, or None when all are stored. graph: `(n + 1, degree)` int32, unchecked, or None. factors: `(n, width)`
    uint8, what scores of an expensive scorer are regressed on (`index.factors`), or None.
    """

    rows: IntArray
    offsets: IntArray
    tokens: Bytes
    vectors: Bytes
    fine: Bytes | None = None
    places: npt.NDArray[np.int32] | None = None
    graph: npt.NDArray[np.int32] | None = None
    factors: Bytes | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def finest(self) -> Bytes:
        """The most precise codes there are of the tokens."""
        return self.tokens if self.fine is None else self.fine


def open_segment(folder: Path, info: SegmentInfo) -> Segment:
    """Map a segment's files and check that their shapes belong together.

    Raises `IndexCorruptedError` naming the file; `FileNotFoundError` when another process has merged it away.
    """
    files = {file.name: file for file in info.files}
    if set(files) - set(OPTIONAL_FILES) != set(SEGMENT_FILES):
        raise IndexCorruptedError(f"the catalog lists files {sorted(files)} for segment {info.id}: restore a backup")
    base = folder / SEGMENTS / info.id
    arrays = [open_array(base / name, files[name]) for name in SEGMENT_FILES]
    rows, offsets = (array.astype(np.int64) for array in arrays[:2])
    tokens, vectors = (array.view(np.uint8) for array in arrays[2:])
    optional = (open_array(base / name, files[name]) if name in files else None for name in OPTIONAL_FILES)
    fine, places, graph, factors = optional
    consistent = (
        info.documents > 0
        and rows.shape == (info.documents,)
        and offsets.shape == (info.documents + 1,)
        and tokens.ndim == vectors.ndim == 2
        and len(tokens) == info.tokens
        and len(vectors) == info.documents
        and int(offsets[0]) == 0
        and int(offsets[-1]) == info.tokens
        and bool((offsets[1:] >= offsets[:-1]).all())  # a difference could overflow
        and bool((rows[1:] > rows[:-1]).all())
        and (fine is None or (fine.ndim == 2 and len(fine) == info.tokens))
        and (places is None or places.shape == (info.tokens,))
        and (graph is None or (graph.ndim == 2 and len(graph) == info.documents + 1))
        and (factors is None or (factors.ndim == 2 and len(factors) == info.documents))
    )
    if not consistent:
        raise IndexCorruptedError(f"{', '.join(files)} of segment {info.id} do not belong together: restore a backup")
    return Segment(
        rows,
        offsets,
        tokens,
        vectors,
        None if fine is None else fine.view(np.uint8),
        None if places is None else places.view(np.int32),
        None if graph is None else graph.view(np.int32),
        None if factors is None else factors.view(np.uint8),
    )


def write_segment(folder: Path, segment: Segment) -> SegmentInfo:
    """Write an in-memory segment durably under a fresh id; the catalog makes it part of the index."""
    parts: dict[str, tuple[Header, Iterable[npt.NDArray[np.generic]]]] = {
        ROWS: (Header("int64", len(segment), 0), [segment.rows]),
        OFFSETS: (Header("int64", len(segment) + 1, 0), [segment.offsets]),
        TOKENS: (Header("uint8", *segment.tokens.shape), [segment.tokens]),
        VECTORS: (Header("uint8", *segment.vectors.shape), [segment.vectors]),
    }
    if segment.fine is not None:
        parts[FINE] = (Header("uint8", *segment.fine.shape), [segment.fine])
    if segment.places is not None:
        parts[PLACES] = (Header("int32", len(segment.places), 0), [segment.places])
    if segment.factors is not None:
        parts[FACTORS] = (Header("uint8", *segment.factors.shape), [segment.factors])
    return _write(folder, documents=len(segment), tokens=len(segment.tokens), parts=parts)


def rewrite_segment(
    folder: Path,
    info: SegmentInfo,
    parts: Parts,
    renamed: Mapping[str, str] | None = None,
    dropped: Collection[str] = (),
) -> SegmentInfo:
    """A new segment of the same documents and tokens, whose other files are shared with the old one.

    parts: the files that are new or replace old ones. renamed: new names of files that are kept. dropped: files to
    leave out. A segment with new vectors loses the graph over the old ones, one with new tokens the finer codes beside
    the old ones.
    """
    renamed = renamed or {}
    lost = {name for name, cause in ((GRAPH, VECTORS), (FINE, TOKENS)) if cause in parts}.union(dropped)
    kept = {
        file.name: FileInfo(renamed.get(file.name, file.name), file.size, file.checksum)
        for file in info.files
        if renamed.get(file.name, file.name) not in parts and file.name not in lost
    }
    name = uuid.uuid4().hex

    def fill(home: Path) -> tuple[FileInfo, ...]:
        for old, file in kept.items():
            copy_file(folder / SEGMENTS / info.id / old, home / file.name)
        new = [write_array(home / file, header, chunks) for file, (header, chunks) in parts.items()]
        return (*kept.values(), *new)

    return SegmentInfo(name, info.documents, info.tokens, write_folder(folder / SEGMENTS / name, fill))


def merge_segments(
    folder: Path,
    segments: Sequence[Segment],
    live: Sequence[npt.NDArray[np.bool_]],
    progress: Callable[[int], None] | None = None,
) -> SegmentInfo:
    """Copy the live documents of adjacent segments into one new segment, byte for byte, in bounded memory.

    live: one `(n,)` mask a segment. progress: called with the number of token rows written so far.
    """
    keep = [np.flatnonzero(mask) for mask in live]
    lengths = [np.diff(s.offsets)[k] for s, k in zip(segments, keep, strict=True)]
    rows = np.concatenate([s.rows[k] for s, k in zip(segments, keep, strict=True)])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    parts: dict[str, tuple[Header, Iterable[npt.NDArray[np.generic]]]] = {
        ROWS: (Header("int64", len(rows), 0), [rows]),
        OFFSETS: (Header("int64", len(offsets), 0), [offsets]),
    }
    for name, arrays in _of_documents(segments).items():
        parts[name] = (Header("uint8", len(rows), arrays[0].shape[1]), _live_rows(arrays, keep))
    total = int(offsets[-1])
    for name, arrays in _of_tokens(segments).items():
        columns = arrays[0].shape[1] if arrays[0].ndim == 2 else 0
        report = progress if name == TOKENS else None
        parts[name] = (Header(str(arrays[0].dtype), total, columns), _live_tokens(segments, arrays, keep, report))
    return _write(folder, documents=len(rows), tokens=total, parts=parts)


def _of_documents(segments: Sequence[Segment]) -> dict[str, list[Bytes]]:
    """What the segments store of each document, file by file."""
    found = {VECTORS: [segment.vectors for segment in segments]}
    factors = [segment.factors for segment in segments if segment.factors is not None]
    if len(factors) == len(segments):
        found[FACTORS] = factors
    return found


def _of_tokens(segments: Sequence[Segment]) -> dict[str, list[npt.NDArray[Any]]]:
    """What the segments store of each token, file by file."""
    found: dict[str, list[npt.NDArray[Any]]] = {TOKENS: [segment.tokens for segment in segments]}
    fine = [segment.fine for segment in segments if segment.fine is not None]
    places = [segment.places for segment in segments if segment.places is not None]
    if len(fine) == len(segments):
        found[FINE] = list(fine)
    if len(places) == len(segments):
        found[PLACES] = list(places)
    return found


def _live_tokens(
    segments: Sequence[Segment],
    arrays: Sequence[npt.NDArray[Any]],
    keep: Sequence[IntArray],
    progress: Callable[[int], None] | None,
) -> Iterable[npt.NDArray[Any]]:
    done = 0
    for segment, array, kept in zip(segments, arrays, keep, strict=True):
        for begin, end in _runs(segment.offsets, kept):
            for start in range(begin, end, _MERGE_ROWS):
                block = array[start : min(start + _MERGE_ROWS, end)]
                yield block
                done += len(block)
                if progress is not None:
                    progress(done)


def _runs(offsets: IntArray, kept: IntArray) -> Iterable[tuple[int, int]]:
    """Token ranges of the kept documents, neighbours joined."""
    if not len(kept):
        return
    breaks = np.flatnonzero(np.diff(kept) != 1) + 1
    starts = kept[np.concatenate([[0], breaks])]
    ends = kept[np.concatenate([breaks - 1, [len(kept) - 1]])]
    for start, end in zip(starts, ends, strict=True):
        yield int(offsets[start]), int(offsets[end + 1])


def _live_rows(arrays: Sequence[Bytes], keep: Sequence[IntArray]) -> Iterable[Bytes]:
    for array, kept in zip(arrays, keep, strict=True):
        for start in range(0, len(kept), 4096):
            yield array[kept[start : start + 4096]]


def _write(
    folder: Path,
    *,
    documents: int,
    tokens: int,
    parts: Parts,
) -> SegmentInfo:
    name = uuid.uuid4().hex
    files = write_folder(
        folder / SEGMENTS / name,
        lambda home: tuple(write_array(home / file, header, chunks) for file, (header, chunks) in parts.items()),
    )
    return SegmentInfo(name, documents, tokens, files)


def check_segment(folder: Path, info: SegmentInfo) -> int:
    """Compare every byte of a segment with its checksums; returns the bytes read."""
    for file in info.files:
        check_file(folder / SEGMENTS / info.id / file.name, file)
    return sum(file.size for file in info.files)


def remove_segment(folder: Path, name: str) -> None:
    """Delete a segment's files; readers that mapped them keep their view until they close it."""
    shutil.rmtree(folder / SEGMENTS / name, ignore_errors=True)


def orphans(folder: Path, segments: Iterable[str], params: Iterable[str]) -> list[Path]:
    """Folders of segments and parameters that the newest commit does not refer to (left by a killed writer)."""
    known = {SEGMENTS: set(segments), PARAMS: set(params)}
    return [
        entry
        for home, names in known.items()
        if (folder / home).is_dir()
        for entry in sorted((folder / home).iterdir())
        if entry.name not in names
    ]


def remove(paths: Iterable[Path]) -> None:
    """Delete orphans. Only the holder of the writer lock may."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
