"""A new index: an empty catalog in a folder that holds nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..encoders.base import Encoder, load_encoder
from ..encoders.errors import IndexExistsError, InvalidInputError
from ..index.storage import catalog as catalogs
from ..index.storage.files import storage_error
from ..index.storage.format import CATALOG, LOCK, PARAMS, SEGMENTS
from ..index.storage.lock import writer_lock
from ..index.storage.pages import PAGES
from .config import IndexConfig
from .encoding import LazyEncoder

_OURS: Final = {
    *(CATALOG, f"{CATALOG}-wal", f"{CATALOG}-shm", f"{CATALOG}-journal", PAGES, f"{PAGES}-journal"),
    *(LOCK, f"{LOCK}.json", SEGMENTS, PARAMS),
}


def create(
    path: Path,
    encoder: str | Path | Encoder,
    dim: int | None,
    config: IndexConfig,
    *,
    threads: int | None = None,
    offline: bool = False,
) -> LazyEncoder:
    """Make the index; returns its encoder. See `Index.create`."""
    lazy = LazyEncoder(None)
    if dim is None:
        if isinstance(encoder, str | Path):
            encoder = load_encoder(encoder, threads=threads, offline=offline)
        lazy, dim = LazyEncoder.of(encoder), encoder.dim
    elif isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= 65_536:
        raise InvalidInputError(f"dim is a whole number from 1 to 65536, got {dim!r}")
    _make_folder(path)
    with writer_lock(path):
        if catalogs.exists(path):
            raise IndexExistsError(f"{path} already holds an index: open it, or choose another path")
        catalogs.create(path, {"config": config.to_dict(), "dim": dim, "encoder": lazy.stored})
    return lazy


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS)
    except OSError as error:
        raise storage_error("create", path, error) from error
    if foreign:
        raise IndexExistsError(f"{path} holds other files ({foreign[0]}): choose an empty or a new folder")
