"""The cross-encoder of the benchmark: what it is trained on, and a run of a few steps on a tiny base."""

from __future__ import annotations

import json

import numpy as np
import pytest

from latefold.encoders.model_folder import find_bundled
from latefold.encoders.scorers.onnx_pairs import OnnxCrossEncoder
from latefold.encoders.training.overlap import SHARED_WORDS, seen_runs
from latefold.encoders.training.pairs import read_pairs
from latefold.eval.rerank.trained import Recipe, chosen_rows, train

JUDGED = "one two three four five six seven eight nine ten"


@pytest.fixture
def data(tmp_path):
    """Two files of pairs, the third of which quotes a judged document."""
    home = tmp_path / "data"
    (home / "judged").mkdir(parents=True)
    (home / "train").mkdir()
    (home / "judged" / "corpus.jsonl").write_text(json.dumps({"_id": "1", "title": "", "text": JUDGED}))
    (home / "judged" / "queries.jsonl").write_text(json.dumps({"_id": "1", "text": "what comes after nine"}))
    for name in ("a", "b"):
        rows = [
            {"query": f"{name} query {i}", "passage": f"passage {i} of {name} about subject {i % 5}"} for i in range(12)
        ]
        rows[2]["passage"] = f"As is written: {JUDGED.upper()}."
        (home / "train" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return home


def test_passages_that_quote_a_judged_collection_are_left_out(data) -> None:
    pairs = read_pairs(sorted((data / "train").glob("*.jsonl")))
    rows = chosen_rows(pairs, seen_runs(data), Recipe(pairs=100))
    assert rows.tolist() == [i for i in range(24) if i % 12 != 2]
    assert len(seen_runs(data)) == 10 - SHARED_WORDS + 1 + 1, "the query is a run by itself"
    assert len(chosen_rows(pairs, set(), Recipe(pairs=6))) == 12


def test_a_few_steps_make_a_cross_encoder_that_latefold_runs(data, tmp_path) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra models")
    transformers = pytest.importorskip("transformers", reason="needs the extra models")
    base, out = tmp_path / "base", tmp_path / "made"
    tokenizer = find_bundled("minilm").folder.path / "tokenizer.json"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64
    )
    transformers.BertModel(config).save_pretrained(base)
    (base / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    train(data, base, out, tmp_path / "cache", Recipe(layers=(0, 2), steps=4, pairs=10, neighbours=3))
    record = json.loads((out / "training.json").read_text())
    assert record["rows"] == 18 or record["rows"] == 20
    assert np.isfinite(record["losses"]).all()
    assert [entry["pairs"] for entry in record["data"]] == [12, 12]
    assert str(tmp_path) not in json.dumps(record)
    scores = OnnxCrossEncoder(out).score([("a query 1", "passage 1"), ("b query", "another passage of b")])
    assert len(set(scores.tolist())) == 2
