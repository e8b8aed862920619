"""A reader's view of the index: one catalog generation and the segments it lists, mapped into memory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_safetensors

from ..encoders.errors import IndexCorruptedError, StorageError
from ..index.encodings.fde import FDE
from ..index.lvq import LVQ
from ..index.storage.catalog import CatalogReader, current_commit
from ..index.storage.files import FileInfo, check_file
from ..index.storage.format import PARAMS, PARAMS_FILE, TOKENS, VECTORS
from ..index.storage.segments import Segment, open_segment
from ..index.tokens.base import TokenCodec, codec
from .config import IndexConfig
from .filters import CompiledFilter

Mask = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
T = TypeVar("T")
_ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class Fitted:
    """Frozen parameters of an index: what turns token vectors into stored bytes and back into scores."""

    codec: TokenCodec
    fde: FDE
    lvq: LVQ

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to store; the FDE is a function of the configuration alone."""
        return {
            **{f"codec.{key}": value for key, value in self.codec.params().items()},
            **{f"lvq.{key}": value for key, value in self.lvq.params().items()},
        }

    @classmethod
    def from_arrays(cls, config: IndexConfig, dim: int, arrays: dict[str, npt.NDArray[Any]]) -> Fitted:
        """Inverse of `to_arrays`."""
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {"codec": {}, "lvq": {}}
        for key, value in arrays.items():
            owner, _, name = key.partition(".")
            parts[owner][name] = value
        return cls(
            codec(config.codec).from_params(dim, parts["codec"]),
            FDE(config.fde, dim),
            LVQ.from_params(parts["lvq"]),
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One generation. live: a mask a segment, or None where all its documents are alive."""

    catalog: CatalogReader
    config: IndexConfig
    dim: int
    fitted: Fitted | None
    segments: Sequence[Segment]
    live: Sequence[Mask | None]
    documents: int

    @property
    def tokens(self) -> int:
        """Stored token vectors, dead ones included."""
        return sum(len(segment.tokens) for segment in self.segments)

    def allowed(self, condition: CompiledFilter | None) -> list[IntArray | None]:
        """For each segment the positions that may be scored: live and, if given, matching; None for all of them."""
        if condition is None:
            return [None if mask is None else np.flatnonzero(mask) for mask in self.live]
        rows = self.catalog.rows_where(condition.where, condition.parameters)
        return [np.flatnonzero(np.isin(segment.rows, rows, assume_unique=True)) for segment in self.segments]

    def locate(self, row: int) -> tuple[Segment, int]:
        """Segment and position of a row."""
        for segment in self.segments:
            position = int(np.searchsorted(segment.rows, row))
            if position < len(segment) and segment.rows[position] == row:
                return segment, position
        raise IndexCorruptedError(f"no segment holds row {row} of the catalog: restore the index from a backup")


def open_snapshot(folder: Path) -> Snapshot:
    """Open the newest generation. Raises `IndexCorruptedError` naming a file that is missing."""
    return on_newest(folder, lambda snapshot: snapshot)


def on_newest(folder: Path, use: Callable[[Snapshot], T]) -> T:
    """`use(snapshot)` of the newest generation; the snapshot is open until the last reference to it goes.

    A merge by another process can delete a segment between reading the catalog and reading its files: then the
    catalog has moved on, and is read again.
    """
    for _ in range(_ATTEMPTS):
        catalog = CatalogReader(folder)
        try:
            return use(_assemble(folder, catalog))
        except FileNotFoundError as error:
            if current_commit(folder) == catalog.commit:
                name = "/".join(Path(error.filename).parts[-3:])
                raise IndexCorruptedError(f"{name} is missing: restore it from a backup") from error
            catalog.close()
        except BaseException:
            catalog.close()
            raise
    raise StorageError(errno.EAGAIN, f"{folder.name} was merged {_ATTEMPTS} times while it was opened: try again")


def _assemble(folder: Path, catalog: CatalogReader) -> Snapshot:
    config = IndexConfig.from_dict(catalog.meta("config"))
    dim = int(catalog.meta("dim"))
    segments = [open_segment(folder, info) for info in catalog.segments()]
    dead = catalog.tombstones()
    live = [_live_mask(segment, dead) for segment in segments]
    stored = catalog.meta("params")
    fitted = None if stored is None else _load_fitted(folder, config, dim, stored)
    _check_widths(segments, fitted)
    documents = sum(len(s) if mask is None else int(mask.sum()) for s, mask in zip(segments, live, strict=True))
    return Snapshot(catalog, config, dim, fitted, segments, live, documents)


def _check_widths(segments: Sequence[Segment], fitted: Fitted | None) -> None:
    """Kernels trust the row widths of tokens and vectors."""
    for segment in segments:
        widths = (segment.tokens.shape[1], segment.vectors.shape[1])
        if fitted is None or widths != (fitted.codec.bytes_per_token, fitted.lvq.width):
            raise IndexCorruptedError(
                f"{TOKENS} and {VECTORS} of a segment have rows of {widths} bytes, not what {PARAMS_FILE} asks for: "
                "restore a backup"
            )


def _live_mask(segment: Segment, dead: IntArray) -> Mask | None:
    inside = dead[np.isin(dead, segment.rows, assume_unique=True)]
    if not len(inside):
        return None
    return ~np.isin(segment.rows, inside, assume_unique=True)


def _load_fitted(folder: Path, config: IndexConfig, dim: int, stored: dict[str, Any]) -> Fitted:
    path = folder / PARAMS / stored["checksum"] / PARAMS_FILE
    check_file(path, FileInfo(PARAMS_FILE, stored["size"], stored["checksum"]))
    return Fitted.from_arrays(config, dim, load_safetensors(path.read_bytes()))
