"""Tiny cross-encoders in ONNX model folders, and what they compute in plain Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from latefold.encoders.scorers.onnx_pairs import describe_folder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "late", "fold", "token", "vector", "search", "green", "tea"]
MAX_TOKENS = 16
WEIGHTS = np.round(np.random.default_rng(5).standard_normal(len(WORDS)) * 8).astype(np.float32)


def save_tokenizer(folder: Path) -> None:
    """`[CLS] query [SEP] document [SEP]`, of lower-cased words; type 1 from the document on."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(WORDS[:4])
    (folder / "tokenizer.json").write_text(tokenizer.to_str())


def graph(*, types: bool = True, labels: int = 1, output: str = "logits", kind: int = TensorProto.FLOAT) -> bytes:
    """The sum over unmasked tokens of a weight a word, those of type 1 ten times; `labels` columns of it."""
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["words", "mask"], ["masked"]),
    ]
    last = "masked"
    if types:
        nodes += [
            helper.make_node("Cast", ["token_type_ids"], ["kinds"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["kinds", "nine"], ["nines"]),
            helper.make_node("Add", ["nines", "one"], ["factors"]),
            helper.make_node("Mul", ["masked", "factors"], ["weighted"]),
        ]
        last = "weighted"
    nodes += [
        helper.make_node("ReduceSum", [last, "axis"], ["total"], keepdims=1),
        helper.make_node("Tile", ["total", "repeats"], ["columns"]),
        helper.make_node("Cast", ["columns"], [output], to=kind),
    ]
    constants = {
        "weights": WEIGHTS, "nine": np.float32(9), "one": np.float32(1), "axis": np.array([1], np.int64),
        "repeats": np.array([1, labels], np.int64),
    }  # fmt: skip
    made = helper.make_graph(
        nodes,
        "pairs",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names],
        [helper.make_tensor_value_info(output, kind, ["batch", labels])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def save_cross_encoder(folder: Path, **options) -> Path:
    """A model folder of the tokenizer and `graph(**options)`."""
    folder.mkdir()
    save_tokenizer(folder)
    (folder / "model.onnx").write_bytes(graph(**options))
    describe_folder(folder, MAX_TOKENS)
    return folder


def expected(query: str, document: str, *, types: bool = True) -> float:
    """What the graph computes for texts of known words that are not cut."""
    first = [2, *(WORDS.index(word) for word in query.split()), 3]
    second = [*(WORDS.index(word) for word in document.split()), 3]
    return float(WEIGHTS[first].sum() + (10 if types else 1) * WEIGHTS[second].sum())


def edit(folder: Path, **changes) -> None:
    """Change `model.json`."""
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(content | changes))
