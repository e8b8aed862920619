"""Reading an index without the right to write to its folder, as a server under another account does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from workload import Operation, contents, create, embeddings
from zygote import Zygote

from latefold import Document, Index
from latefold.index.storage.pages import PAGES, StoredPage


@pytest.fixture
def public_path(ram_path: Path) -> Iterator[Path]:
    """A folder that every account may enter."""
    ram_path.chmod(0o755)
    for parent in ram_path.parents:
        if not parent.stat().st_mode & 0o001:
            pytest.skip(f"other accounts cannot enter {parent}")
    return ram_path / "index"


def protect(path: Path) -> None:
    for entry in (path, *path.rglob("*")):
        entry.chmod(0o555 if entry.is_dir() else 0o444)


def unprotect(path: Path) -> None:
    for entry in (path, *path.rglob("*")):
        entry.chmod(0o755 if entry.is_dir() else 0o644)


def test_a_closed_index(zygote: Zygote, public_path: Path) -> None:
    with create(public_path) as index:
        for name in ("d1", "d2"):
            Operation("add", ((name, 1),)).apply(index)
        expected = contents(index)
    protect(public_path)
    (report,) = zygote.run("read_only", path=public_path)
    assert report == {"found": expected, "refused": "StorageError", "refreshed": False}
    unprotect(public_path)
    with Index.open(public_path) as index:
        Operation("add", (("d3", 1),)).apply(index)
        assert len(contents(index)) == 3


def test_an_index_left_by_a_killed_writer(zygote: Zygote, public_path: Path) -> None:
    """What was acknowledged is in the write-ahead log alone, and must be seen."""
    create(public_path).close()
    child = zygote.start("random_operations", path=public_path, seed=6, model={})
    for report in child.reports():
        if report.get("acknowledged") == 9:
            child.kill()
    protect(public_path)
    (report,) = zygote.run("read_only", path=public_path)
    unprotect(public_path)
    with Index.open(public_path) as index:
        assert report["found"] == contents(index)
        assert report["refused"] == "StorageError"


def test_an_index_that_another_account_is_writing(zygote: Zygote, public_path: Path) -> None:
    with create(public_path) as index:
        Operation("add", (("d1", 1),)).apply(index)
        for entry in (public_path, *public_path.rglob("*")):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
        (report,) = zygote.run("read_only", path=public_path)
        assert report["found"] == {"d1": 1}
        Operation("add", (("d2", 1),)).apply(index)
        index.optimize()
        (report,) = zygote.run("read_only", path=public_path)
        assert report["found"] == {"d1": 1, "d2": 1}
        assert report["refused"] == "StorageError"


def test_pages_are_read_by_whoever_may_read_the_index(zygote: Zygote, public_path: Path) -> None:
    file = "f" * 32
    page = StoredPage(300, 400, "ocr", "penguin", np.array([[0, 7]], np.int32), np.ones((1, 4), np.float32), b"webp")
    with create(public_path) as index:
        index.add([Document("d1", "penguin", metadata={"file": file, "page": 1})], embeddings=embeddings([("d1", 1)]))
        index.pages.put(file, 1, page)
        index.pages.remember(file, Path("scan.pdf"), "pdf")
    protect(public_path)
    (report,) = zygote.run("read_only_pages", path=public_path, document="d1", file=file)
    assert report == {"place": [1, 300.0, "ocr"], "thumbnail": "webp", "seen": "scan.pdf", "refused": "StorageError"}
    unprotect(public_path)
    (public_path / PAGES).unlink()
    protect(public_path)
    (report,) = zygote.run("read_only_pages", path=public_path, document="d1", file=file)
    assert report == {"place": None, "thumbnail": None, "seen": "None", "refused": "StorageError"}
    unprotect(public_path)
