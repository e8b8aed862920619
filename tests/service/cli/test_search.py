"""`search` and `explain`."""

from __future__ import annotations

import pytest

HIT_KEYS = {"id", "score", "title", "text", "metadata", "source"}


def test_search_json_has_the_documented_shape(cli, shared_index):
    done = cli("search", shared_index, "how does dough rise", "-k", 3, "--json")
    assert done.code == 0
    assert done.json.keys() == {"query", "took_ms", "hits"}
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
    assert done.json.keys() == {"query", "id", "score", "matches", "lexical_terms"}
    matches = done.json["matches"]
    expected = {"query_token", "document_token", "score", "share", "query_text", "document_text"}
    assert all(match.keys() == expected | {"query_span", "document_span", "field"} for match in matches)
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
