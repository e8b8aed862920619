"""The export of cross-encoders: the graph against torch or plain numpy, and the folder in `OnnxCrossEncoder`."""

from __future__ import annotations

import importlib.util
import json
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

pytest.importorskip("onnx", reason="the extra 'export' is not installed")

import onnxruntime
from safetensors.numpy import load_file, save_file

from latefold.encoders import export_pairs
from latefold.encoders.errors import EncoderError, InvalidInputError
from latefold.encoders.export_graph import (
    WORDS,
    BertShape,
    ExactDense,
    build_pair_graph,
    make_pair_model,
    merge_attention,
    quantize_rows,
)
from latefold.encoders.scorers.onnx_pairs import OnnxCrossEncoder, padded

TORCH = importlib.util.find_spec("transformers") is not None and importlib.util.find_spec("torch") is not None
NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "late", "fold", "token", "vector", "search", "green", "tea"]
SHAPE = BertShape(layers=2, heads=2, dim=16, positions=24, epsilon=1e-12)
INNER = 32
CONFIG = {
    "model_type": "bert", "architectures": ["BertForSequenceClassification"], "vocab_size": len(NAMES),
    "num_hidden_layers": SHAPE.layers, "num_attention_heads": SHAPE.heads, "hidden_size": SHAPE.dim,
    "intermediate_size": INNER, "max_position_embeddings": 32, "layer_norm_eps": SHAPE.epsilon, "num_labels": 1,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
RNG = np.random.default_rng(11)
PAIRS = [(" ".join(RNG.choice(NAMES[5:], RNG.integers(0, 6))), " ".join(RNG.choice(NAMES[5:], n))) for n in range(40)]


def random_weights(labels: int = 1) -> dict[str, np.ndarray]:
    """Weights of a tiny classifier under the names of the Hugging Face checkpoint; words as int8 can hold them."""
    rng = np.random.default_rng(5)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(scale=0.3, size=shape).astype(np.float32)

    dim, made = SHAPE.dim, {}
    square = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    sizes = dict.fromkeys(square, (dim, dim)) | {"intermediate.dense": (INNER, dim), "output.dense": (dim, INNER)}
    norms = ["bert.embeddings.LayerNorm"]
    for number in range(SHAPE.layers):
        at = f"bert.encoder.layer.{number}"
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
        for name, shape in sizes.items():
            made |= {f"{at}.{name}.weight": normal(*shape), f"{at}.{name}.bias": normal(shape[0])}
    for name in norms:
        made |= {f"{name}.weight": 1 + normal(dim), f"{name}.bias": normal(dim)}
    for name, rows in (("word", len(NAMES)), ("position", 32), ("token_type", 2)):
        made[f"bert.embeddings.{name}_embeddings.weight"] = normal(rows, dim)
    made |= {"bert.pooler.dense.weight": normal(dim, dim), "bert.pooler.dense.bias": normal(dim)}
    made |= {"classifier.weight": 4 * normal(labels, dim), "classifier.bias": normal(labels)}
    codes, scales = quantize_rows(made[f"bert.{WORDS}"])
    return made | {f"bert.{WORDS}": codes * scales}


def save_checkpoint(folder: Path, weights: dict[str, np.ndarray], **config: Any) -> Path:
    folder.mkdir()
    vocabulary = {word: i for i, word in enumerate(NAMES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny", random_weights())


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    out = checkpoint.with_name("exported")
    export_pairs.export_cross_encoder(checkpoint, out, PAIRS, max_tokens=SHAPE.positions)
    return out


def encode(checkpoint: Path) -> list[Any]:
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_truncation(SHAPE.positions)
    return [tokenizer.encode(*pair) for pair in PAIRS]


def dense(weights: dict[str, np.ndarray], name: str, rows: np.ndarray) -> np.ndarray:
    return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights: dict[str, np.ndarray], name: str, rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + SHAPE.epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def logit(stored: dict[str, np.ndarray], item: Any) -> float:
    """The logit of one pair in float64, without padding, written from the paper (Devlin et al. 2019)."""
    weights = {name.removeprefix("bert."): value.astype(np.float64) for name, value in stored.items()}
    tables = [weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")]
    x = tables[0][item.ids] + tables[1][: len(item.ids)] + tables[2][item.type_ids]
    x = layer_norm(weights, "embeddings.LayerNorm", x)
    for number in range(SHAPE.layers):
        at = f"encoder.layer.{number}"
        parts = [dense(weights, f"{at}.attention.self.{part}", x) for part in ("query", "key", "value")]
        query, key, value = (part.reshape(len(x), SHAPE.heads, -1).transpose(1, 0, 2) for part in parts)
        shares = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(SHAPE.dim // SHAPE.heads))
        mixed = shares / shares.sum(axis=-1, keepdims=True) @ value
        mixed = dense(weights, f"{at}.attention.output.dense", mixed.transpose(1, 0, 2).reshape(x.shape))
        x = layer_norm(weights, f"{at}.attention.output.LayerNorm", x + mixed)
        inner = dense(weights, f"{at}.intermediate.dense", x)
        inner = dense(weights, f"{at}.output.dense", inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2))))
        x = layer_norm(weights, f"{at}.output.LayerNorm", x + inner)
    return float(dense(weights, "classifier", np.tanh(dense(weights, "pooler.dense", x[0])))[0])


def exact_logits(weights: dict[str, np.ndarray], items: list[Any]) -> np.ndarray:
    """What the graph in float32 gives for the pairs as one padded batch, `(pairs, 1)`."""
    merged = merge_attention({name.removeprefix("bert."): value for name, value in weights.items()}, SHAPE)
    model = make_pair_model(build_pair_graph(merged, SHAPE, ExactDense()), "tiny")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], padded(items))[0]


