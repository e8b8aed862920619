"""Fixtures for tests that kill, damage and starve an index."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
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
