"""What an index holds and weighs, and whether its bytes are sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders.base import Progress
from ..encoders.errors import IndexCorruptedError
from ..index.storage.catalog import CatalogReader
from ..index.storage.database import check_database
from ..index.storage.files import check_file
from ..index.storage.format import CATALOG, FORMAT_VERSION, PARAMS, PARAMS_FILE
from ..index.storage.pages import PAGES, PageStore
from ..index.storage.segments import check_segment
from .config import starting
from .snapshot import Snapshot, on_newest, params_files
from .writer import record_hash

_CATALOG_FILES = (CATALOG, f"{CATALOG}-wal", f"{CATALOG}-shm")


@dataclass(frozen=True)
class IndexStats:
    """Sizes and settings of an index.

    codec: what stores the tokens now; wanted_codec: what is asked for, a codec, a preset or `auto`. single: the single
    vector per document, in words; bytes_per_vector: its bytes. fitted_documents: how many documents it was fitted to; 0
    while it is fitted to nothing. bytes: bytes on disk by part (`tokens`, `fine`, `vectors`, `graph`, `places`,
    `factors`, `offsets`, `rows`, `catalog`, `params`, `pages`, `total`). calibration: the measured candidate recall
    (see `Calibration`), or None before one was made. factors: how the item factors were made (`ItemFactors.facts`), and
    their `bytes_per_document`; None where there are none.
    """

    path: str
    documents: int
    deleted: int
    tokens: int
    dim: int
    sources: int
    segments: int
    generation: int
    format_version: int
    encoder: str | None
    fingerprint: str | None
    codec: str
    wanted_codec: str
    bytes_per_token: int
    single: str
    bytes_per_vector: int
    fitted_documents: int
    bytes_per_document: float
    bytes: Mapping[str, int]
    calibration: Mapping[str, Any] | None
    factors: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@dataclass(frozen=True)
class VerifyReport:
    """A verification that found nothing wrong: files and bytes read, documents compared."""

    files: int
    bytes: int
    documents: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def stats(folder: Path, snapshot: Snapshot) -> IndexStats:
    """Measure an index."""
    catalog = snapshot.catalog
    parts, fitted, factors = _bytes(folder, catalog), snapshot.fitted, snapshot.factors
    encoder = catalog.meta("encoder") or {}
    tokens = sum(
        len(s.tokens) if mask is None else int(np.diff(s.offsets)[mask].sum())
        for s, mask in zip(snapshot.segments, snapshot.live, strict=True)
    )
    return IndexStats(
        path=str(folder),
        documents=snapshot.documents,
        deleted=sum(len(segment) for segment in snapshot.segments) - snapshot.documents,
        tokens=tokens,
        dim=snapshot.dim,
        sources=len(catalog.sources()),
        segments=len(snapshot.segments),
        generation=catalog.generation,
        format_version=FORMAT_VERSION,
        encoder=encoder.get("name"),
        fingerprint=encoder.get("digest"),
        codec=fitted.codec_name if fitted else starting(snapshot.config),
        wanted_codec=snapshot.config.codec,
        bytes_per_token=fitted.bytes_per_token if fitted else 0,
        single=fitted.single.name if fitted else "",
        bytes_per_vector=fitted.single.width if fitted else 0,
        fitted_documents=fitted.documents if fitted and fitted.misfit is not None else 0,
        bytes_per_document=round(parts["total"] / snapshot.documents, 1) if snapshot.documents else 0.0,
        bytes=parts,
        calibration=catalog.meta("calibration"),
        factors={**factors.facts, "bytes_per_document": factors.width} if factors else None,
    )


def _bytes(folder: Path, catalog: CatalogReader) -> dict[str, int]:
    parts = dict.fromkeys(("tokens", "fine", "vectors", "graph", "places", "factors", "offsets", "rows"), 0)
    for info in catalog.segments():
        for file in info.files:
            parts[file.name.removesuffix(".bin")] += file.size
    files = [folder / name for name in _CATALOG_FILES]
    parts["catalog"] = sum(file.stat().st_size for file in files if file.is_file())
    pages = folder / PAGES
    parts["pages"] = pages.stat().st_size if pages.is_file() else 0
    parts["params"] = sum(file.size for file in params_files(catalog).values())
    parts["total"] = sum(parts.values())
    return parts


def verify(folder: Path, progress: Progress | None = None) -> VerifyReport:
    """Check every stored byte of the newest generation, and of the pages.

    Raises `IndexCorruptedError` naming the first file that is wrong.
    """
    check_database(folder)
    return on_newest(folder, lambda snapshot: _verify(folder, snapshot, progress))


def _verify(folder: Path, snapshot: Snapshot, progress: Progress | None) -> VerifyReport:
    catalog = snapshot.catalog
    catalog.check_sources()
    files = size = 0
    for home, file in params_files(catalog).items():
        check_file(folder / PARAMS / home / PARAMS_FILE, file)
        files, size = files + 1, size + file.size
    segments = catalog.segments()
    for done, segment in enumerate(segments, start=1):
        size += check_segment(folder, segment)
        files += len(segment.files)
        if progress is not None:
            progress("verify", done, len(segments))
    documents = _check_documents(snapshot)
    pages = PageStore(folder).check()
    return VerifyReport(files + 1 + bool(pages), size + (folder / CATALOG).stat().st_size + pages, documents)


def _check_documents(snapshot: Snapshot) -> int:
    live = [s.rows if mask is None else s.rows[mask] for s, mask in zip(snapshot.segments, snapshot.live, strict=True)]
    expected = np.concatenate([np.empty(0, np.int64), *live])
    rows = []
    for record in snapshot.catalog.iterate():
        rows.append(record.row)
        if record_hash(record.id, record.title, record.text, record.metadata) != record.content_hash:
            raise IndexCorruptedError(
                f"document {record.id!r:.80} in {CATALOG} differs from its checksum: index its source again"
            )
    if not np.array_equal(np.sort(expected), np.array(rows, dtype=np.int64)):
        raise IndexCorruptedError(f"{CATALOG} and the segments list different documents: restore a backup")
    return len(rows)
