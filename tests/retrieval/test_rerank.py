"""Certified pruning, and two levels of token codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold import Document, Index, IndexConfig
from latefold.encoders.errors import InvalidInputError
from latefold.retrieval import rerank
from latefold.retrieval.rerank import contenders, top_k

LEVELS = IndexConfig(codec="lvq8+fp16", exact_below=0)


@given(
    st.integers(0, 60),
    st.integers(1, 12),
    st.floats(0, 2, width=32),
    st.integers(0, 2**32 - 1),
)
def test_no_document_that_belongs_to_the_best_is_left_out(count, k, spread, seed):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.standard_normal(count), 1).astype(np.float32)  # with ties
    scores[rng.random(count) < 0.1] = -np.inf
    errors = (spread * rng.random(count)).astype(np.float32)
    finite = np.where(np.isfinite(scores), scores, 0)
    estimates = np.where(np.isfinite(scores), finite + errors * rng.uniform(-0.999, 0.999, count), -np.inf)
    left = contenders(estimates.astype(np.float32), errors * np.float32(1.001) + np.float32(1e-6), k)
    rows = np.arange(count)
    assert top_k(rows[left], scores[left], k) == top_k(rows, scores, k)
    assert (np.diff(left) > 0).all()


def test_little_error_leaves_few_contenders():
    scores = np.arange(100, dtype=np.float32)
    assert contenders(scores, np.full(100, 0.4, np.float32), 10).tolist() == list(range(90, 100))
    assert contenders(scores, np.zeros(100, np.float32), 3).tolist() == [97, 98, 99]


@pytest.fixture
def build(tmp_path, make_embeddings):
    """Indexes of 200 documents in three segments, calibrated."""
    embeddings = make_embeddings(200)

    def make(config: IndexConfig) -> Index:
        index = Index.create(tmp_path / config.codec, dim=16, config=replace(config, exact_below=0, encoding="fde"))
        for start, stop in ((0, 90), (90, 150), (150, 200)):
            documents = [Document(f"d{i}", f"text {i}", metadata={"n": i}) for i in range(start, stop)]
            index.add(documents, embeddings=embeddings.take(np.arange(start, stop)))
        index.calibrate()
        return index

    return make


def found(index, queries, **options):
    return [[(hit.id, hit.score) for hit in hits] for hits in index.search(embeddings=queries, **options)]


def test_two_levels_rank_like_the_finer_one_when_the_counts_cover_the_corpus(build, make_embeddings):
    queries = make_embeddings(8)
    with build(LEVELS) as two, build(IndexConfig(codec="fp16")) as fine:
        stats = two.stats()
        assert stats.codec == "lvq8+fp16"
        assert stats.bytes_per_token == 16 + 4 + 32
        assert stats.bytes["fine"] > stats.bytes["tokens"] > 0
        assert 1 <= stats.calibration["refined"] <= stats.calibration["candidates"]
        exact = found(fine, queries, k=7, mode="exact")
        assert found(two, queries, k=7, mode="exact") == exact
        assert found(two, queries, k=7, mode="ann", candidates=200, refined=200) == exact
        few = two.search_timed(embeddings=queries, k=7, mode="ann", candidates=40, refined=9)
        assert (few.work.estimated, few.work.scored) == (0, 8 * 9)


@pytest.mark.parametrize("codec", ["lvq8", "lvq4x4", "lvq4", "pq16", "residual2", "fp16"])
def test_pruning_changes_no_result(build, make_embeddings, monkeypatch, codec):
    queries = make_embeddings(12)
    with build(IndexConfig(codec=codec)) as index:
        assert index.stats().codec == codec
        for options in ({"mode": "exact", "k": 4}, {"mode": "ann", "k": 9, "candidates": 150}):
            whole = found(index, queries, **options)
            with monkeypatch.context() as patch:
                patch.setattr(rerank, "_FEW", 0)
                pruned = index.search_timed(embeddings=queries, **options)
            assert [[(hit.id, hit.score) for hit in hits] for hits in pruned.hits] == whole
            assert pruned.work.estimated >= pruned.work.scored
            assert codec == "fp16" or 0 < pruned.work.scored < pruned.work.estimated


def test_signs_rank_ahead_of_finer_codes(build, make_embeddings):
    queries = make_embeddings(8)
    with build(IndexConfig(codec="sign+lvq8")) as index:
        whole = found(index, queries, k=5, mode="exact")
        assert found(index, queries, k=5, mode="ann", candidates=200, refined=200) == whole
        few = found(index, queries, k=5, mode="ann", candidates=200, refined=40)
        pairs = zip(few, whole, strict=True)
        assert np.mean([len({name for name, _ in a} & {name for name, _ in b}) for a, b in pairs]) > 3


def test_levels_survive_deletes_merges_adds_and_reopening(build, make_embeddings):
    queries = make_embeddings(5)
    with build(LEVELS) as index:
        index.delete([f"d{i}" for i in range(0, 200, 3)])
        before = found(index, queries, k=9, mode="ann", candidates=200, refined=60)
        index.optimize()
        assert found(index, queries, k=9, mode="ann", candidates=200, refined=60) == before
        index.add([Document("new", "text")], embeddings=queries.take([2]))
        index.verify()
        path = index.path
    with Index.open(path) as index:
        (best, *_), *_ = index.search(embeddings=queries.take([2]), k=1, mode="ann")
        assert best.id == "new"
        assert index.explain(None, "new", embeddings=queries.take([2])).score == pytest.approx(best.score, rel=1e-3)
        filtered = index.search(embeddings=queries, k=5, mode="ann", filter={"n": {"$lt": 50}})
        assert all(hit.metadata["n"] < 50 for hits in filtered for hit in hits)


@pytest.mark.parametrize("options", [{"candidates": 0}, {"refined": True}, {"candidates": 1.5}])
def test_counts_are_checked(build, make_embeddings, options):
    with build(LEVELS) as index, pytest.raises(InvalidInputError, match="whole number"):
        index.search(embeddings=make_embeddings(1), **options)
