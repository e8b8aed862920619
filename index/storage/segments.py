"""Segments: immutable groups of documents, written and committed as one folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...encoders.errors import IndexCorruptedError
from .files import FileInfo, check_file, copy_file, open_array, write_array, write_folder
from .format import GRAPH, OFFSETS, PARAMS, ROWS, SEGMENT_FILES, SEGMENTS, TOKENS, VECTORS, Header

Bytes = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
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
    uint8. vectors: `(n, width)` uint8, the single vector per document. graph: `(n + 1, degree)` int32, unchecked, or
    None.
    """

    rows: IntArray
    offsets: IntArray
    tokens: Bytes
    vectors: Bytes
    graph: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.rows)


def open_segment(folder: Path, info: SegmentInfo) -> Segment:
    """Map a segment's files and check that their shapes belong together.

    Raises `IndexCorruptedError` naming the file; `FileNotFoundError` when another process has merged it away.
    """
    files = {file.name: file for file in info.files}
    if set(files) - {GRAPH} != set(SEGMENT_FILES):
        raise IndexCorruptedError(f"the catalog lists files {sorted(files)} for segment {info.id}: restore a backup")
    base = folder / SEGMENTS / info.id
    arrays = [open_array(base / name, files[name]) for name in SEGMENT_FILES]
    rows, offsets = (array.astype(np.int64) for array in arrays[:2])
    tokens, vectors = (array.view(np.uint8) for array in arrays[2:])
    graph = open_array(base / GRAPH, files[GRAPH]).view(np.int32) if GRAPH in files else None
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
        and (graph is None or (graph.ndim == 2 and len(graph) == info.documents + 1))
    )
    if not consistent:
        raise IndexCorruptedError(f"{', '.join(files)} of segment {info.id} do not belong together: restore a backup")
    return Segment(rows, offsets, tokens, vectors, graph)


def write_segment(folder: Path, segment: Segment) -> SegmentInfo:
    """Write an in-memory segment durably under a fresh id; the catalog makes it part of the index."""
    return _write(
        folder,
        documents=len(segment),
        tokens=len(segment.tokens),
        parts={
            ROWS: (Header("int64", len(segment), 0), [segment.rows]),
            OFFSETS: (Header("int64", len(segment) + 1, 0), [segment.offsets]),
            TOKENS: (Header("uint8", *segment.tokens.shape), [segment.tokens]),
            VECTORS: (Header("uint8", *segment.vectors.shape), [segment.vectors]),
        },
    )


def rewrite_segment(
    folder: Path,
    info: SegmentInfo,
    vectors: tuple[int, Iterable[Bytes]] | None = None,
    graph: npt.NDArray[np.int32] | None = None,
) -> SegmentInfo:
    """A new segment with the same documents and tokens, whose files are shared with the old one where that is possible.

    vectors: the bytes of a row and the rows, block by block, of new single vectors; the same as before when None.
    graph: over the vectors; a segment with new vectors loses the graph of the old ones.
    """
    kept = {file.name: file for file in info.files if file.name != GRAPH and not (vectors and file.name == VECTORS)}
    parts: dict[str, tuple[Header, Iterable[npt.NDArray[np.generic]]]] = {}
    if vectors is not None:
        parts[VECTORS] = (Header("uint8", info.documents, vectors[0]), vectors[1])
    if graph is not None:
        parts[GRAPH] = (Header("int32", *graph.shape), [graph])
    name = uuid.uuid4().hex

    def fill(home: Path) -> tuple[FileInfo, ...]:
        for file in kept:
            copy_file(folder / SEGMENTS / info.id / file, home / file)
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
    first = segments[0]
    return _write(
        folder,
        documents=len(rows),
        tokens=int(offsets[-1]),
        parts={
            ROWS: (Header("int64", len(rows), 0), [rows]),
            OFFSETS: (Header("int64", len(offsets), 0), [offsets]),
            TOKENS: (
                Header("uint8", int(offsets[-1]), first.tokens.shape[1]),
                _live_tokens(segments, keep, progress),
            ),
            VECTORS: (Header("uint8", len(rows), first.vectors.shape[1]), _live_vectors(segments, keep)),
        },
    )


def _live_tokens(
    segments: Sequence[Segment], keep: Sequence[IntArray], progress: Callable[[int], None] | None
) -> Iterable[Bytes]:
    done = 0
    for segment, kept in zip(segments, keep, strict=True):
        for begin, end in _runs(segment.offsets, kept):
            for start in range(begin, end, _MERGE_ROWS):
                block = segment.tokens[start : min(start + _MERGE_ROWS, end)]
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


def _live_vectors(segments: Sequence[Segment], keep: Sequence[IntArray]) -> Iterable[Bytes]:
    for segment, kept in zip(segments, keep, strict=True):
        for start in range(0, len(kept), 4096):
            yield segment.vectors[kept[start : start + 4096]]


def _write(
    folder: Path,
    *,
    documents: int,
    tokens: int,
    parts: dict[str, tuple[Header, Iterable[npt.NDArray[np.generic]]]],
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
