"""A catalog to begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from latefold.index.storage import catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an empty catalog."""
    catalog.create(tmp_path, {"dim": 4})
    return tmp_path
