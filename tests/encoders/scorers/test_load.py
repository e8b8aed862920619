"""How a name becomes a scorer, and what is said where it does not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from cross_encoders import expected, save_cross_encoder

from latefold import load_scorer
from latefold.encoders.errors import EncoderError, InvalidInputError, LatefoldError
from latefold.encoders.model_folder import MODELS
from latefold.encoders.scorers.maxsim import MaxSimScorer
from latefold.encoders.scorers.onnx_pairs import OnnxCrossEncoder

TORCH = importlib.util.find_spec("sentence_transformers") is not None


def test_a_model_folder_is_a_cross_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_cross_encoder(tmp_path / "pairs")
    monkeypatch.chdir(tmp_path)
    for name in (folder, str(folder), "pairs", "./pairs/"):
        scorer = load_scorer(name, threads=1)
        assert isinstance(scorer, OnnxCrossEncoder)
        assert scorer.score([("tea", "green tea")]).tolist() == [expected("tea", "green tea")]


@pytest.mark.parametrize("name", ["default", "latefold-32", "minilm:c33%"])
def test_any_encoder_scores_by_maxsim(name: str) -> None:
    scorer = load_scorer(f"maxsim:{name}", threads=1, offline=True)
    assert isinstance(scorer, MaxSimScorer)
    assert scorer.fingerprint.startswith("maxsim:")


@pytest.mark.skipif(not TORCH, reason="the extra 'models' is not installed")
def test_a_checkpoint_of_sentence_transformers_is_one(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path / "checkpoint"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tea"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=16, num_labels=1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    scorer = load_scorer(folder, offline=True)
    assert scorer.fingerprint.startswith("cross-encoder:")
    assert scorer.score([("tea", "tea")]).shape == (1,)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "", "\0", "x" * 9000, "~nobody/there"])
def test_what_was_tried_is_said(name: str) -> None:
    with pytest.raises(EncoderError) as raised:
        load_scorer(name, offline=True)
    message = str(raised.value)
    assert message.startswith(f"no scorer {name!r:.200}: not maxsim:ENCODER, not a folder with model.json, and as a ")
    assert len(message) < 12_000


def test_a_hub_name_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LatefoldError, match="nobody/nothing") as raised:
        load_scorer("nobody/nothing", offline=True)
    assert "offline" in str(raised.value) or "pip install" in str(raised.value)


@pytest.mark.parametrize("name", ["default", "latefold", "latefold-64:c8", "minilm"])
def test_an_encoder_is_no_scorer_of_pairs(name: str) -> None:
    with pytest.raises(EncoderError, match=f"maxsim:{name} scores by its MaxSim"):
        load_scorer(name)


def test_a_folder_of_vectors_is_no_scorer_of_pairs() -> None:
    with pytest.raises(EncoderError, match="encoder of vectors"):
        load_scorer(MODELS / "minilm")
    with pytest.raises(EncoderError, match="maxsim:default scores"):
        load_scorer("maxsim:")
    with pytest.raises(InvalidInputError, match="threads is 0"):
        load_scorer("maxsim:latefold", threads=0)


def test_nothing_heavy_is_imported_before_a_scorer_is_used() -> None:
    heavy = "onnxruntime tokenizers torch sentence_transformers transformers numba"
    code = (
        "import sys, latefold; latefold.load_scorer, latefold.CrossEncoderSearch\n"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
