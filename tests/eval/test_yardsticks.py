"""The yardsticks against hand-made cases and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from latefold import Document, TokenEmbeddings
from latefold.eval.beir import Dataset, load_beir
from latefold.eval.metrics import quality
from latefold.eval.yardsticks import bm25_run, cosine_run, fused_run, mean_pooled

DATASET = Dataset(
    "tiny",
    [Document("a", "the wings of aircraft"), Document("b", "a boundary layer", "Layers"), Document("c", "")],
    {"q": "a wing", "r": "layered boundaries", "s": "of the"},
    {"q": {"a": 1}, "r": {"b": 1}, "s": {"c": 1}},
)


def test_bm25_stems_and_drops_stop_words_and_reads_titles():
    pytest.importorskip("bm25s", reason="needs the extra bench")
    run = bm25_run(DATASET)
    assert [id_ for id_, _ in run["q"]] == ["a"]
    assert [id_ for id_, _ in run["r"]] == ["b"]
    assert run["s"] == []


def test_bm25_reaches_its_known_quality(shared_data):
    pytest.importorskip("bm25s", reason="needs the extra bench")
    cranfield = load_beir(shared_data / "cranfield")
    assert quality(bm25_run(cranfield), cranfield.qrels).ndcg_at_10 == pytest.approx(0.376, abs=0.0015)


def test_mean_pooled_is_the_normalized_mean():
    rng = np.random.default_rng(1)
    items = [rng.standard_normal((n, 5)).astype(np.float32) for n in (3, 1, 0, 7)]
    pooled = mean_pooled(TokenEmbeddings.from_list(items))
    assert pooled.dtype == np.float32
    for item, row in zip(items, pooled, strict=True):
        mean = item.mean(axis=0) if len(item) else np.zeros(5)
        np.testing.assert_allclose(row, mean / (np.linalg.norm(mean) or 1), atol=1e-6)


def test_cosine_run_ranks_by_inner_product_and_keeps_corpus_order_in_ties():
    documents = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    queries = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    run = cosine_run(DATASET, documents, queries, k=2)
    assert [id_ for id_, _ in run["q"]] == ["a", "c"]
    assert run["r"] == [("b", pytest.approx(0.8)), ("a", pytest.approx(0.6))]
    assert [id_ for id_, _ in run["s"]] == ["b", "a"]


def test_fused_run_is_reciprocal_rank_fusion():
    first, second = {"q": [("a", 9.0), ("b", 8.0)]}, {"q": [("b", 0.5), ("c", 0.4)]}
    assert fused_run([first, second], k=2) == {
        "q": [("b", pytest.approx(1 / 62 + 1 / 61)), ("a", pytest.approx(1 / 61))],
    }
