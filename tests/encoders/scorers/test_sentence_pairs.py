"""The sentence-transformers adapter on tiny random cross-encoders that the tests build, save and load back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="the extra 'models' is not installed")

import torch
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from latefold.encoders.errors import EncoderError, InvalidInputError
from latefold.encoders.scorers.base import Scorer
from latefold.encoders.scorers.sentence_pairs import SentenceTransformersScorer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["late", "fold", "token", "vector", "search", "tea"]
PAIRS = [("late tea", "fold"), ("late tea", "token vector search " * 9), ("tea", ""), ("search", "tea tea")]


def save_checkpoint(folder: Path, *, labels: int = 1, kind: type = BertForSequenceClassification) -> Path:
    torch.manual_seed(3)
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **names).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, num_labels=labels,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "model")


def test_scores_are_the_logits_of_the_model(folder: Path) -> None:
    scorer = SentenceTransformersScorer(str(folder), offline=True)
    assert isinstance(scorer, Scorer)
    scores = scorer.score(PAIRS)
    wanted = CrossEncoder(str(folder), activation_fn=torch.nn.Identity()).predict(PAIRS, show_progress_bar=False)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted, atol=1e-6)
    np.testing.assert_allclose([scorer.score([pair])[0] for pair in PAIRS], scores, atol=1e-6)
    assert scorer.score([]).shape == (0,)


def test_the_fingerprint_is_that_of_the_weights(folder: Path, tmp_path: Path) -> None:
    one = SentenceTransformersScorer(str(folder), offline=True).fingerprint
    assert SentenceTransformersScorer(str(save_checkpoint(tmp_path / "again")), offline=True).fingerprint == one
    other = save_checkpoint(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    assert SentenceTransformersScorer(str(other), offline=True).fingerprint != one


def test_a_model_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="its architecture is BertModel"):
        SentenceTransformersScorer(str(save_checkpoint(tmp_path / "plain", kind=BertModel)), offline=True)


def test_a_model_of_many_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="3 labels a pair"):
        SentenceTransformersScorer(str(save_checkpoint(tmp_path / "three", labels=3)), offline=True)


def test_code_of_the_checkpoint_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(EncoderError, match="run code of the model"):
        SentenceTransformersScorer(str(folder), offline=True)


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="safetensors"):
        SentenceTransformersScorer(str(folder), offline=True)


def test_damaged_weights_are_a_typed_error(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError, match="cannot load the cross-encoder"):
        SentenceTransformersScorer(str(folder), offline=True)


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_an_unusable_configuration_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(EncoderError, match=r"config\.json"):
        SentenceTransformersScorer(str(folder), offline=True)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError):
        SentenceTransformersScorer(str(tmp_path / "nothing"), offline=True)
    with pytest.raises(InvalidInputError, match="threads is 0"):
        SentenceTransformersScorer(str(tmp_path), threads=0)
