"""Figures of methods on real vectors, against what can be said about them without the code under test."""

from __future__ import annotations

import numpy as np
import pytest

from latefold.encoders.errors import InvalidInputError, MissingExtraError
from latefold.eval.candidates import nearest, peers, scaling
from latefold.eval.candidates.encodings import RECIPES
from latefold.eval.candidates.measure import known_share, measure, recalls
from latefold.eval.candidates.plan import recipes, variants
from latefold.eval.candidates.reductions import Reducer, Reduction
from latefold.eval.candidates.stores import Codes, Floats, Reduced, TwoLevels
from latefold.eval.corpora import PACKAGES, open_corpus, passages
from latefold.eval.truth import best
from latefold.index.lvq import LVQ


def test_the_corpus_holds_what_it_says(corpus):
    assert (len(corpus.documents), len(corpus.queries), len(corpus.training)) == (300, 40, 185)
    assert corpus.documents.dim == 128
    assert corpus.truth.shape == (40, 100)
    query, documents = corpus.queries.read()[3], corpus.documents.read()
    scores = [(query @ document.T).max(axis=1).sum() for document in documents]
    assert corpus.truth[3, 0] == np.argmax(scores)


def test_a_collection_that_is_not_there_is_refused(place):
    with pytest.raises(InvalidInputError, match="holds no collection 'absent'"):
        open_corpus("absent", place)


def test_passages_are_runs_of_words_of_different_texts():
    texts = [" ".join(f"t{i}w{j}" for j in range(i)) for i in range(40)]
    chosen = passages(texts, count=30, words=5)
    assert 28 <= len(chosen) <= 30
    assert all(any(passage in text for text in texts) and len(passage.split()) <= 5 for passage in chosen)
    assert len({passage.split("w")[0] for passage in chosen}) == len(chosen)


def test_recall_counts_the_exact_top_ten():
    truth = np.arange(100)[None].repeat(2, 0)
    found = np.full((2, 1000), 999)
    found[0, :10], found[1, 60:70] = np.arange(10), np.arange(10)
    assert recalls(found, truth) == {"50": 0.5, "100": 1.0, "200": 1.0, "500": 1.0, "1000": 1.0}
    assert list(recalls(found[:, :120], truth)) == ["50", "100"]
    assert known_share(found, [3, 7]) == 1.0
    assert known_share(found, [999, 50]) == 0.5
    assert known_share(found, None) is None


def test_mean_pooling_is_measured_as_plain_numpy_finds_it(corpus):
    result = measure(corpus, "mean", rounds=1)
    assert [row["store"] for row in result["rows"]] == ["f32", "LVQ-8", "LVQ-4"]
    assert [row["bytes"] for row in result["rows"]] == [512, 132, 68]
    means = np.stack([vectors.mean(axis=0) for vectors in corpus.documents.read()])
    sums = np.stack([vectors.sum(axis=0) for vectors in corpus.queries.read()])
    found = np.argsort(-(sums @ means.T), axis=1)
    expected = np.mean([np.isin(want[:10], rows[:50]).mean() for want, rows in zip(corpus.truth, found, strict=True)])
    assert result["rows"][0]["recall"]["50"] == pytest.approx(expected, abs=0.01)
    for row in result["rows"]:
        values = list(row["recall"].values())
        assert values == sorted(values)
        assert values[-1] > 0.9
        assert min(row["query_ms"], row["yardstick_ms"]) > 0
    assert result["peak"] > 1e8


@pytest.mark.parametrize("depth", ["quick", "usual", "full"])
def test_no_method_is_measured_twice(depth):
    for name in RECIPES:
        wishes = variants(name, real=True, depth=depth)
        assert len(wishes) == len(set(wishes))
        assert wishes[0].reduction is None
        assert wishes[0].store == "f32"
    assert set(recipes(PACKAGES)) < set(recipes("scifact")) == set(RECIPES)


