"""Array files: written whole, mapped read-only, refused when damaged."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from latefold.encoders.errors import IndexCorruptedError, StorageError
from latefold.index.storage.files import (
    FileInfo,
    check_file,
    open_array,
    storage_error,
    write_array,
    write_bytes,
    write_folder,
)
from latefold.index.storage.format import HEADER_SIZE, TEMPORARY, Header

matrices = arrays.arrays(np.uint8, st.tuples(st.integers(0, 20), st.integers(1, 9)))
vectors = arrays.arrays(np.int64, st.integers(0, 20))


def header_of(array: np.ndarray) -> Header:
    return Header(array.dtype.name, len(array), array.shape[1] if array.ndim == 2 else 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(matrices | vectors, st.integers(1, 7))
def test_what_is_written_in_pieces_is_read_whole(tmp_path: Path, array: np.ndarray, step: int) -> None:
    path = tmp_path / "x.bin"
    path.unlink(missing_ok=True)
    info = write_array(path, header_of(array), (array[i : i + step] for i in range(0, len(array), step)))
    stored = path.read_bytes()
    assert info == FileInfo("x.bin", len(stored), xxhash.xxh3_128_hexdigest(stored))
    assert stored[HEADER_SIZE:] == array.astype(array.dtype.newbyteorder("<")).tobytes()
    check_file(path, info)
    read = open_array(path, info)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    assert not read.size or not read.flags.writeable


def test_strided_and_big_endian_chunks_are_stored_plainly(tmp_path: Path) -> None:
    array = np.arange(40, dtype=">i8").reshape(10, 4)[:, 1]
    info = write_array(tmp_path / "x.bin", Header("int64", 10, 0), [array])
    np.testing.assert_array_equal(open_array(tmp_path / "x.bin", info), array)


def test_chunks_that_do_not_fill_the_header_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="promises"):
        write_array(tmp_path / "x.bin", Header("int64", 3, 0), [np.arange(2)])


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    write_array(tmp_path / "x.bin", Header("int64", 2, 0), [np.arange(2)])
    with pytest.raises(StorageError, match=r"x\.bin: File exists"):
        write_array(tmp_path / "x.bin", Header("int64", 2, 0), [np.arange(2)])


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, FileInfo]:
    path = tmp_path / "segments" / "one" / "x.bin"
    path.parent.mkdir(parents=True)
    return path, write_array(path, Header("uint8", 6, 4), [np.arange(24, dtype=np.uint8).reshape(6, 4)])


@pytest.mark.parametrize("size", [0, 10, HEADER_SIZE, HEADER_SIZE + 23, HEADER_SIZE + 25])
def test_another_size_is_refused_when_opened(stored: tuple[Path, FileInfo], size: int) -> None:
    path, info = stored
    path.write_bytes((path.read_bytes() + b"x")[:size])
    with pytest.raises(IndexCorruptedError, match=rf"segments/one/x\.bin has {size} bytes, the catalog says 88"):
        open_array(path, info)
    with pytest.raises(IndexCorruptedError, match=r"x\.bin differs"):
        check_file(path, info)
    with pytest.raises(IndexCorruptedError, match=r"x\.bin"):  # a catalog that agrees with the wrong size
        open_array(path, replace(info, size=size))


def test_every_changed_byte_is_seen(stored: tuple[Path, FileInfo]) -> None:
    path, info = stored
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(IndexCorruptedError, match=r"x\.bin differs"):
            check_file(path, info)


def test_a_missing_file_is_the_reader_s_to_judge(stored: tuple[Path, FileInfo]) -> None:
    path, info = stored
    path.unlink()
    with pytest.raises(FileNotFoundError):
        open_array(path, info)
    with pytest.raises(FileNotFoundError):
        check_file(path, info)


def test_a_folder_in_the_place_of_a_file(stored: tuple[Path, FileInfo]) -> None:
    path, info = stored
    path.unlink()
    path.mkdir()
    with pytest.raises((StorageError, IndexCorruptedError), match=r"x\.bin"):
        open_array(path, replace(info, size=path.stat().st_size))
    with pytest.raises(StorageError, match=r"x\.bin"):
        check_file(path, info)


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "home" / "one"

    def fill(folder: Path) -> FileInfo:
        assert folder.name.startswith(TEMPORARY)
        assert not target.exists()
        return write_bytes(folder / "x", b"data")

    assert write_folder(target, fill) == FileInfo("x", 4, xxhash.xxh3_128_hexdigest(b"data"))
    assert (target / "x").read_bytes() == b"data"
    assert [entry.name for entry in target.parent.iterdir()] == ["one"]


@pytest.mark.parametrize("failing", ["fsync", "replace", "mkdir"])
def test_a_folder_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    (tmp_path / "home").mkdir()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, refuse)
    with pytest.raises(StorageError, match="No space left on device; what was stored before is intact") as caught:
        write_folder(tmp_path / "home" / "one", lambda folder: write_bytes(folder / "x", b"data"))
    assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / "home").iterdir()) == []


def test_a_storage_error_names_file_cause_and_way_out() -> None:
    error = storage_error("write", Path("/a/b/c/d.bin"), OSError(errno.EFBIG, "File too large"))
    assert error.errno == errno.EFBIG
    assert "cannot write b/c/d.bin: File too large" in str(error)
    assert "Free space" in str(error)
