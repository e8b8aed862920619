"""Token vectors of a benchmark on disk: one float16 array and offsets, memory-mapped and read block by block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.base import Encoder, Progress
from ..encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ..encoders.errors import StorageError

VECTORS, OFFSETS, MEANS, IDENTITY = "vectors.npy", "offsets.npy", "means.npy", "identity.json"
_LENGTHS = "lengths.partial"
BLOCK = 1_000
"""Texts encoded, and items read, at a time."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """Ragged float16 vectors in a file: those of item `i` are rows `offsets[i]` to `offsets[i + 1]` of it.

    They are read, not mapped, so that the memory of a process that streams through them is its own.

    path: a `.npy` file of `(total, dim)`, its values from byte `start`. offsets: `(n + 1,)` int64. means: `(n, encoder
    dim)` float32, the mean of all dimensions of each item's vectors. digest: of everything they were made from.
    """

    path: Path
    start: int
    dim: int
    offsets: IntArray
    means: FloatArray
    digest: str

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def tokens(self) -> int:
        """Number of vectors of all items."""
        return int(self.offsets[-1])

    def head(self, items: int) -> Vectors:
        """The first items."""
        if items >= len(self):
            return self
        digest = f"{self.digest}-{items}"
        return replace(self, offsets=self.offsets[: items + 1], means=self.means[:items], digest=digest)

    def read(self, start: int = 0, stop: int | None = None) -> TokenEmbeddings:
        """Items from `start` to `stop` as float32 in memory."""
        offsets = self.offsets[start : (len(self) if stop is None else stop) + 1]
        return TokenEmbeddings(self._rows(int(offsets[0]), int(offsets[-1])), offsets - offsets[0])

    def take(self, rows: npt.ArrayLike) -> TokenEmbeddings:
        """Items `rows`, `(k,)` integers, as float32 in memory; only their vectors are read."""
        chosen = np.asarray(rows, np.int64)
        parts = [self._rows(int(self.offsets[row]), int(self.offsets[row + 1])) for row in chosen]
        return TokenEmbeddings.from_list(parts, dim=self.dim)

    def halves(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float16]:
        """Vectors, not items, from `start` to `stop` as they are stored: `(stop - start, dim)` float16 in memory."""
        count = (self.tokens if stop is None else stop) - start
        with self.path.open("rb") as file:
            file.seek(self.start + 2 * self.dim * start)
            return np.fromfile(file, "<f2", self.dim * count).reshape(-1, self.dim)

    def _rows(self, start: int, stop: int) -> FloatArray:
        return self.halves(start, stop).astype(np.float32)

    def blocks(self, size: int = BLOCK) -> Iterator[TokenEmbeddings]:
        """All items in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(start, min(start + size, len(self)))


@dataclass(frozen=True)
class Source:
    """Texts and what turns them into vectors. dim: leading dimensions that are kept, rescaled to length 1."""

    texts: Sequence[str]
    encoder: Encoder
    dim: int
    queries: bool = False

    def encode(self, start: int) -> tuple[TokenEmbeddings, FloatArray]:
        """A block of texts: its token vectors of `dim` dimensions, and each text's mean over all dimensions."""
        part = list(self.texts[start : start + BLOCK])
        made = self.encoder.encode_queries(part) if self.queries else self.encoder.encode_documents(part)
        return made.leading(self.dim), means(made)

    def identity(self) -> dict[str, str | int]:
        """What tells these vectors from others, with a hash of everything they depend on."""
        whole = hashlib.sha256(f"{self.encoder.fingerprint.digest} {self.dim} {self.queries}".encode())
        for text in self.texts:
            whole.update(hashlib.sha256(text.encode()).digest())
        digest = whole.hexdigest()[:16]
        return {"digest": digest, "texts": len(self.texts), "dim": self.dim, "encoder": str(self.encoder.fingerprint)}


def means(tokens: TokenEmbeddings) -> FloatArray:
    """`(n, dim)` float32: the mean vector of each item, not rescaled; zeros for an item without vectors."""
    made = np.zeros((len(tokens), tokens.dim), np.float32)
    for row, vectors in enumerate(tokens):
        if len(vectors):
            made[row] = vectors.mean(axis=0)
    return made


def load(folder: Path) -> Vectors:
    """Vectors that `stored` wrote. Raises `StorageError` when they cannot be read."""
    try:
        identity = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        offsets = np.load(folder / OFFSETS, allow_pickle=False)
        pooled = np.load(folder / MEANS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder} holds no readable vectors: {error}") from error
    start = vectors.offset if isinstance(vectors, np.memmap) else 0
    return Vectors(folder / VECTORS, start, vectors.shape[1], offsets, pooled, str(identity["digest"]))


def stored(folder: Path, source: Source, progress: Progress | None = None) -> Vectors:
    """Vectors of a source, from `folder` when they are there; an interrupted run is taken up where it stopped.

    Raises `StorageError` when the folder cannot be written.
    """
    try:
        if not (folder / OFFSETS).is_file() or _known(folder) != source.identity():
            _write(folder, source, progress)
    except OSError as error:
        raise StorageError(f"vectors cannot be written to {folder}: {error.strerror}") from error
    return load(folder)


def _write(folder: Path, source: Source, progress: Progress | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    identity = source.identity()
    if _known(folder) != identity:
        for name in (OFFSETS, VECTORS, MEANS, _LENGTHS):
            (folder / name).unlink(missing_ok=True)
        (folder / IDENTITY).write_text(json.dumps(identity), encoding="utf-8")
    log = folder / _LENGTHS
    log.touch()
    lengths = np.fromfile(log, np.int64)
    vectors = _Growing(folder / VECTORS, np.dtype("<f2"), source.dim, int(lengths.sum()))
    pooled = _Growing(folder / MEANS, np.dtype("<f4"), source.encoder.dim, len(lengths))
    for start in range(len(lengths), len(source.texts), BLOCK):
        made, whole = source.encode(start)
        vectors.append(made.vectors)
        pooled.append(whole)
        with log.open("ab") as file:
            file.write(made.lengths.tobytes())
        if progress is not None:
            progress(f"encode {folder.name}", start + len(made), len(source.texts))
    lengths = np.fromfile(log, np.int64)
    np.save(folder / OFFSETS, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), allow_pickle=False)
    log.unlink()


class _Growing:
    """A `.npy` file that grows by rows. What lies beyond the first `rows` when it is opened is dropped."""

    def __init__(self, path: Path, dtype: np.dtype[Any], dim: int, rows: int) -> None:
        self._path, self._dtype, self._dim, self._rows = path, dtype, dim, rows
        path.touch()
        with path.open("r+b") as file:
            header = self._header(file)
            file.truncate(header + rows * dim * dtype.itemsize)

    def append(self, rows: npt.NDArray[Any]) -> None:
        with self._path.open("r+b") as file:
            file.seek(0, 2)
            file.write(rows.astype(self._dtype).tobytes())
            self._rows += len(rows)
            self._header(file)

    def _header(self, file: Any) -> int:
        """Write the header at the start; numpy pads it to the same length for every number of rows."""
        file.seek(0)
        shape = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, self._dim)}
        np.lib.format.write_array_header_1_0(file, shape)
        return int(file.tell())


def _known(folder: Path) -> object:
    path = folder / IDENTITY
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