@pytest.fixture
def problem(rng):
    """Vectors of four directions that matter and others that do not, around a mean."""
    spread = np.concatenate([np.full(4, 3.0), np.full(44, 0.3)]).astype(np.float32)
    documents = (rng.normal(size=(900, 48)) * spread).astype(np.float32)
    queries, fitting = ((rng.normal(size=(n, 48)) * spread).astype(np.float32) for n in (30, 200))
    return nearest.Problem("made up", documents, queries, fitting)


@pytest.mark.parametrize("make", [Floats, lambda: Codes(8), lambda: Codes(4), TwoLevels])
def test_stores_find_what_is_nearest(problem, make):
    store = make()
    store.build(problem.documents)
    exact = best(problem.queries @ problem.documents.T, 10)
    found = store.top(problem.queries, 40)
    assert found.shape == (30, 40)
    assert recalls(np.pad(found, ((0, 0), (0, 20)), constant_values=-1), exact)["50"] > 0.97
    assert store.bytes_per_document == {"f32": 192, "LVQ-8": 52, "LVQ-4": 28, "LVQ-4x8": 28 + 48}[store.label]


def test_more_effort_finds_more_in_the_end_all(problem):
    fit = Reducer(problem.documents, {"pseudo": problem.fitting}).fit(Reduction("Sphering", 8))
    index = Reduced("ours", fit, 4)
    index.build(problem.documents)
    exact = best(problem.queries @ problem.documents.T, 10)
    shares = []
    for effort in (10, 40, 900):
        index.aim(effort)
        found = index.top(problem.queries, 10)
        shares.append(np.mean([np.isin(want, rows).mean() for want, rows in zip(exact, found, strict=True)]))
    assert shares == sorted(shares)
    assert shares[-1] > 0.95


def test_a_contest_times_whoever_reaches_the_target(problem, monkeypatch):
    monkeypatch.setattr(nearest, "_DIMS", (8, 16))
    result = nearest.contest(problem)
    named = {entry["index"]: entry for entry in result["indexes"]}
    assert {"scan, LeanVec 8 LVQ-4, LVQ-8", "graph, LeanVec 16 LVQ-8, LVQ-8"} <= set(named) | set(result["left_out"])
    scan = named["scan, LeanVec 16 LVQ-4, LVQ-8"]
    assert scan["best"]["recall"] >= nearest.TARGET
    assert scan["best"]["query_ms"] > 0
    efforts = [point["effort"] for point in scan["curve"]]
    assert efforts == sorted(efforts)


def test_a_missing_peer_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "muvera", None)
    with pytest.raises(MissingExtraError, match=r"latefold\[bench\]"):
        peers.MuveraPython(8, 2, 2, 4)


def test_growth_is_measured_on_copies_beyond_the_collection(corpus, tmp_path):
    sizes = (100, 300, 450)
    built = scaling.build(corpus, sizes, tmp_path)["points"]
    assert [(point["documents"], point["copied"]) for point in built] == [(100, False), (300, False), (450, True)]
    assert [point["cpu_seconds"] for point in built] == sorted(point["cpu_seconds"] for point in built)
    rows = np.fromfile(tmp_path / "rows.bin", np.uint8).reshape(450, -1)
    assert rows.shape[1] == built[0]["bytes"] == 68
    codes = LVQ(np.load(tmp_path / "mean.npy"), 4)
    vectors = codes.decode(rows)
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    own = np.argmax(vectors[300:] @ vectors[:300].T, axis=1)
    assert np.mean(own == np.arange(150)) > 0.9
    assert not np.array_equal(rows[300:], rows[:150])
    found = scaling.search(sizes, (450,), tmp_path)["points"]
    assert [point["graph"] is None for point in found] == [True, True, False]
    assert all(point["scan_ms"] > 0 and point["read_rate"] > 1e8 for point in found)
    assert all(0.9 < beam["recall"] <= 1 for beam in found[-1]["graph"])
