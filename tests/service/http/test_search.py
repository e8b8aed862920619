"""Searching and explaining over HTTP, against the library as the oracle."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from latefold import Index

URL = "/v1/collections/vectors/search"


def test_text_search_equals_the_library(reader: httpx.Client, text_index: Any, encoder: Any) -> None:
    with Index.open(text_index, encoder=encoder) as index:
        for mode in ("auto", "exact", "ann", "lexical", "hybrid"):
            body = {"query": "where does the cat sleep", "k": 3, "mode": mode}
            answer = reader.post("/v1/collections/my-texts/search", json=body)
            assert answer.status_code == 200
            found = answer.json()
            assert found["query"] == body["query"]
            expected = index.search(body["query"], 3, mode=mode)  # type: ignore[arg-type]
            assert [(hit["id"], hit["score"]) for hit in found["hits"]] == [(h.id, h.score) for h in expected]
            best = found["hits"][0]
            assert (best["id"], best["title"], best["source"]) == ("cat", "Cat", "cat.txt")
            assert best["text"] == expected[0].text
            assert best["metadata"] == expected[0].metadata
            assert best["snippet"] is None


def test_a_list_of_queries_gives_a_list_of_results(reader: httpx.Client) -> None:
    texts = ["barking dog", "bake bread"]
    found = reader.post("/v1/collections/my-texts/search", json={"query": texts, "k": 1}).json()
    assert [result["query"] for result in found["results"]] == texts
    assert [result["hits"][0]["id"] for result in found["results"]] == ["dog", "bread"]
    single = reader.post("/v1/collections/my-texts/search", json={"query": texts[:1], "k": 1}).json()
    assert single["results"][0]["hits"][0]["id"] == "dog"


def test_vectors_find_their_own_document(reader: httpx.Client, queries: Any) -> None:
    one = reader.post(URL, json={"vectors": queries(4)[0], "k": 1}).json()
    assert one["query"] is None
    assert one["hits"][0]["id"] == "d4"
    assert one["hits"][0]["score"] == pytest.approx(3.0, abs=0.05)
    many = reader.post(URL, json={"vectors": queries(2, 7), "k": 1}).json()
    assert [result["hits"][0]["id"] for result in many["results"]] == ["d2", "d7"]


def packed(rows: Any, dim: int = 8) -> dict[str, Any]:
    return {"float32": base64.b64encode(np.asarray(rows, "<f4").tobytes()).decode(), "dim": dim}


def test_packed_vectors_are_the_same_vectors(reader: httpx.Client, queries: Any) -> None:
    one, other = queries(4, 5)
    plain = reader.post(URL, json={"vectors": [one, other]}).json()
    for mixed in ([packed(one), packed(other)], [packed(one), other], [one, packed(other)]):
        assert reader.post(URL, json={"vectors": mixed}).json()["results"] == plain["results"]
    assert reader.post(URL, json={"vectors": packed(one)}).json()["hits"] == plain["results"][0]["hits"]


def test_filter_restricts(reader: httpx.Client) -> None:
    body = {"query": "cat", "filter": {"n": {"$gte": 4}}}
    hits = reader.post("/v1/collections/my-texts/search", json=body).json()["hits"]
    assert {hit["id"] for hit in hits} == {"sun", "bread"}


def test_snippets_mark_words_by_code_points(reader: httpx.Client) -> None:
    body = {"query": "menu", "mode": "lexical", "snippets": True}
    hit = reader.post("/v1/collections/my-texts/search", json=body).json()["hits"][0]
    snippet = hit["snippet"]
    assert [snippet["text"][span["start"] : span["end"]] for span in snippet["matches"]] == ["menu"]
    assert not snippet["before"]
    assert not snippet["after"]


def test_explanation_adds_up_to_the_exact_score(reader: httpx.Client) -> None:
    query = "light of the sun"
    search = {"query": query, "mode": "exact", "k": 1}
    hit = reader.post("/v1/collections/my-texts/search", json=search).json()["hits"][0]
    answer = reader.post("/v1/collections/my-texts/explain", json={"query": query, "id": hit["id"]}).json()
    assert answer["score"] == pytest.approx(hit["score"], abs=1e-4)
    assert sum(match["score"] for match in answer["matches"]) == pytest.approx(answer["score"], abs=1e-4)
    assert set(answer["lexical_terms"]) >= {"light", "sun"}
    for match in answer["matches"]:
        if match["document_span"]:
            owner = hit[match["field"]]
            assert owner[match["document_span"]["start"] : match["document_span"]["end"]] == match["document_text"]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "either query or vectors"),
        ({"query": "x", "vectors": [[1.0]]}, "either query or vectors"),
        ({"query": ""}, "at least 1 character"),
        ({"query": "   "}, "empty"),
        ({"query": "nul\0"}, "NUL"),
        ({"query": "x", "k": 0}, "greater than or equal to 1"),
        ({"query": "x", "k": 10**9}, "less than or equal to 1000"),
        ({"query": "x", "k": "5"}, "valid integer"),
        ({"query": "x", "mode": "magic"}, "mode"),
        ({"query": "x", "model": "evil/model"}, "not permitted"),
        ({"query": "x", "path": "/etc"}, "not permitted"),
        ({"query": "x", "mode": "exact"}, "no encoder"),
        ({"query": "x", "filter": {"$where": 1}}, "unknown operator"),
        ({"query": "x", "filter": []}, "filter"),
        ({"vectors": [[1.0] * 7]}, "7 dimensions"),
        ({"vectors": [[1.0] * 8, [1.0] * 7]}, "7 and 8"),
        ({"vectors": [[]]}, "at least 1 item"),
        ({"vectors": []}, "at least 1 item"),
        ({"vectors": [["1"] * 8]}, "valid number"),
        ({"vectors": [[1e300] * 8]}, "less than or equal to"),
        ({"vectors": [[1.0] * 8], "mode": "lexical"}, "text"),
        ({"vectors": packed([1.0] * 7)}, "28 bytes"),
        ({"vectors": packed([1.0] * 7, 7)}, "7 dimensions"),
        ({"vectors": packed([float("nan")] * 8)}, "NaN"),
        ({"vectors": packed([2e6] * 8)}, "beyond 1e+06"),
        ({"vectors": packed([1.0] * 8) | {"dim": 0}}, "greater than or equal to 1"),
        ({"vectors": packed([1.0] * 8) | {"more": 0}}, "not permitted"),
        ({"vectors": {"float32": "AAAA====x", "dim": 8}}, "not base64"),
        ({"vectors": {"float32": "\u00e4", "dim": 8}}, "not base64"),
    ],
)
def test_unusable_requests_say_why(reader: httpx.Client, body: dict[str, Any], part: str) -> None:
    answer = reader.post(URL, json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert part in error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"query": "\xe9"}',
        '{"query": "x"}'.encode("utf-16"),
        b'{"vectors": [[NaN]]}',
        b'{"vectors": [[-Infinity]]}',
        b'{"query": ' + b"[" * 100_000,
        b'{"k": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_not_json_is_400(reader: httpx.Client, content: bytes) -> None:
    answer = reader.post(URL, content=content, headers={"content-type": "application/json"})
    expected = (422, "invalid_request") if not content else (400, "malformed_json")
    assert (answer.status_code, answer.json()["error"]["code"]) == expected


def test_a_lone_surrogate_is_refused_in_ascii(reader: httpx.Client) -> None:
    for content in (b'{"query": "\\ud800"}', b'{"\\ud800": 1}', b'{"query": "x", "filter": {"\\ud800": "\\ud800"}}'):
        answer = reader.post(URL, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 422


@pytest.mark.parametrize("name", ["nope", "vectors.index", "..", "%2e%2e%2fvectors", "VECTORS", "a" * 65, "a%00b"])
def test_unknown_collections(reader: httpx.Client, name: str) -> None:
    answer = reader.post(f"/v1/collections/{name}/search", json={"query": "x"})
    assert answer.status_code in {404, 422}
    assert "error" in answer.json()


def test_explain_unknown_document(reader: httpx.Client) -> None:
    answer = reader.post("/v1/collections/my-texts/explain", json={"query": "x", "id": "gone"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "document_not_found")
