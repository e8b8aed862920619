"""Folders of encoders with a head; nothing changes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from heads import NESTED, random_head

from latefold.encoders.export_head import write_head_folder
from latefold.encoders.model_folder import MODELS
from latefold.encoders.pooling.base import Pooling


@pytest.fixture(scope="session")
def head_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head on the bundled backbone."""
    out = tmp_path_factory.mktemp("models") / "headed"
    write_head_folder(out, random_head(), backbone="minilm", nested=NESTED)
    return out


@pytest.fixture(scope="session")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same head beside a graph and a tokenizer of its own, with a pooling as its default."""
    out = tmp_path_factory.mktemp("models") / "whole"
    write_head_folder(out, random_head(), backbone=MODELS / "minilm", nested=NESTED, pooling=Pooling.parse("c33%"))
    return out
