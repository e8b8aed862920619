"""A full disk and a file-size limit: a typed error, nothing stored is lost, and writing goes on when there is room."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from workload import Model, Operation, contents, create, script, stray_folders
from zygote import Zygote

from latefold import Index
from latefold.encoders.errors import StorageError

MIB = 1 << 20
DISK = 3 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 3 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "latefold-test", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a disk to fill needs the right to mount one: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)  # a failed test still holds files


class Ballast:
    """A file that leaves so many bytes of a disk."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._path = disk / "ballast"

    def leave(self, free: int) -> None:
        self.drop()
        state = os.statvfs(self._disk)
        size = state.f_bavail * state.f_frsize - free
        if size > 0:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT)
            os.posix_fallocate(handle, 0, size)
            os.close(handle)

    def drop(self) -> None:
        self._path.unlink(missing_ok=True)


def batch(number: int, size: int = 20) -> Operation:
    return Operation("add", tuple((f"d{number}x{i}", 1) for i in range(size)))


def fill(index: Index, model: Model) -> None:
    """Add until it fails; the model keeps step."""
    for number in range(1000):
        batch(number).apply(index)
        model.update(batch(number).items)


def test_filling_a_disk_with_an_index(small_disk: Path) -> None:
    ballast = Ballast(small_disk)
    ballast.leave(2 * MIB)
    model: Model = {}
    with create(small_disk / "index") as index:
        with pytest.raises(StorageError, match=r"index.* what was stored before is intact") as caught:
            fill(index, model)
        assert caught.value.errno == errno.ENOSPC
        assert len(model) > 100
        assert contents(index) == model
        with Index.open(small_disk / "index") as reader:
            assert contents(reader) == model
            reader.verify()
        ballast.drop()
        batch(1000).apply(index)
        assert contents(index) == batch(1000).after(model)
        assert stray_folders(index) == set()
        index.verify()


@pytest.mark.parametrize("free", [0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 60])
def test_every_kind_of_write_on_a_disk_with_few_pages_left(small_disk: Path, free: int) -> None:
    ballast = Ballast(small_disk)
    model: Model = {}
    failures = 0
    with create(small_disk / "index") as index:
        for operation in script():
            ballast.leave(4096 * free)
            try:
                operation.apply(index)
            except StorageError:
                failures += 1
                found = contents(index)
                assert found in (model, operation.after(model))
                ballast.drop()
                if found == model:
                    operation.apply(index)
            model = operation.after(model)
        ballast.drop()
        Operation("add", (("last", 1),)).apply(index)
        assert contents(index) == {**model, "last": 1}
        assert stray_folders(index) == set()
        index.verify()
    assert failures > 0 or free > 8


def test_creating_an_index_on_a_full_disk(small_disk: Path) -> None:
    ballast = Ballast(small_disk)
    for free in (0, 4096, 16384, 65536):
        ballast.leave(free)
        try:
            create(small_disk / "index").close()
        except StorageError:
            ballast.drop()
            create(small_disk / "index").close()
        with Index.open(small_disk / "index") as index:
            ballast.drop()
            batch(0).apply(index)
            assert len(contents(index)) == 20
            index.verify()
        subprocess.run(["rm", "-r", str(small_disk / "index")], check=True)


def test_a_limit_on_file_sizes(zygote: Zygote, ram_path: Path) -> None:
    """`ulimit -f`: writes beyond it fail with EFBIG."""
    reports = zygote.run("write_under_limits", path=ram_path / "index", limits=[0, 500, 30_000])
    assert [report["limit"] for report in reports if report["failures"] == 0] == []
    assert all(report["sound"] for report in reports)
