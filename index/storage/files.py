"""Array files: written once and synced, read by memory map after their header and size were checked."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from ...encoders.errors import IndexCorruptedError, StorageError
from .format import HEADER_SIZE, TEMPORARY, Header

T = TypeVar("T")
_BLOCK = 1 << 22


@dataclass(frozen=True)
class FileInfo:
    """A stored file as the catalog records it: name, size in bytes and xxh3-128 of all its bytes (hex)."""

    name: str
    size: int
    checksum: str


def write_array(path: Path, header: Header, chunks: Iterable[npt.NDArray[np.generic]]) -> FileInfo:
    """Write header and chunks (C-contiguous, `header.dtype`, together `header.shape`) to a new file and sync it.

    Raises `StorageError` when the operating system refuses; the partial file is the caller's to remove.
    """
    digest = xxhash.xxh3_128()
    size = 0
    try:
        with path.open("xb") as file:
            for data in _pieces(header, chunks):
                file.write(data)
                digest.update(data)
                size += len(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error("write", path, error) from error
    if size != header.file_size:
        raise ValueError(f"{path.name}: chunks gave {size} bytes, the header promises {header.file_size}")
    return FileInfo(path.name, size, digest.hexdigest())


def _pieces(header: Header, chunks: Iterable[npt.NDArray[np.generic]]) -> Iterable[memoryview | bytes]:
    yield header.pack()
    for chunk in chunks:
        array = np.ascontiguousarray(chunk, dtype=np.dtype(header.dtype).newbyteorder("<"))
        if array.size:
            yield array.view(np.uint8).reshape(-1).data


def write_bytes(path: Path, data: bytes) -> FileInfo:
    """Write a small file and sync it."""
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error("write", path, error) from error
    return FileInfo(path.name, len(data), xxhash.xxh3_128_hexdigest(data))


def copy_file(source: Path, target: Path) -> None:
    """Make a stored file appear under a second name: a hard link, or a synced copy where there are none.

    Stored files never change, so the two names may share their bytes.
    """
    try:
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, target)
            with target.open("rb") as file:
                os.fsync(file.fileno())
    except OSError as error:
        raise storage_error("write", target, error) from error


def open_array(path: Path, info: FileInfo) -> npt.NDArray[np.generic]:
    """Map a stored array read-only, after checking its size against the catalog and its header.

    Raises `IndexCorruptedError` naming the file; `FileNotFoundError` when it is gone (a reader then looks again).
    """
    try:
        size = path.stat().st_size
        if size != info.size:
            raise IndexCorruptedError(
                f"{_short(path)} has {size} bytes, the catalog says {info.size}: restore a backup"
            )
        with path.open("rb") as file:
            header = Header.unpack(file.read(HEADER_SIZE), _short(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise storage_error("read", path, error) from error
    if header.file_size != size:
        raise IndexCorruptedError(
            f"{_short(path)} has {size} bytes, its header promises {header.file_size}: restore a backup"
        )
    dtype = np.dtype(header.dtype).newbyteorder("<")
    if header.file_size == HEADER_SIZE:
        return np.empty(header.shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=HEADER_SIZE, shape=header.shape).view(np.ndarray)


def check_file(path: Path, info: FileInfo) -> None:
    """Read every byte and compare with the catalog's checksum.

    Raises `IndexCorruptedError` naming the file; `FileNotFoundError` when it is gone (a reader then looks again).
    """
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise storage_error("read", path, error) from error
    if digest.hexdigest() != info.checksum:
        raise IndexCorruptedError(f"{_short(path)} differs from its checksum: restore it from a backup or index again")


def write_folder(target: Path, fill: Callable[[Path], T]) -> T:
    """Make a folder appear whole: `fill` writes it under a temporary name, then it is synced and renamed.

    Raises `StorageError` when the operating system refuses; nothing of the folder is left then.
    """
    home = target.parent
    temporary = home / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        if not home.is_dir():
            home.mkdir()
            sync_folder(home.parent)
        temporary.mkdir()
        result = fill(temporary)
        sync_folder(temporary)
        temporary.replace(target)
        sync_folder(home)
    except StorageError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise storage_error("write", target, error) from error
    return result


def sync_folder(path: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def storage_error(action: str, path: Path, error: OSError) -> StorageError:
    """The typed form of an operating system error, with the file and the reason in its message."""
    reason = error.strerror or str(error)
    return StorageError(
        error.errno,
        f"cannot {action} {_short(path)}: {reason}; what was stored before is intact. Free space or fix "
        "the folder's permissions and run again",
    )


def _short(path: Path) -> str:
    return "/".join(path.parts[-3:])
