"""What training needs before torch: configuration, pairs, cached vectors, batches, the teacher, metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold import TokenEmbeddings
from latefold.encoders.base import load_encoder
from latefold.encoders.errors import InvalidInputError
from latefold.encoders.training.cache import cache_tokens
from latefold.encoders.training.config import TrainingConfig, parse_config, read_config
from latefold.encoders.training.metrics import measure, ranks, shape
from latefold.encoders.training.mining import SPARE_GROUPS, Batches, mean_neighbours, neighbour_rows
from latefold.encoders.training.pairs import read_pairs
from latefold.encoders.training.run import prepare_output
from latefold.encoders.training.teacher import Frequencies, Teacher, bm25, maxsim, standardise

SENTENCES = [
    "Green tea is brewed with water at eighty degrees.",
    "Bread dough rises because of yeast, and yeast needs warmth.",
    "The oven is cleaned with soda once a month.",
]


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def configured(**sections: dict) -> TrainingConfig:
    return parse_config({"data": {"files": ["a.jsonl"]}} | sections, Path("/data"))


def test_a_file_gives_the_same_configuration_as_its_json_form(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[data]\nfiles = ["a.jsonl"]\n[run]\nlr = 1\nmining = "means"\n[pooling]\ndocuments = ["c8"]\n')
    config = read_config(file)
    assert config.data.files == (str(tmp_path / "a.jsonl"),)
    assert (config.run.lr, config.run.mining, config.pooling.documents) == (1.0, "means", ("c8",))
    assert parse_config(json.loads(json.dumps(config.to_dict())), Path("/elsewhere")) == config


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"runs": {}}, "runs is no setting"),
        ({"run": {"rate": 1}}, "run.rate is no setting"),
        ({"run": {"lr": "fast"}}, "run.lr"),
        ({"run": {"steps": True}}, "run.steps"),
        ({"run": {"batch": 0}}, "run.batch"),
        ({"run": {"seed": 1 << 32}}, "run.seed"),
        ({"run": {"warmup": 100}}, "run.warmup"),
        ({"model": {"mix": math.nan}}, "model.mix"),
        ({"run": {"mining": "luck"}}, "run.mining"),
        ({"loss": {"distillation": -1.0}}, "loss.distillation"),
        ({"loss": {"temperature": math.nan}}, "loss.temperature"),
        ({"model": {"nested": [128]}}, "model.nested"),
        ({"pooling": {"documents": ["c0"]}}, "pooling"),
        ({"pooling": {"documents": []}}, "pooling.documents"),
        ({"data": {}}, "data.files is missing"),
        ({"data": {"files": []}}, "data.files is empty"),
        ({"data": {"files": ["a"], "held_out": 1.0}}, "data.held_out"),
        ({"data": 3}, "must be a section"),
    ],
)
def test_what_a_configuration_may_not_say_is_named(sections: dict, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        configured(**sections)


def test_a_configuration_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    for name, content in (("bad.toml", b"[data"), ("bytes.toml", b"\xff\xfe")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInputError, match=name):
            read_config(tmp_path / name)
    with pytest.raises(InvalidInputError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml")


def test_pairs_share_passages_and_keep_scores(tmp_path: Path) -> None:
    first = write_rows(
        tmp_path / "a.jsonl",
        {"query": "tea?", "passage": "tea", "negatives": ["oven", "bread"], "scores": [3, 1, 2]},
        {"query": "bread?", "passage": "bread"},
    )
    second = write_rows(tmp_path / "b.jsonl", {"query": "tea again?", "passage": "tea"})
    pairs = read_pairs([first, second])
    assert pairs.passages == ["tea", "oven", "bread"]
    assert (pairs.positives.tolist(), pairs.sources.tolist()) == ([0, 2, 0], [0, 0, 1])
    assert (pairs.negatives, pairs.scores) == ([(1, 2), (), ()], [(3, 1, 2), None, None])
    assert [entry["pairs"] for entry in pairs.files] == [2, 1]
    assert all(len(entry["sha256"]) == 64 for entry in pairs.files)


@pytest.mark.parametrize(
    "row",
    [
        [], 3, {"query": "a"}, {"query": " ", "passage": "b"}, {"query": "a", "passage": 1},
        {"query": "a", "passage": "b", "negatives": "c"}, {"query": "a", "passage": "b", "scores": [1, 2]},
        {"query": "a", "passage": "b", "scores": [None]}, {"query": "a\0", "passage": "b"},
        {"query": "a", "passage": "b", "negatives": ["\ud800"]},
    ],
)  # fmt: skip
def test_a_row_that_is_no_pair_is_named_by_file_and_line(tmp_path: Path, row: object) -> None:
    path = write_rows(tmp_path / "bad.jsonl", {"query": "a", "passage": "b"}, row)
    with pytest.raises(InvalidInputError, match=r"bad\.jsonl, line 2"):
        read_pairs([path])


def test_a_passage_is_never_on_both_sides_of_the_split(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "passage": f"p{i % 200}"} for i in range(600)]
    pairs = read_pairs([write_rows(tmp_path / "a.jsonl", *rows)])
    train, held = pairs.split(0.25, seed=1)
    assert sorted([*train, *held]) == list(range(600))
    assert not set(pairs.positives[train]) & set(pairs.positives[held])
    assert 0.15 < len(held) / 600 < 0.35
    assert pairs.split(0.25, seed=1)[1].tolist() == held.tolist() != pairs.split(0.25, seed=2)[1].tolist()
    assert len(pairs.split(0.0, seed=1)[1]) == 0


def test_cached_vectors_are_those_of_the_encoder_and_are_not_made_twice(tmp_path: Path) -> None:
    encoder = load_encoder("minilm", threads=1)
    calls: list[int] = []
    cache = cache_tokens(
        tmp_path, [*SENTENCES, SENTENCES[0]], encoder, 64, "encode", lambda *call: calls.append(call[1])
    )
    assert (len(cache), calls) == (3, [3])
    exact = encoder.encode_documents(SENTENCES)
    np.testing.assert_allclose(cache.embeddings(np.arange(3)).vectors, exact.vectors, atol=1e-3)
    assert cache.offsets.tolist() == exact.offsets.tolist()
    assert cache.terms_of(0)[[0, -1]].tolist() == [0, 0], "markers are no terms"
    means = np.stack([item.mean(axis=0) / np.linalg.norm(item.mean(axis=0)) for item in exact])
    np.testing.assert_allclose(cache.means(), means, atol=2e-3)
    again = cache_tokens(tmp_path, SENTENCES, encoder, 64, "encode", lambda *call: calls.append(call[1]))
    assert (again.digest, calls) == (cache.digest, [3])
    state = next(tmp_path.glob("*/state.json"))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"done": 1}))
    resumed = cache_tokens(tmp_path, SENTENCES, encoder, 64, "encode", lambda *call: calls.append(call[1]))
    assert calls == [3, 3]
    np.testing.assert_array_equal(resumed.vectors, cache.vectors)


def test_long_texts_are_cut_between_words_to_the_limit(tmp_path: Path) -> None:
    cache = cache_tokens(tmp_path, [" ".join(SENTENCES), "tea"], load_encoder("minilm", threads=1), 12, "encode")
    assert np.diff(cache.offsets).tolist() == [12, 3]


@given(st.integers(0, 2**32 - 1))
def test_batches_depend_on_seed_and_number_alone_and_stay_in_one_source(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sources = rng.integers(0, 3, 60)
    near = rng.integers(-1, 60, (60, 5))
    batches = Batches(sources, near, size=10, group=3, seed=seed)
    for number in range(4):
        rows = batches[number]
        assert rows == Batches(sources, near, 10, 3, seed)[number]
        assert len(set(rows)) == len(rows) <= 10
        assert len(set(sources[rows].tolist())) == 1


@given(st.integers(0, 2**32 - 1))
def test_neighbours_of_the_seeds_are_all_that_batches_need(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sources = rng.integers(0, 2, 400)
    near = np.stack([rng.permutation(400)[:30] for _ in range(400)])
    whole = Batches(sources, near, size=8, group=4, seed=seed)
    seeds = whole.seeds(5)
    assert len(seeds) <= 5 * (8 // 4 + SPARE_GROUPS)
    few = Batches(sources, np.where(np.isin(np.arange(400), seeds)[:, None], near, -1), 8, 4, seed)
    assert all(whole[number] == few[number] for number in range(5))


def test_mean_neighbours_are_the_nearest_others() -> None:
    angles = np.array([0.0, 0.1, 0.3, 2.0, 2.1])
    means = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    assert mean_neighbours(means, 2).tolist() == [[1, 2], [0, 2], [1, 0], [4, 2], [3, 2]]
    assert mean_neighbours(means[:1], 2).shape == (1, 0)


def test_neighbouring_passages_become_rows_without_the_own_passage() -> None:
    answers = np.array([0, 1, 1, 3])
    rows = neighbour_rows(np.array([[0, 1, 2], [3, 1, -1], [1, 0, 3], [3, 2, 0]]), answers)
    assert rows.tolist() == [[-1, 1, -1], [3, -1, -1], [-1, 0, 3], [-1, -1, 0]]


def test_maxsim_is_the_mean_of_best_matches(make_embeddings) -> None:
    queries, documents = make_embeddings(4), make_embeddings(6)
    expected = [[float((q @ d.T).max(axis=1).mean()) for d in documents] for q in queries]
    np.testing.assert_allclose(maxsim(queries, documents), expected, atol=1e-5)


def test_bm25_is_the_formula() -> None:
    documents = [np.array([0, 1, 2, 2, 0], np.uint32), np.array([0, 3, 3, 3, 1, 4, 0], np.uint32)]
    terms = np.array([0, 1, 2, 3, 4], np.uint32)
    frequencies = Frequencies(terms, np.array([0, 0.2, 1.0, 0.7, 0.5], np.float32), mean_length=4.0)
    got = bm25([np.array([0, 2, 2, 3, 9, 0], np.uint32), np.array([0, 0], np.uint32)], documents, frequencies)
    first = 1.0 * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 4))
    second = 0.7 * 3 * 2.2 / (3 + 1.2 * (0.25 + 0.75 * 5 / 4))
    np.testing.assert_allclose(got, [[first, second], [0, 0]], rtol=1e-6)


def test_the_teacher_prefers_what_answers(tmp_path: Path) -> None:
    encoder = load_encoder("minilm", threads=1)
    asked = ["how hot is the water for tea", "what makes dough rise", "cleaning an oven"]
    queries = cache_tokens(tmp_path, asked, encoder, 32, "encode")
    documents = cache_tokens(tmp_path, SENTENCES, encoder, 64, "encode")
    teacher = Teacher(queries, documents, Frequencies.of(documents), 1.0, 0.5, 0.5)
    scores = teacher.scores(np.arange(3), np.arange(3))
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(teacher.scores(np.arange(3), order), scores[:, order], atol=1e-5)
    np.testing.assert_allclose(standardise(scores).mean(axis=1), 0, atol=1e-6)


def test_ranks_count_documents_that_score_as_high(make_embeddings) -> None:
    documents = make_embeddings(8)
    assert ranks(documents, documents, np.arange(8)).tolist() == [1] * 8
    twice = TokenEmbeddings.concatenate([documents, documents])
    assert ranks(documents, twice, np.arange(8)).tolist() == [2] * 8


def test_shape_of_vectors() -> None:
    assert shape(np.eye(4, dtype=np.float32)) == pytest.approx({"mean_cosine": 0, "stable_rank": 4})
    same = np.tile(np.eye(1, 4, dtype=np.float32), (5, 1))
    assert shape(same) == pytest.approx({"mean_cosine": 1, "stable_rank": 1})


def test_measures_cover_nested_dimensions_and_poolings(make_embeddings) -> None:
    documents = make_embeddings(6, dim=8, low=3)
    found = measure(documents, documents, np.arange(6), dims=[8, 4], poolings=["none", "c2"], folded=lambda *_: 0.5)
    assert found["mrr@10:8:none"] == found["recall@10:4:none"] == 1
    assert {"mrr@10:8:c2", "mean_cosine", "stable_rank"} < set(found)
    assert "mrr@10:4:c2" not in found
    assert found["folded_recall"] == 0.5


def test_a_folder_of_another_run_is_not_continued(tmp_path: Path) -> None:
    facts = {"config": {"run": 1}, "data": [], "base": "x"}
    prepare_output(tmp_path / "run", facts, restart=False)
    (tmp_path / "run" / "checkpoints").mkdir()
    prepare_output(tmp_path / "run", facts, restart=False)
    with pytest.raises(InvalidInputError, match="other config"):
        prepare_output(tmp_path / "run", facts | {"config": {"run": 2}}, restart=False)
    prepare_output(tmp_path / "run", facts | {"config": {"run": 2}}, restart=True)
