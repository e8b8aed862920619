"""`search` and `explain`."""

from __future__ import annotations

from typing import get_args

import pytest
from cross_encoders import save_cross_encoder

from latefold import Index
from latefold.encoders.scorers.onnx_pairs import OnnxCrossEncoder
from latefold.retrieval.cur.options import CrossEncoderSearch
from latefold.retrieval.cur.options import Method as LibraryMethod
from latefold.retrieval.documents import encoded_text
from latefold.service.cli.arguments import RerankMethod

HIT_KEYS = {"id", "score", "title", "text", "metadata", "source"}


def test_search_json_has_the_documented_shape(cli, shared_index):
    done = cli("search", shared_index, "how does dough rise", "-k", 3, "--json")
    assert done.code == 0
    assert done.json.keys() == {"query", "took_ms", "hits", "rerank"}
    assert done.json["rerank"] is None
    assert done.json["query"] == "how does dough rise"
    assert done.json["took_ms"] > 0
    hits = done.json["hits"]
    assert len(hits) == 3
    assert all(hit.keys() == HIT_KEYS for hit in hits)
    assert hits[0]["source"].endswith("bread.txt")
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("mode", ["auto", "exact", "ann", "lexical", "hybrid"])
def test_every_mode_finds_the_page_about_tea(cli, shared_index, mode):
    hits = cli("search", shared_index, "green tea", "-k", 1, "--mode", mode, "--json").json["hits"]
    assert hits[0]["title"] == "Tea"


def test_filter_leaves_only_what_matches(cli, shared_index):
    done = cli("search", shared_index, "bread", "--filter", '{"year": {"$gte": 2000}}', "--json")
    assert [hit["id"] for hit in done.json["hits"]] == ["r1"]


def test_query_from_stdin(cli, shared_index):
    done = cli("search", shared_index, "-", "--json", stdin="  rye bread\n")
    assert done.json["query"] == "rye bread"
    assert done.json["hits"][0]["id"] == "r2"


def test_plain_output_marks_matches_and_carries_no_escape_codes(cli, shared_index):
    done = cli("search", shared_index, "rye bread", "-k", 2)
    assert done.code == 0
    assert "\x1b" not in done.out
    assert " 1. Rye  0." in done.out
    assert "*Rye* *bread* is dense" in done.out
    assert "rows.jsonl · id r2" in done.out
    assert "2 results in " in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["", "-k", 1], 2, "invalid_input"),
        (["   "], 2, "invalid_input"),
        (["bread", "-k", 0], 2, "invalid_input"),
        (["bread", "-k", 10**9], 2, "invalid_input"),
        (["x" * 10_000], 2, "invalid_input"),
        (["a\0b"], 2, "invalid_input"),
        (["a\udcffb"], 2, "invalid_input"),
        (["bread", "--filter", "{year"], 2, "invalid_filter"),
        (["bread", "--filter", "[" * 100_000], 2, "invalid_filter"),
        (["bread", "--filter", "[]"], 2, "invalid_filter"),
        (["bread", "--filter", '{"year": {"$near": 1}}'], 2, "invalid_filter"),
    ],
)
def test_bad_input_is_a_typed_error(cli, shared_index, arguments, code, error):
    done = cli("search", shared_index, *arguments, "--json")
    assert done.code == code
    assert done.json["error"]["code"] == error
    assert done.json["error"]["message"]
    plain = cli("search", shared_index, *arguments)
    assert plain.code == code
    assert plain.out == ""
    assert plain.err.startswith(f"error[{error}]: ")
    assert plain.err.count("\n") == 1


def test_a_query_that_is_no_text_is_a_typed_error(cli, shared_index):
    done = cli("search", shared_index, "-", "--json", stdin=b"\xff\xfe\xff")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")


def test_a_path_without_an_index(cli, tmp_path):
    done = cli("search", tmp_path / "none", "bread", "--json")
    assert (done.code, done.json["error"]["code"]) == (4, "index_not_found")


def test_wrong_options_exit_2(cli, shared_index):
    for arguments in (["search"], ["search", shared_index, "a", "--mode", "best"], ["search", shared_index, "a", "-z"]):
        assert cli(*arguments).code == 2


def test_explain_json_adds_up_to_the_score_of_exact_search(cli, shared_index):
    done = cli("explain", shared_index, "dense rye", "r2", "--json")
    assert done.code == 0
    assert done.json.keys() == {"query", "id", "score", "matches", "lexical_terms", "page", "boxes", "picture"}
    assert (done.json["page"], done.json["boxes"], done.json["picture"]) == (None, [], None)
    matches = done.json["matches"]
    expected = {"query_token", "document_token", "score", "share", "query_text", "document_text"}
    assert all(match.keys() == expected | {"query_span", "document_span", "field", "box"} for match in matches)
    hits = cli("search", shared_index, "dense rye", "--mode", "exact", "--json").json["hits"]
    score = next(hit["score"] for hit in hits if hit["id"] == "r2")
    assert sum(match["score"] for match in matches) == pytest.approx(score, rel=1e-4)
    assert sum(match["share"] for match in matches) == pytest.approx(1)
    assert set(done.json["lexical_terms"]) == {"dense", "rye"}


