"""What is recognised and refused before any library opens a folder; none of this needs the extra `models`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from latefold.encoders.base import load_encoder
from latefold.encoders.errors import EncoderError, MissingExtraError
from latefold.encoders.page_images.loading import reads_pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a ColPali checkpoint, as far as vetting looks at them."""
    write(tmp_path, "config.json", {"architectures": ["ColPaliForRetrieval"]})
    write(tmp_path, "processor_config.json", {})
    save_file({"weight": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))


def test_without_the_extra_the_install_command_is_in_the_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reads_pages(folder)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'latefold\[models\]'"):
        load_encoder(folder, offline=True)


def test_code_of_the_model_is_refused(folder: Path) -> None:
    write(folder, "config.json", {"architectures": ["ColPaliForRetrieval"], "auto_map": {"AutoModel": "code.Model"}})
    with pytest.raises(EncoderError, match="run code of the model"):
        load_encoder(folder, offline=True)


def test_a_folder_without_processor_files_is_refused(folder: Path) -> None:
    (folder / "processor_config.json").unlink()
    with pytest.raises(EncoderError, match="holds no image processor"):
        load_encoder(folder, offline=True)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="safetensors"):
        load_encoder(folder, offline=True)


def test_an_adapter_is_refused_with_what_to_do(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")
    with pytest.raises(EncoderError, match="merge_and_unload"):
        load_encoder(folder, offline=True)


@pytest.mark.parametrize(("kind", "advice"), [("ColPali", "-hf"), ("ColQwen3", "MultiVectorEncoder")])
def test_kinds_of_colpali_engine_that_are_not_read_say_so(folder: Path, kind: str, advice: str) -> None:
    write(folder, "config.json", {"architectures": [kind]})
    with pytest.raises(EncoderError, match=advice):
        load_encoder(folder, offline=True)


@pytest.mark.parametrize("content", ['{"architectures": ["HF_ColBERT"]}', "{}", "[", "[]", "null"])
def test_a_text_checkpoint_reads_no_pages(tmp_path: Path, content: str) -> None:
    assert not reads_pages(tmp_path)
    (tmp_path / "config.json").write_text(content)
    assert not reads_pages(tmp_path)
