"""Fixtures for tests that kill, damage and starve an index."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from factored import filled
from workload import factorize, item_factors
from zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """A process that forks children which may be killed."""
    with Zygote() as process:
        yield process


@pytest.fixture
def ram_path(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in memory where the system has one: thousands of syncs cost nothing there."""
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared, prefix="latefold-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def factored_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed index with item factors, which nothing changes."""
    path = tmp_path_factory.mktemp("factors") / "index"
    with filled(path) as index:
        factorize(index, item_factors(1, scorer="table"))
    return path


@pytest.fixture
def factored(factored_base: Path, ram_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(factored_base, ram_path / "copy"))
