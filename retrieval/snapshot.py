"""A reader's view of the index: one catalog generation and the segments it lists, mapped into memory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from ..encoders.errors import IndexCorruptedError, InvalidInputError, StorageError
from ..index.factors import ItemFactors
from ..index.graph import Graph
from ..index.single import Arrays, SingleVectors
from ..index.storage.catalog import CatalogReader, current_commit
from ..index.storage.files import FileInfo, check_file
from ..index.storage.format import CATALOG, FACTORS, FINE, PARAMS, PARAMS_FILE, TOKENS, VECTORS
from ..index.storage.segments import Segment, SegmentInfo, open_segment
from ..index.tokens.base import TokenCodec, codec
from .config import IndexConfig
from .filters import CompiledFilter
from .page_table import PageTable

Mask = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
T = TypeVar("T")
PARAMS_KEYS: Final = ("params", "factors")
"""Settings of the catalog that refer to fitted arrays."""
_ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class Fitted:
    """Frozen parameters of an index: what turns token vectors into stored bytes and back into scores.

    codec: of all tokens. fine: of finer codes beside them, where tokens have two levels. documents: how many there were
    when the form of the single vectors was chosen; 0 before that. misfit: mean relative squared residual of these
    documents, None where the encoding has none. next_row: documents from here on came later.
    """

    codec: TokenCodec
    single: SingleVectors
    fine: TokenCodec | None = None
    documents: int = 0
    misfit: float | None = None
    next_row: int = 0

    @property
    def finest(self) -> TokenCodec:
        """The codec of `Segment.finest`, whose scores are final."""
        return self.codec if self.fine is None else self.fine

    @property
    def codec_name(self) -> str:
        """As in a configuration: `pq32`, or `pq32+lvq8` for two levels."""
        return self.codec.name if self.fine is None else f"{self.codec.name}+{self.fine.name}"

    @property
    def bytes_per_token(self) -> int:
        """Of all levels."""
        return self.codec.bytes_per_token + (0 if self.fine is None else self.fine.bytes_per_token)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to store."""
        parts = {"codec": self.codec.params(), "single": self.single.params()}
        if self.fine is not None:
            parts["fine"] = self.fine.params()
        return {f"{owner}.{key}": value for owner, arrays in parts.items() for key, value in arrays.items()}

    def to_dict(self) -> dict[str, Any]:
        """What else is to be stored, JSON-ready."""
        return {
            "codec": self.codec_name,
            "single": self.single.spec(),
            "documents": self.documents,
            "misfit": self.misfit,
            "next_row": self.next_row,
        }

    @classmethod
    def load(
        cls, config: IndexConfig, dim: int, stored: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Fitted:
        """Inverse of `to_arrays` and `to_dict`."""
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {"codec": {}, "fine": {}, "single": {}}
        for key, value in arrays.items():
            owner, _, name = key.partition(".")
            parts[owner][name] = value
        numbers = (stored["documents"], stored["next_row"])
        if not all(type(n) is int and n >= 0 for n in numbers) or not isinstance(stored["misfit"], float | int | None):
            raise ValueError("documents, next_row and misfit are not numbers")
        name, _, fine = str(stored.get("codec", config.codec)).partition("+")
        return cls(
            codec(name).from_params(dim, parts["codec"]),
            SingleVectors.from_params(stored["single"], dim, parts["single"]),
            codec(fine).from_params(dim, parts["fine"]) if fine else None,
            stored["documents"],
            stored["misfit"],
            stored["next_row"],
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One generation. live: a mask a segment, or None where all its documents are alive. graphs: checked, or None.

    infos and params: the segments and fitted parameters as the catalog records them. factors: what the rows of
    `Segment.factors` mean, or None when there are none.
    """

    catalog: CatalogReader
    config: IndexConfig
    dim: int
    fitted: Fitted | None
    segments: Sequence[Segment]
    live: Sequence[Mask | None]
    graphs: Sequence[Graph | None]
    documents: int
    infos: Sequence[SegmentInfo]
    params: Mapping[str, Any] | None
    factors: ItemFactors | None

    @cached_property
    def calibration(self) -> Mapping[str, Any]:
        """The stored calibration, which every search asks for; empty when there is none."""
        stored = self.catalog.meta("calibration")
        return stored if isinstance(stored, dict) else {}

    @cached_property
    def page_table(self) -> PageTable:
        """Which documents are on one page; read when a search for pages first asks."""
        return PageTable.of(self.catalog)

    @property
    def tokens(self) -> int:
        """Stored token vectors, dead ones included."""
        return sum(len(segment.tokens) for segment in self.segments)

    def allowed(self, condition: CompiledFilter | None) -> Sequence[Mask | None]:
        """For each segment which documents may be found: live and, if given, matching; None for all of them."""
        if condition is None:
            return self.live
        rows = self.catalog.rows_where(condition.where, condition.parameters)
        return [_marked(segment, rows) for segment in self.segments]

    def locate(self, row: int) -> tuple[Segment, int]:
        """Segment and position of a row."""
        for segment in self.segments:
            position = int(np.searchsorted(segment.rows, row))
            if position < len(segment) and segment.rows[position] == row:
                return segment, position
        raise IndexCorruptedError(f"no segment holds row {row} of the catalog: restore the index from a backup")


def open_snapshot(folder: Path, previous: Snapshot | None = None) -> Snapshot:
    """Open the newest generation, with what it shares with a `previous` one. Raises `IndexCorruptedError`."""
    return on_newest(folder, lambda snapshot: snapshot, previous)


def on_newest(folder: Path, use: Callable[[Snapshot], T], previous: Snapshot | None = None) -> T:
    """`use(snapshot)` of the newest generation; the snapshot is open until the last reference to it goes.

    Raises `IndexCorruptedError` naming a file that is missing. Segments and parameters that `previous` has open are not
    opened again: they never change.

    A merge by another process can delete a segment between reading the catalog and reading its files: then the
    catalog has moved on, and is read again.
    """
    for _ in range(_ATTEMPTS):
        catalog = CatalogReader(folder)
        try:
            return use(_assemble(folder, catalog, previous))
        except FileNotFoundError as error:
            if current_commit(folder) == catalog.commit:
                name = "/".join(Path(error.filename).parts[-3:])
                raise IndexCorruptedError(f"{name} is missing: restore it from a backup") from error
            catalog.close()
        except BaseException:
            catalog.close()
            raise
    raise StorageError(errno.EAGAIN, f"{folder.name} was merged {_ATTEMPTS} times while it was opened: try again")


def _assemble(folder: Path, catalog: CatalogReader, previous: Snapshot | None) -> Snapshot:
    try:
        config, dim = IndexConfig.from_dict(catalog.meta("config")), int(catalog.meta("dim"))
    except (AttributeError, KeyError, TypeError, ValueError, InvalidInputError) as error:
        raise IndexCorruptedError(f"the settings in {CATALOG} are not those of an index ({error})") from error
    infos = catalog.segments()
    opened = _opened(previous)
    pairs = [opened[info] if info in opened else _open(folder, info) for info in infos]
    segments = [segment for segment, _ in pairs]
    dead = catalog.tombstones()
    live = [_live_mask(segment, dead) for segment in segments]
    stored = catalog.meta("params")
    if previous is not None and stored == previous.params:
        fitted = previous.fitted
    else:
        fitted = _load_params(folder, stored, lambda arrays: Fitted.load(config, dim, stored, arrays))
    described = catalog.meta("factors")
    if previous is not None and described == previous.catalog.meta("factors"):
        factors = previous.factors
    else:
        factors = _load_params(folder, described, lambda arrays: ItemFactors.from_params(described, dim, arrays))
    _check_widths(segments, fitted, factors)
    documents = sum(len(s) if mask is None else int(mask.sum()) for s, mask in zip(segments, live, strict=True))
    graphs = [graph for _, graph in pairs]
    return Snapshot(catalog, config, dim, fitted, segments, live, graphs, documents, infos, stored, factors)


def _opened(snapshot: Snapshot | None) -> dict[SegmentInfo, tuple[Segment, Graph | None]]:
    if snapshot is None:
        return {}
    return dict(zip(snapshot.infos, zip(snapshot.segments, snapshot.graphs, strict=True), strict=True))


def _open(folder: Path, info: SegmentInfo) -> tuple[Segment, Graph | None]:
    segment = open_segment(folder, info)
    if segment.graph is None:
        return segment, None
    graph = Graph.from_array(segment.graph)
    graph.check(len(segment))  # searches follow links without looking
    return segment, graph


def _check_widths(segments: Sequence[Segment], fitted: Fitted | None, factors: ItemFactors | None) -> None:
    """Kernels trust the row widths of tokens, vectors and factors."""
    for segment in segments:
        widths = (segment.tokens.shape[1], segment.vectors.shape[1])
        if fitted is None or widths != (fitted.codec.bytes_per_token, fitted.single.width):
            raise IndexCorruptedError(
                f"{TOKENS} and {VECTORS} of a segment have rows of {widths} bytes, not what {PARAMS_FILE} asks for: "
                "restore a backup"
            )
        optional = (
            (FINE, segment.fine, 0 if fitted.fine is None else fitted.fine.bytes_per_token),
            (FACTORS, segment.factors, 0 if factors is None else factors.width),
        )
        for name, rows, wanted in optional:
            width = 0 if rows is None else rows.shape[1]
            if width != wanted:
                raise IndexCorruptedError(
                    f"{name} of a segment has rows of {width} bytes, not what {PARAMS_FILE} asks for: restore a backup"
                )


def _marked(segment: Segment, rows: IntArray) -> Mask:
    """Which documents of a segment are among `rows`, which need not be sorted; cheap when they are few."""
    places = np.minimum(np.searchsorted(segment.rows, rows), len(segment) - 1)
    mask = np.zeros(len(segment), np.bool_)
    mask[places[segment.rows[places] == rows]] = True
    return mask


def _live_mask(segment: Segment, dead: IntArray) -> Mask | None:
    if not len(dead):
        return None
    mask = _marked(segment, dead)
    return ~mask if mask.any() else None


def params_files(catalog: CatalogReader) -> dict[str, FileInfo]:
    """Files of fitted arrays that a generation refers to, each by the name of its folder."""
    stored = [value for key in PARAMS_KEYS if (value := catalog.meta(key)) is not None]
    return {value["checksum"]: FileInfo(PARAMS_FILE, value["size"], value["checksum"]) for value in stored}


def _load_params(folder: Path, stored: Any, make: Callable[[Arrays], T]) -> T | None:
    """What `make` makes of stored arrays; None where the catalog has none."""
    if stored is None:
        return None
    if not isinstance(stored, dict) or not {"checksum", "size"} <= stored.keys():
        raise IndexCorruptedError(f"{CATALOG} does not say where {PARAMS_FILE} is: restore a backup")
    path = folder / PARAMS / stored["checksum"] / PARAMS_FILE
    check_file(path, FileInfo(PARAMS_FILE, stored["size"], stored["checksum"]))
    try:
        return make(load_safetensors(path.read_bytes()))
    except (KeyError, TypeError, ValueError, SafetensorError, InvalidInputError) as error:
        raise IndexCorruptedError(f"{PARAMS_FILE} is not what the catalog says ({error}): restore a backup") from error
