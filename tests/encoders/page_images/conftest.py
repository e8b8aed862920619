"""One loaded encoder of each family; nothing changes them or their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from latefold.encoders.base import load_encoder

FAMILIES = ("colpali", "colqwen2", "colmodernvbert", "colqwen2_merged", "colqwen2_5", "colidefics3", "pipeline")


@pytest.fixture(scope="session")
def page_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each family, by its name."""
    import page_checkpoints as made

    root = tmp_path_factory.mktemp("page-models")
    return {name: getattr(made, name)(root / name) for name in FAMILIES}


@pytest.fixture(scope="session")
def page_encoders(page_folders: dict[str, Path]) -> dict[str, object]:
    """The encoder of each checkpoint."""
    return {name: load_encoder(folder, offline=True, threads=1) for name, folder in page_folders.items()}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """The name of each family in turn."""
    return request.param


@pytest.fixture
def folder(family: str, page_folders: dict[str, Path]) -> Path:
    """The checkpoint of a family."""
    return page_folders[family]


@pytest.fixture
def encoder(family: str, page_encoders: dict[str, object]):
    """The encoder of a family."""
    return page_encoders[family]