def test_explain_marks_the_matched_words_by_strength(cli, shared_index):
    done = cli("explain", shared_index, "dense rye", "r2")
    assert done.code == 0
    assert "**dense**" in done.out
    assert "(marker)" in done.out
    assert "words found by BM25: dense, rye" in done.out


def test_explain_of_an_unknown_id(cli, shared_index):
    done = cli("explain", shared_index, "rye", "nobody", "--json")
    assert (done.code, done.json["error"]["code"]) == (3, "document_not_found")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    """The folder of a tiny cross-encoder."""
    return save_cross_encoder(tmp_path_factory.mktemp("scorers") / "ce")


def scored_by(folder, index_path, query):
    """Scores of all documents by the scorer with their ids, best first, ties in the order they were added."""
    with Index.open(index_path) as index:
        documents = [index.get(name) for name in index.ids()]
    scores = OnnxCrossEncoder(folder).score([(query, encoded_text(document)) for document in documents])
    return sorted(zip(scores.tolist(), (document.id for document in documents), strict=True), key=lambda pair: -pair[0])


@pytest.mark.parametrize("method", ["axn", "rerank"])
def test_a_scorer_that_sees_every_document_has_the_last_word(cli, shared_index, scorer, method):
    done = cli("search", shared_index, "green tea", "-k", 5, "--rerank", scorer, "--method", method, "--json")
    assert done.code == 0, done
    cost = done.json["rerank"]
    assert cost.keys() == {"scorer", "method", "budget", "calls", "rounds"}
    assert (cost["scorer"], cost["method"], cost["budget"], cost["calls"]) == (str(scorer), method, 200, 5)
    assert cost["rounds"] >= 1
    assert [(hit["score"], hit["id"]) for hit in done.json["hits"]] == scored_by(scorer, shared_index, "green tea")


def test_the_budget_bounds_the_calls_and_the_hits_are_scored_ones(cli, shared_index, scorer):
    arguments = ["green tea", "-k", 2, "--rerank", scorer, "--budget", 3]
    done = cli("search", shared_index, *arguments, "--json")
    known = scored_by(scorer, shared_index, "green tea")
    assert done.json["rerank"]["method"] == "axn"
    assert done.json["rerank"]["calls"] <= 3
    assert all((hit["score"], hit["id"]) in known for hit in done.json["hits"])
    plain = cli("search", shared_index, *arguments, "--method", "rerank")
    assert f"; 3 calls of {scorer} in 1 round\n" in plain.err
    assert plain.err.startswith("2 results in ")


def test_the_scorer_may_be_an_encoder(cli, shared_index):
    done = cli("search", shared_index, "rye bread", "-k", 1, "--rerank", "maxsim:minilm", "--json")
    assert (done.json["rerank"]["scorer"], done.json["hits"][0]["id"]) == ("maxsim:minilm", "r2")


@pytest.mark.parametrize("method", ["adacur", "anncur"])
def test_methods_that_need_factors_say_so(cli, shared_index, scorer, method):
    done = cli("search", shared_index, "tea", "-k", 1, "--rerank", scorer, "--method", method, "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")
    assert "factorize" in done.json["error"]["message"]


def test_options_of_a_scorer_that_cannot_be_used(cli, shared_index, scorer, tmp_path):
    for arguments in (["--budget", 5], ["--method", "axn"], ["--budget", 5, "--method", "rerank"]):
        done = cli("search", shared_index, "tea", *arguments)
        assert done.code == 2
        assert "name it by --rerank" in done.err
    for arguments in (["--budget", 0], ["--budget", 10**9], ["--budget", 9, "-k", 10]):
        done = cli("search", shared_index, "tea", "--rerank", scorer, *arguments, "--json")
        assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")
        assert "budget" in done.json["error"]["message"]
    assert cli("search", shared_index, "tea", "--rerank", scorer, "--method", "best").code == 2
    unknown = cli("search", shared_index, "tea", "--rerank", tmp_path / "none", "--offline")
    assert unknown.code == 11
    assert unknown.err.startswith("error[encoder]: no scorer ")
    assert "maxsim:latefold" in cli("search", shared_index, "tea", "--rerank", "latefold").err


def test_a_scorer_and_an_index_without_documents(cli, scorer, tmp_path):
    Index.create(tmp_path / "empty.index").close()
    done = cli("search", tmp_path / "empty.index", "tea", "--rerank", scorer, "--json")
    assert done.code == 0, done
    assert done.json["hits"] == []
    assert (done.json["rerank"]["calls"], done.json["rerank"]["rounds"]) == (0, 0)


def test_the_methods_are_those_of_the_library():
    assert get_args(RerankMethod) == get_args(LibraryMethod)
    assert CrossEncoderSearch.budget == 200  # as the help of --budget says
