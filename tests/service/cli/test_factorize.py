"""`factorize`: the plan before the first call, scores that are never paid for twice, and what is made of them."""

from __future__ import annotations

import re
import shutil
from typing import get_args

import pytest
from cross_encoders import WORDS, save_cross_encoder

from latefold import Document, Index
from latefold.encoders.scorers.cache import ScoreCache
from latefold.retrieval.cur.factorize import Kind as LibraryKind
from latefold.service.cli.factorize import Kind, scores_file

MADE = {"kind", "scorer", "queries", "documents", "calls", "remembered", "dims", "anchors", "bytes", "fit"}
DOCUMENTS = 40
QUERIES = 12


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    """The folder of a tiny cross-encoder."""
    return save_cross_encoder(tmp_path_factory.mktemp("scorers") / "ce")


@pytest.fixture(scope="module")
def words_index(tmp_path_factory):
    """Documents of the words that the cross-encoder knows; for reading only."""
    path = tmp_path_factory.mktemp("words") / "words.index"
    known = WORDS[4:]
    with Index.create(path, encoder="latefold-32") as index:
        texts = [f"{known[i % 7]} {known[(i // 7) % 7]} {known[(3 * i) % 5]} number {i}" for i in range(DOCUMENTS)]
        index.add([Document(f"d{i}", text) for i, text in enumerate(texts)])
    return path


@pytest.fixture
def index_path(words_index, tmp_path):
    return shutil.copytree(words_index, tmp_path / "words.index")


@pytest.fixture
def queries(tmp_path):
    file = tmp_path / "queries.txt"
    file.write_text("\n\n".join(f"{WORDS[4 + i % 7]} {WORDS[4 + i // 7]}" for i in range(QUERIES)))
    return file


def test_dense_factors_are_made_once_used_and_dropped(cli, index_path, queries, scorer, tmp_path):
    command = ["factorize", index_path, "--queries", queries, "--rerank", scorer, "--budget", DOCUMENTS * QUERIES]
    done = cli(*command, "--kind", "dense", "--json")
    assert done.code == 0, done
    assert done.json.keys() == {"plan", "scores", "factorization"}
    plan, made = done.json["plan"], done.json["factorization"]
    assert made.keys() == MADE
    assert plan["kind"] == made["kind"] == "dense"
    assert made["calls"] == plan["calls"] <= DOCUMENTS * QUERIES
    assert made["remembered"] == 0
    assert f"{plan['calls']:,} calls of {scorer}" in done.err
    scores = tmp_path / "words.index.scores.sqlite"
    assert done.json["scores"] == str(scores)
    with ScoreCache(scores) as cache:
        assert len(cache) == made["calls"]

    again = cli(*command, "--kind", "dense", "--json").json["factorization"]
    assert (again["calls"], again["remembered"]) == (0, made["calls"])
    plain = cli(*command, "--kind", "dense", "--no-progress")
    assert plain.code == 0
    assert f"dense, {made['dims']} dimensions" in plain.out
    assert str(scores) in plain.out

    for method in ("adacur", "anncur", "axn"):
        found = cli(
            "search", index_path, "tea", "-k", 2, "--rerank", scorer, "--budget", 12, "--method", method, "--json"
        )
        assert found.code == 0, found
        assert 0 < found.json["rerank"]["calls"] <= 12
        assert len(found.json["hits"]) == 2
    facts = cli("stats", index_path, "--json").json["factors"]
    assert facts["kind"] == "dense"
    assert facts["bytes_per_document"] > 0
    assert re.search(rf"factors +dense, {made['dims']} dimensions", cli("stats", index_path).out)

    assert cli("factorize", index_path, "--drop", "--json").json == {"dropped": True}
    assert cli("stats", index_path, "--json").json["factors"] is None
    assert cli("factorize", index_path, "--drop", "--json").json == {"dropped": False}
    assert "nothing to drop" in cli("factorize", index_path, "--drop").err
    assert scores.exists()


def test_sparse_factors_and_a_file_of_scores_of_ones_own(cli, index_path, queries, scorer, tmp_path):
    scores = tmp_path / "mine.sqlite"
    command = ["factorize", index_path, "--queries", queries, "--rerank", scorer, "--budget", 150]
    done = cli(*command, "--kind", "sparse", "--scores", scores, "--json")
    assert done.code == 0, done
    made = done.json["factorization"]
    assert made["kind"] == "sparse"
    assert 0 < made["calls"] <= 150
    with ScoreCache(scores) as cache:
        assert len(cache) == made["calls"]


def test_what_is_missing_is_said(cli, index_path, queries, scorer, tmp_path):
    whole = {"--queries": queries, "--rerank": scorer, "--budget": 400}
    for missing in whole:
        given = [part for option, value in whole.items() if option != missing for part in (option, value)]
        done = cli("factorize", index_path, *given)
        assert done.code == 2
        assert "--queries FILE, --rerank NAME and --budget N" in done.err
    complete = [part for option, value in whole.items() for part in (option, value)]
    both = cli("factorize", index_path, *complete, "--drop")
    assert both.code == 2
    assert "--drop makes nothing" in both.err
    for budget, kind in ((0, "auto"), (DOCUMENTS, "dense")):
        given = ["--queries", queries, "--rerank", scorer, "--budget", budget, "--kind", kind]
        small = cli("factorize", index_path, *given, "--json")
        assert (small.code, small.json["error"]["code"]) == (2, "invalid_input")
    queries.write_text("\n")
    assert "at least 1" in cli("factorize", index_path, *complete).err
    assert "cannot be read" in cli("factorize", index_path, *complete, "--queries", tmp_path / "none").err
    assert not (tmp_path / "words.index.scores.sqlite").exists()


def test_the_file_of_scores_is_never_inside_the_index(cli, index_path, queries, scorer, tmp_path, monkeypatch):
    command = ["factorize", index_path, "--queries", queries, "--rerank", scorer, "--budget", 400]
    done = cli(*command, "--scores", index_path / "scores.sqlite")
    assert done.code == 2
    assert "inside the index" in done.err
    monkeypatch.chdir(index_path)
    assert scores_file(index_path.relative_to(index_path), None) == tmp_path / "words.index.scores.sqlite"


def test_a_file_that_holds_no_scores_is_left_alone(cli, index_path, queries, scorer, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("mine " * 200)
    command = ["factorize", index_path, "--queries", queries, "--rerank", scorer, "--budget", 400]
    assert cli(*command, "--scores", other).code == 15
    assert other.read_text() == "mine " * 200


def test_the_kinds_are_those_of_the_library():
    assert get_args(Kind) == get_args(LibraryKind)


def test_an_index_without_an_encoder_is_told_of_the_plan_that_is_carried_out(cli, tmp_path, make_embeddings, scorer):
    path, queries = tmp_path / "own.index", tmp_path / "own.txt"
    with Index.create(path, dim=16) as index:
        index.add([Document(f"d{i}", f"{WORDS[4 + i % 7]} {i}") for i in range(20)], embeddings=make_embeddings(20))
    queries.write_text("\n".join(f"{WORDS[4 + i % 7]} {WORDS[4 + i // 7]}" for i in range(30)))
    done = cli("factorize", path, "--queries", queries, "--rerank", scorer, "--budget", 10 * 20, "--json")
    assert done.code == 0, done
    assert done.json["plan"] == {"kind": "dense", "queries": 10, "calls": 200}
    assert done.json["factorization"]["kind"] == "dense"