def test_the_exact_graph_is_bert_with_types_padding_and_ragged_batches(checkpoint: Path) -> None:
    items = encode(checkpoint)
    weights = load_file(checkpoint / "model.safetensors")
    made = exact_logits(weights, items)
    assert (made.shape, made.dtype) == ((len(PAIRS), 1), np.float32)
    wanted = [logit(weights, item) for item in items]
    np.testing.assert_allclose(made[:, 0], wanted, atol=1e-4)
    assert np.std(wanted) > 0.2
    one_type = dict(weights)
    one_type["bert.embeddings.token_type_embeddings.weight"] = weights["bert.embeddings.token_type_embeddings.weight"][
        [0, 0]
    ]
    assert np.abs(exact_logits(one_type, items) - made).max() > 0.1


def test_the_exported_folder_scores_as_the_checkpoint_does(checkpoint: Path, folder: Path) -> None:
    scores = OnnxCrossEncoder(folder, threads=1).score(PAIRS)
    weights = load_file(checkpoint / "model.safetensors")
    wanted = [logit(weights, item) for item in encode(checkpoint)]
    assert np.corrcoef(scores, wanted)[0, 1] > 0.99


def test_scores_do_not_depend_on_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = OnnxCrossEncoder(folder, threads=1)
    together = scorer.score(PAIRS)
    alone = np.concatenate([scorer.score([pair]) for pair in PAIRS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setattr("latefold.encoders.scorers.onnx_pairs.TOKENS_PER_BATCH", 60)
    np.testing.assert_allclose(scorer.score(PAIRS[::-1])[::-1], alone, atol=1e-5)


def test_half_precision_weights_are_widened(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    stored = load_file(checkpoint / "model.safetensors")
    halved = save_checkpoint(tmp_path / "half", {name: value.astype(np.float16) for name, value in stored.items()})
    export_pairs.export_cross_encoder(halved, tmp_path / "out", PAIRS, max_tokens=SHAPE.positions)
    scores = OnnxCrossEncoder(tmp_path / "out").score(PAIRS)
    assert np.corrcoef(scores, OnnxCrossEncoder(folder).score(PAIRS))[0, 1] > 0.99


def test_the_script_writes_the_same_bytes_each_time(checkpoint: Path, folder: Path, tmp_path: Path, capsys) -> None:
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out"
    pairs.write_text("".join(json.dumps({"query": q, "passage": d}) + "\n" for q, d in PAIRS))
    arguments = ["--checkpoint", str(checkpoint), "--pairs", str(pairs), "--max-tokens", "24", "--out", str(out)]
    assert export_pairs.main(arguments) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"model.json", "model.onnx", "tokenizer.json"}
    for file in folder.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert json.loads((out / "model.json").read_text())["max_tokens"] == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "has the model_type 'roberta'; only 'bert'"),
        ({"hidden_act": "gelu_new"}, "has the hidden_act 'gelu_new'; only 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"num_hidden_layers": 3}, "no BERT classifier that can be exported"),
        ({"num_hidden_layers": None}, "no BERT classifier that can be exported"),
    ],
)
def test_what_the_graph_cannot_compute_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = save_checkpoint(tmp_path / "other", random_weights(), **change)
    with pytest.raises(EncoderError, match=message):
        export_pairs.export_cross_encoder(folder, tmp_path / "out", PAIRS)
    assert not (tmp_path / "out").exists()


def test_what_is_no_classifier_of_one_label_is_refused(tmp_path: Path) -> None:
    two = save_checkpoint(tmp_path / "two", random_weights(labels=2), num_labels=2)
    with pytest.raises(EncoderError, match="gives 2 labels a pair"):
        export_pairs.export_cross_encoder(two, tmp_path / "out", PAIRS)
    plain = {name: value for name, value in random_weights().items() if not name.startswith("classifier")}
    with pytest.raises(EncoderError, match=r"classifier\.weight"):
        export_pairs.export_cross_encoder(save_checkpoint(tmp_path / "plain", plain), tmp_path / "out", PAIRS)
    (two / "model.safetensors").write_bytes(b"{}")
    for broken in (two, tmp_path / "nothing"):
        with pytest.raises(EncoderError, match="no BERT classifier that can be exported"):
            export_pairs.export_cross_encoder(broken, tmp_path / "out", PAIRS)


def test_there_must_be_something_to_calibrate_on(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least one pair"):
        export_pairs.export_cross_encoder(checkpoint, tmp_path / "out", [])


@pytest.mark.skipif(not TORCH, reason="the extra 'models' is not installed")
def test_a_checkpoint_of_transformers_is_exported(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(3)
    settings = {name: value for name, value in CONFIG.items() if name not in ("model_type", "architectures")}
    model = BertForSequenceClassification(BertConfig(**settings, initializer_range=0.3)).eval()
    with torch.no_grad():
        codes, scales = quantize_rows(model.bert.embeddings.word_embeddings.weight.numpy())
        model.bert.embeddings.word_embeddings.weight.copy_(torch.from_numpy(codes * scales))
    folder = save_checkpoint(tmp_path / "tiny", {})
    model.save_pretrained(folder)
    items = encode(folder)
    with torch.no_grad():
        feeds = {name: torch.from_numpy(value) for name, value in padded(items).items()}
        wanted = model(**feeds).logits.numpy()
    np.testing.assert_allclose(exact_logits(load_file(folder / "model.safetensors"), items), wanted, atol=1e-4)
    export_pairs.export_cross_encoder(folder, tmp_path / "out", PAIRS, max_tokens=SHAPE.positions)
    scores = OnnxCrossEncoder(tmp_path / "out").score(PAIRS)
    assert np.corrcoef(scores, wanted[:, 0])[0, 1] > 0.99
