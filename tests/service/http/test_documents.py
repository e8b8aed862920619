"""Adding, reading, replacing and deleting documents over HTTP."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

URL = "/v1/collections/vectors/documents"


def ids(client: httpx.Client) -> set[str]:
    found = client.post("/v1/collections/vectors/search", json={"query": "common", "k": 100}).json()
    return {hit["id"] for hit in found["hits"]}


def body(queries: Any, *names: str, text: str = "common") -> dict[str, Any]:
    items = queries(*range(100, 100 + len(names)))
    return {"documents": [{"id": n, "text": text, "vectors": v} for n, v in zip(names, items, strict=True)]}


def test_add_get_delete(client: httpx.Client, queries: Any) -> None:
    answer = client.post(URL, json=body(queries, "new", "newer"))
    assert (answer.status_code, answer.json()) == (201, {"added": 2})
    assert {"new", "newer"} < ids(client)
    assert client.get(f"{URL}/new").json() == {"id": "new", "title": "", "text": "common", "metadata": {}}
    assert client.delete(f"{URL}/new").json() == {"deleted": 1}
    assert client.get(f"{URL}/new").status_code == 404
    assert client.delete(f"{URL}/new").json()["error"]["code"] == "document_not_found"
    assert "new" not in ids(client)


def test_add_packed_vectors(client: httpx.Client, queries: Any) -> None:
    document = {"id": "new", "text": "x", "vectors": {"float32": "AACAPwAAgD8=", "dim": 2}}
    assert "2 dimensions" in client.post(URL, json={"documents": [document]}).text
    document["vectors"] = {"float32": "AACAPwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "dim": 8}
    assert client.post(URL, json={"documents": [document]}).json() == {"added": 1}
    query = [[1.0, *[0.0] * 7]]
    assert (
        client.post("/v1/collections/vectors/search", json={"vectors": query, "k": 1}).json()["hits"][0]["id"] == "new"
    )


def test_add_refuses_a_known_id_and_adds_nothing(client: httpx.Client, queries: Any) -> None:
    before = ids(client)
    answer = client.post(URL, json=body(queries, "fresh", "d3"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "duplicate_document")
    assert ids(client) == before


def test_upsert_replaces(client: httpx.Client, queries: Any) -> None:
    answer = client.put(URL, json=body(queries, "d3", "fresh", text="rewritten"))
    assert (answer.status_code, answer.json()) == (200, {"added": 1, "updated": 1, "unchanged": 0})
    assert client.get(f"{URL}/d3").json()["text"] == "rewritten"


def test_upsert_with_the_encoder_leaves_equal_documents_alone(reader: httpx.Client) -> None:
    url = "/v1/collections/my-texts/documents"
    cat = reader.get(f"{url}/cat").json()
    assert reader.put(url, json={"documents": [cat]}).json() == {"added": 0, "updated": 0, "unchanged": 1}


def test_delete_by_ids_or_filter(client: httpx.Client) -> None:
    assert client.post(f"{URL}/delete", json={"ids": ["d1", "d2", "d1"]}).json() == {"deleted": 2}
    assert client.post(f"{URL}/delete", json={"ids": ["d4", "gone"]}).status_code == 404
    assert "d4" in ids(client)
    assert client.post(f"{URL}/delete", json={"filter": {"id": {"$in": ["d5", "d6"]}}}).json() == {"deleted": 2}
    for nothing in ({}, {"filter": {}}, {"ids": []}, {"ids": ["d7"], "filter": {"id": "d7"}}):
        assert client.post(f"{URL}/delete", json=nothing).status_code == 422
    assert ids(client) == {"d0", "d3", "d4", "d7", "d8", "d9"}


@pytest.mark.parametrize(
    "name", ["a/b", "/", "a//b/", "..", "../../etc/passwd", "delete", "ü 🙂", "a%2Fb", "?k=1", "#x", "a" * 1024, "\t"]
)
def test_every_id_can_be_reached(client: httpx.Client, queries: Any, name: str) -> None:
    assert client.post(URL, json=body(queries, name)).status_code == 201
    path = f"{URL}/{quote(name, safe='').replace('.', '%2E')}"
    assert client.get(path).json()["id"] == name
    assert client.delete(path).json() == {"deleted": 1}


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ({"id": "x"}, "text"),
        ({"id": "", "text": "x"}, "at least 1 character"),
        ({"id": "x" * 1025, "text": "x"}, "at most 1024"),
        ({"id": "x\0", "text": "x"}, "NUL"),
        ({"id": "x", "text": "nul\0"}, "NUL"),
        ({"id": "x", "text": "x", "metadata": {"a": "\ud800"}}, "Unicode"),
        ({"id": "x", "text": "x", "metadata": []}, "dictionary"),
        ({"id": "x", "text": "x", "path": "/etc/passwd"}, "not permitted"),
        ({"id": "x", "text": "x"}, "no encoder"),
        ({"id": "x", "text": "x", "vectors": []}, "at least 1 item"),
        ({"id": "x", "text": "x", "vectors": [[0.5]]}, "1 dimensions"),
    ],
)
def test_unusable_documents_say_why(client: httpx.Client, document: Any, part: str, queries: Any) -> None:
    if part in {"NUL", "Unicode"}:
        document = {**document, "vectors": queries(1)[0]}
    for method in ("POST", "PUT"):
        content = json.dumps({"documents": [document]})  # as ASCII, which a lone surrogate survives
        answer = client.request(method, URL, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert part in answer.json()["error"]["message"]


def test_vectors_for_some_documents_only(client: httpx.Client, queries: Any) -> None:
    mixed = body(queries, "x", "y")
    del mixed["documents"][1]["vectors"]
    answer = client.post(URL, json=mixed)
    assert (answer.status_code, "for all documents or for none" in answer.text) == (422, True)


def test_an_id_given_twice(client: httpx.Client, queries: Any) -> None:
    assert client.post(URL, json=body(queries, "x", "x")).status_code == 409
