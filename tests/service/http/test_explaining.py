"""Boxes, heat and pictures of pages over HTTP, against the library as the oracle."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from page_files import make_page_index
from PIL import Image

from latefold import Index
from latefold.service.engine import LocalEngine
from latefold.service.http.app import create_app
from latefold.service.http.auth import ApiKeys
from latefold.service.http.settings import ServerSettings

QUERY = "what does rye bread cost"
URL = "/v1/collections/bakery"
KEY = "a-secret-key-0123456789"


@pytest.fixture(scope="module")
def page_index(tmp_path_factory: pytest.TempPathFactory, encoder: Any) -> Iterator[Index]:
    path = make_page_index(tmp_path_factory.mktemp("pages"), encoder)
    with Index.open(path, encoder=encoder) as index:
        yield index


@pytest.fixture
def pages(page_index: Index, text_index: Path, encoder: Any, connect: Callable[..., httpx.Client]) -> Any:
    """A client of a server with pages and with texts."""
    with Index.open(text_index, encoder=encoder) as texts:
        yield connect(LocalEngine({"bakery": page_index, "my-texts": texts}))


@pytest.fixture(scope="module")
def best(page_index: Index) -> str:
    return page_index.search(QUERY, 1)[0].id


def picture(content: bytes) -> Any:
    with Image.open(io.BytesIO(content)) as opened:
        return opened.format, opened.size, np.asarray(opened.convert("RGB")).astype(int)


def test_explanations_tell_the_page_and_the_boxes(pages: httpx.Client, page_index: Index, best: str) -> None:
    answer = pages.post(f"{URL}/explain", json={"query": QUERY, "id": best})
    assert answer.status_code == 200
    found, expected = answer.json(), page_index.explain(QUERY, best)
    assert pages.get(f"{URL}/explain", params={"query": QUERY, "id": best}).json() == found
    assert found["page"]["number"] == 1
    assert [tuple(part["box"].values()) for part in found["boxes"]] == [part.box for part in expected.boxes]
    assert [part["score"] for part in found["boxes"]] == [part.score for part in expected.boxes]
    for given, match in zip(found["matches"], expected.matches, strict=True):
        assert given["box"] is None if match.box is None else tuple(given["box"].values()) == match.box


def test_one_token_by_url(pages: httpx.Client, best: str) -> None:
    params = {"query": "bread dollars", "id": best}
    matches = pages.get(f"{URL}/explain", params=params).json()["matches"]
    token = next(match["query_token"] for match in matches if match["query_text"] == "dollars")
    boxes = pages.get(f"{URL}/explain", params={**params, "token": token}).json()["boxes"]
    assert max(boxes, key=lambda part: part["score"])["text"] == "dollars"
    answer = pages.get(f"{URL}/explain/heatmap", params={**params, "token": 999})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input")


def test_the_picture_shows_heat_where_the_json_does(pages: httpx.Client, best: str) -> None:
    answer = pages.get(f"{URL}/explain/heatmap", params={"query": QUERY, "id": best, "width": 700})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, max-age=60"
    assert answer.headers["x-content-type-options"] == "nosniff"
    kind, size, pixels = picture(answer.content)
    assert (kind, size) == ("PNG", (541, 700))
    rows = np.flatnonzero(((pixels[..., 0] - pixels[..., 2]) > 60).any(axis=1)) / 700
    heat = pages.get(f"{URL}/explain/heatmap", params={"query": QUERY, "id": best, "format": "json"}).json()
    grid = np.array(heat["heat"])
    assert grid.shape == (heat["rows"], heat["cols"]) == (48, 37)
    assert ((grid >= 0) & (grid <= 1)).all()
    hottest = grid.max(axis=1).argmax() / 48
    assert (np.abs(rows - hottest) < 0.04).mean() > 0.8
    assert heat["best"][0]["top"] == pytest.approx(hottest, abs=0.03)


def test_thumbnails(pages: httpx.Client, best: str) -> None:
    answer = pages.get(f"{URL}/pages/thumbnail", params={"id": best})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    kind, size, _ = picture(answer.content)
    assert kind == "WEBP"
    assert max(size) <= 320


@pytest.mark.parametrize(
    ("path", "params", "status", "code"),
    [
        ("bakery/pages/thumbnail", {"id": "nobody"}, 404, "document_not_found"),
        ("my-texts/pages/thumbnail", {"id": "cat"}, 404, "document_not_found"),
        ("my-texts/explain/heatmap", {"id": "cat", "query": "cat"}, 422, "invalid_input"),
        ("my-texts/explain/heatmap", {"id": "cat", "query": "cat", "format": "json"}, 422, "invalid_input"),
        ("bakery/explain/heatmap", {"id": "nobody", "query": "cat"}, 404, "document_not_found"),
        ("bakery/explain/heatmap", {"id": "x"}, 422, "invalid_request"),
        ("bakery/explain/heatmap", {"id": "x", "query": "x", "width": 10**9}, 422, "invalid_request"),
        ("bakery/explain/heatmap", {"id": "x", "query": "x", "format": "gif"}, 422, "invalid_request"),
        ("bakery/explain/heatmap", {"id": "x", "query": "x" * 5_000}, 422, "invalid_request"),
        ("bakery/explain", {"id": "x", "query": "x", "token": -1}, 422, "invalid_request"),
        ("my-texts/explain", {"id": "cat", "query": "\0"}, 422, "invalid_input"),
        ("nothing/explain/heatmap", {"id": "x", "query": "x"}, 404, "index_not_found"),
    ],
)
def test_what_cannot_be_shown(pages: httpx.Client, path: str, params: dict[str, Any], status: int, code: str) -> None:
    answer = pages.get(f"/v1/collections/{path}", params=params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_pictures_need_the_key(page_index: Index, connect: Callable[..., httpx.Client], best: str) -> None:
    client = connect(LocalEngine({"bakery": page_index}), keys=ApiKeys.from_secrets(read=[KEY]))
    for path in ("explain", "explain/heatmap", "pages/thumbnail"):
        params = {"query": QUERY, "id": best}
        assert client.get(f"{URL}/{path}", params=params).status_code == 401
        assert client.get(f"{URL}/{path}", params=params, headers={"x-api-key": KEY}).status_code == 200


def test_no_answer_tells_where_a_file_is(pages: httpx.Client, page_index: Index, best: str) -> None:
    folder = str(page_index.path.parent)
    for form in ("png", "json"):
        answer = pages.get(f"{URL}/explain/heatmap", params={"query": QUERY, "id": best, "format": form})
        assert folder.encode() not in answer.content


def test_a_client_cannot_name_a_file(tmp_path: Path, encoder: Any, connect: Callable[..., httpx.Client]) -> None:
    """Metadata may claim to be a page of anything; what is shown are pages that the index has stored."""
    secret = tmp_path / "secret.pdf"
    secret.write_bytes(b"%PDF-1.4 secret")
    with Index.create(tmp_path / "i.index", encoder=encoder) as index:
        client = connect(LocalEngine({"i": index}))
        for number, file in enumerate((str(secret), "secret.pdf", f"file://{secret}", "../secret.pdf")):
            body = {"documents": [{"id": str(number), "text": "words", "metadata": {"file": file, "page": 1}}]}
            assert client.post("/v1/collections/i/documents", json=body).status_code == 201
            params = {"id": str(number), "query": "words"}
            assert client.get("/v1/collections/i/explain/heatmap", params=params).status_code == 422
            assert client.get("/v1/collections/i/pages/thumbnail", params=params).status_code == 404


def test_the_schema_declares_pictures() -> None:
    paths = create_app(LocalEngine({}), ServerSettings()).openapi()["paths"]
    found = paths["/v1/collections/{name}/explain/heatmap"]["get"]["responses"]["200"]["content"]
    assert set(found) == {"image/png", "application/json"}
    found = paths["/v1/collections/{name}/pages/thumbnail"]["get"]["responses"]["200"]["content"]
    assert set(found) == {"image/webp"}


def test_many_ask_for_pictures(page_index: Index, connect: Callable[..., httpx.Client], best: str) -> None:
    client = connect(LocalEngine({"bakery": page_index}))

    def ask(number: int) -> int:
        params: dict[str, Any] = {"query": QUERY, "id": best, "width": 200 + number}
        return client.get(f"{URL}/explain/heatmap", params=params).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(6))) == [200] * 6


def test_a_search_for_pages_gives_each_once(pages: httpx.Client) -> None:
    body = {"query": QUERY, "collapse": "page", "snippets": True}
    hits = pages.post(f"{URL}/search", json=body).json()["hits"]
    assert [hit["metadata"]["page"] for hit in hits] == [1, 2]
    assert pages.post(f"{URL}/search", json={**body, "collapse": "chapter"}).status_code == 422
