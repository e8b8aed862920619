"""Checkpoints that are refused before any library opens them; none of this needs the extra `models`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from latefold.encoders.base import load_encoder
from latefold.encoders.checkpoint import find_checkpoint, vet_checkpoint, weights_hash
from latefold.encoders.errors import EncoderError

MODULES = [
    {"name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"name": "1", "path": "1_Dense", "type": "sentence_transformers.base.modules.dense.Dense"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a checkpoint, as far as vetting looks at them."""
    (tmp_path / "1_Dense").mkdir()
    for name in ("model.safetensors", "1_Dense/model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    write(tmp_path, "modules.json", MODULES)
    write(tmp_path, "config.json", {"architectures": ["BertModel"], "_attn_implementation": "sdpa"})
    write(tmp_path, "config_sentence_transformers.json", {"model_type": "MultiVectorEncoder", "__version__": {"a": 1}})
    return tmp_path


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))


def test_a_plain_checkpoint_passes(folder: Path) -> None:
    vet_checkpoint(folder, trust_remote_code=False)
    assert find_checkpoint(str(folder), offline=True, trust_remote_code=False) == folder


def test_unused_pickles_beside_safetensors_pass(folder: Path) -> None:
    (folder / "pytorch_model.bin").touch()
    (folder / "training_args.bin").touch()
    vet_checkpoint(folder, trust_remote_code=False)


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "1_Dense" / "model.safetensors").rename(folder / "pytorch_model.bin")


def pickled_module(folder: Path) -> None:
    (folder / "1_Dense" / "model.safetensors").rename(folder / "1_Dense" / "pytorch_model.bin")


def adapter(folder: Path) -> None:
    write(folder, "adapter_config.json", {"base_model_name_or_path": "someone/else"})


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def single_vector(folder: Path) -> None:
    write(folder, "config_sentence_transformers.json", {"model_type": "SentenceTransformer"})
    write(folder, "modules.json", [MODULES[0], {"name": "1", "path": "1_Pooling", "type": "x.Pooling"}])


def bare_transformer(folder: Path) -> None:
    (folder / "modules.json").unlink()


def invalid_json(folder: Path) -> None:
    (folder / "config.json").write_text("{'a': 1}")


def nested_json(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 200_000)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (only_pickles, "no weights in safetensors"),
        (pickled_module, "is a pickle file"),
        (adapter, "holds an adapter"),
        (no_tokenizer, "no tokenizer files"),
        (single_vector, "holds a single-vector model"),
        (bare_transformer, "holds no multi-vector checkpoint"),
        (invalid_json, "cannot read"),
        (nested_json, "cannot read"),
    ],
)
def test_an_unfit_checkpoint_is_refused(folder: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(folder)
    with pytest.raises(EncoderError, match=reason):
        load_encoder(folder, offline=True)


@pytest.mark.parametrize(
    "content",
    [
        {"auto_map": {"AutoModel": "modeling.Model"}},
        {"_attn_implementation_internal": "someone/kernel"},
        {"text_config": {"layers": [{"_attn_implementation_internal": "eager"}]}},
        {"attn_implementation": {"text_config": "someone/kernel"}},
        {"_experts_implementation_internal": "someone/kernel"},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "1_Dense/config.json"])
def test_configuration_that_names_code_is_refused_unless_trusted(folder: Path, content: dict, name: str) -> None:
    write(folder, name, content)
    with pytest.raises(EncoderError, match="asks to run code"):
        load_encoder(folder, offline=True)
    vet_checkpoint(folder, trust_remote_code=True)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"holds no multi-vector checkpoint: expected modules\.json"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "1_Dense/model.safetensors", "tokenizer.json", "config.json"])
def test_the_hash_follows_every_file_that_shapes_vectors(folder: Path, name: str) -> None:
    before = weights_hash(folder)
    (folder / "README.md").write_text("words")
    write(folder, "config_sentence_transformers.json", {"__version__": {"a": 2}, "model_type": "MultiVectorEncoder"})
    assert weights_hash(folder) == before
    (folder / name).write_text('{"other": 1}')
    assert weights_hash(folder) != before


def test_a_hub_name_that_is_not_cached_is_refused_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match="not in the local cache"):
        load_encoder("no-such-owner/no-such-model", offline=True)


@pytest.mark.parametrize("name", ["minilm-64 ", "--", "a..b"])
def test_an_impossible_hub_name_is_refused(name: str) -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(EncoderError, match="neither a folder nor a possible hub name"):
        load_encoder(name, offline=True)
