"""The sentence-transformers adapter on tiny random checkpoints that the tests build, save and load back."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="the extra 'models' is not installed")

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from latefold.encoders.base import Encoder, load_encoder
from latefold.encoders.errors import EncoderError, InvalidInputError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
WORDS = ["late", "fold", "token", "vector", "search", "##s", "##ing", "q", "d", "sep", "mask", *"[].,:!"]
DIM = 8


def save_backbone(folder: Path) -> Path:
    """A BERT of two tiny layers with random weights and a WordPiece vocabulary of a few words."""
    torch.manual_seed(7)
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL[:5]}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **names).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def save_checkpoint(folder: Path, *extra: torch.nn.Module, expansion: dict | None = None) -> Path:
    """A native multi-vector checkpoint: backbone, projection to `DIM`, punctuation skipped, unit vectors."""
    backbone = save_backbone(folder.with_name(folder.name + "-backbone"))
    model = MultiVectorEncoder(
        modules=[
            Transformer(str(backbone), query_expansion=expansion),
            Dense(16, DIM, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
            MultiVectorMask(skiplist_words=list(string.punctuation)),
            Normalize(module_input_name="token_embeddings"),
            *extra,
        ],
        prompts={"query": "q: ", "document": "d: "},
        device="cpu",
    )
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "native")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(folder, offline=True, threads=2)


TEXTS = ["late fold", "vectors, searching: tokens!", "", "fold " * 40, "token"]


def test_vectors_are_those_of_the_library_in_the_order_given(encoder: Encoder, folder: Path) -> None:
    library = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    for got, encode in (
        (encoder.encode_documents, library.encode_document),
        (encoder.encode_queries, library.encode_query),
    ):
        made = got(TEXTS)
        assert (len(made), made.dim) == (len(TEXTS), DIM)
        for vectors, text in zip(made, TEXTS, strict=True):
            np.testing.assert_allclose(vectors, encode(text, convert_to_numpy=True), atol=1e-5)


def test_queries_and_documents_get_their_own_prompts(encoder: Encoder) -> None:
    query, document = encoder.encode_queries(["late fold"]), encoder.encode_documents(["late fold"])
    assert dict(encoder.fingerprint.prompts) == {"document": "d: ", "query": "q: "}
    assert len(query.vectors) == len(document.vectors) + 1, "the colon of the prompt is skipped in documents only"


def test_vectors_do_not_depend_on_the_batch(encoder: Encoder) -> None:
    together = encoder.encode_documents(TEXTS)
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode_documents([text])[0], together[i], atol=1e-5)


def test_a_relative_path_is_kept_as_an_absolute_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert load_encoder(folder.name, offline=True).name == str(folder.resolve())


def test_one_text_in_place_of_a_list_is_refused(encoder: Encoder) -> None:
    for call in (encoder.encode_queries, encoder.encode_documents, encoder.query_spans, encoder.document_spans):
        with pytest.raises(InvalidInputError, match="a list of texts"):
            call("text")


def test_progress_counts_documents(encoder: Encoder) -> None:
    seen: list[tuple[str, int, int | None]] = []
    encoder.encode_documents(TEXTS, lambda *call: seen.append(call))
    assert seen[-1] == ("encode", len(TEXTS), len(TEXTS))


def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    assert (len(encoder.encode_documents([])), encoder.encode_queries([]).dim) == (0, DIM)


def words(text: str, spans: np.ndarray) -> list[str]:
    return [text[start:end] for start, end in spans]


def test_document_spans_leave_out_skipped_tokens_and_the_prompt(encoder: Encoder) -> None:
    text = "Vectors, (searching)! token"
    (spans,) = encoder.document_spans([text])
    assert words(text, spans) == ["", "", "Vector", "s", "(", "search", "ing", ")", "token", ""]
    assert len(spans) == len(encoder.encode_documents([text])[0])


def test_query_spans_keep_punctuation(encoder: Encoder) -> None:
    text = "late, fold"
    (spans,) = encoder.query_spans([text])
    assert words(text, spans) == ["", "", "", "late", ",", "fold", ""]
    assert len(spans) == len(encoder.encode_queries([text])[0])


def test_cut_texts_have_as_many_spans_as_vectors(encoder: Encoder) -> None:
    text = "fold " * 200
    assert len(encoder.document_spans([text])[0]) == len(encoder.encode_documents([text])[0]) == 47


@pytest.mark.parametrize("expansion", [{"strategy": "fixed", "length": 12}, {"strategy": "min", "length": 12}])
def test_expansion_tokens_have_vectors_and_empty_spans(tmp_path: Path, expansion: dict) -> None:
    encoder = load_encoder(save_checkpoint(tmp_path / "expanding", expansion=expansion), offline=True)
    (spans,) = encoder.query_spans(["late fold"])
    assert len(spans) == len(encoder.encode_queries(["late fold"])[0]) == 12
    assert words("late fold", spans) == ["", "", "", "late", "fold", *[""] * 7]


def test_pooled_tokens_have_empty_spans_and_show_in_the_fingerprint(tmp_path: Path, encoder: Encoder) -> None:
    pooled = load_encoder(save_checkpoint(tmp_path / "pooled", HierarchicalTokenPooling(2)), offline=True)
    text = "late fold token vector search"
    (spans,) = pooled.document_spans([text])
    assert 0 < len(spans) == len(pooled.encode_documents([text])[0]) < len(encoder.encode_documents([text])[0])
    assert not spans.any()
    assert "HierarchicalTokenPooling" in pooled.fingerprint.pooling
    assert encoder.fingerprint.pooling == "none"


def test_special_tokens_in_a_text_are_text(encoder: Encoder) -> None:
    text = "late [SEP] fold [MASK]"
    (spans,) = encoder.query_spans([text])
    assert words(text, spans)[3:] == ["late", "SEP", "]", "fold", "MASK", "]", ""]


def test_odd_characters_do_not_crash(encoder: Encoder) -> None:
    texts = ["\0", "late\ud800fold", "\U0001f600\u200d", "\ufffd", "\n\t "]
    assert [len(spans) for spans in encoder.document_spans(texts)] == encoder.encode_documents(texts).lengths.tolist()


def test_the_fingerprint_follows_content_and_not_place(tmp_path: Path, encoder: Encoder) -> None:
    same = load_encoder(save_checkpoint(tmp_path / "copy"), offline=True)
    assert same.fingerprint.digest == encoder.fingerprint.digest
    other = save_checkpoint(tmp_path / "prompted")
    saved = other / "config_sentence_transformers.json"
    saved.write_text(saved.read_text().replace("q: ", "Q: "))
    assert load_encoder(other, offline=True).fingerprint.digest != encoder.fingerprint.digest


def test_a_stanford_checkpoint_loads(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_backbone(tmp_path / "stanford")
    weights = {f"bert.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
    weights["linear.weight"] = torch.randn(DIM, 16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["HF_ColBERT"]}))
    (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 16, "doc_maxlen": 24}))
    encoder = load_encoder(folder, offline=True)
    assert encoder.dim == DIM
    assert encoder.encode_queries(["late fold"]).lengths.tolist() == [16]
    assert encoder.encode_documents(["fold " * 99]).lengths.tolist() == [24]
    assert encoder.fingerprint.prompts["query"] == "[unused0] "


def test_a_pylate_checkpoint_loads(tmp_path: Path, folder: Path) -> None:
    pylate = save_checkpoint(tmp_path / "pylate")
    modules = json.loads((pylate / "modules.json").read_text())[:2]
    modules[1]["type"] = "pylate.models.Dense.Dense"
    (pylate / "modules.json").write_text(json.dumps(modules))
    saved = {"model_type": "ColBERT", "query_prefix": "[unused0] ", "document_prefix": "[unused1] ", "query_length": 10}
    (pylate / "config_sentence_transformers.json").write_text(json.dumps(saved))
    encoder = load_encoder(pylate, offline=True)
    assert encoder.encode_queries(["late"]).lengths.tolist() == [10]
    (spans,) = encoder.document_spans(["late, fold"])
    assert words("late, fold", spans) == ["", "", "late", "fold", ""]


def damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def foreign_module(folder: Path) -> None:
    file = folder / "modules.json"
    file.write_text(
        file.read_text().replace("sentence_transformers.base.modules.normalize.Normalize", "os.path.Normalize")
    )


def wrong_shape(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": "many"}))


@pytest.mark.parametrize("damage", [damaged_weights, foreign_module, wrong_shape])
def test_what_the_library_cannot_load_is_an_encoder_error(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = save_checkpoint(tmp_path / "broken")
    damage(folder)
    with pytest.raises(EncoderError, match="cannot load the model"):
        load_encoder(folder, offline=True)
