"""Each limit, at its last accepted value and one beyond."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, Self

import anyio
import httpx
import pytest
from anyio.from_thread import BlockingPortal

from latefold.service.engine import Engine, LocalEngine, Query
from latefold.service.http.app import create_app
from latefold.service.http.settings import ServerSettings

SEARCH = "/v1/collections/vectors/search"
DOCUMENTS = "/v1/collections/vectors/documents"
JSON = {"content-type": "application/json"}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"id": "d1"}
    for _ in range(depth - 1):
        value = {"$not": value}
    return value


def document(n: int) -> dict[str, Any]:
    return {"id": f"new{n}", "text": "x", "vectors": [[0.5] * 8]}


@pytest.mark.parametrize(
    ("limit", "make"),
    [
        (1_000, lambda n: {"query": "common", "k": n}),
        (4_096, lambda n: {"query": "c" * n}),
        (512, lambda n: {"vectors": [[0.1] * 8] * n}),
        (512, lambda n: {"vectors": [[[0.1] * 8] * n]}),
        (256, lambda n: {"query": ["common"] * n, "k": 2}),
        (256, lambda n: {"vectors": [[[0.1] * 8]] * n, "k": 2}),
        (100, lambda n: {"query": ["common"] * 256, "k": n}),
        (8, lambda n: {"query": "common", "filter": nested(n)}),
        (256, lambda n: {"query": "common", "filter": {"id": {"$in": ["d1"] * n}}}),
    ],
    ids=["k", "characters", "vectors", "vectors of many", "queries", "queries of vectors", "hits", "depth", "terms"],
)
def test_limits_of_a_search(reader: httpx.Client, limit: int, make: Callable[[int], dict[str, Any]]) -> None:
    assert reader.post(SEARCH, json=make(limit)).status_code == 200
    beyond = reader.post(SEARCH, json=make(limit + 1))
    assert beyond.status_code == 422
    assert beyond.json()["error"]["code"] in {"invalid_request", "invalid_filter", "invalid_embeddings"}


def test_limit_of_dimensions(reader: httpx.Client) -> None:
    assert "dimensions" in reader.post(SEARCH, json={"vectors": [[0.1] * 8_192]}).text
    assert "at most 8192" in reader.post(SEARCH, json={"vectors": [[0.1] * 8_193]}).text


def test_limit_of_a_batch_of_documents(client: httpx.Client) -> None:
    for method in ("POST", "PUT"):
        beyond = client.request(method, DOCUMENTS, json={"documents": [document(n) for n in range(257)]})
        assert beyond.status_code == 422
    full = client.post(DOCUMENTS, json={"documents": [document(n) for n in range(256)]})
    assert full.json() == {"added": 256}
    ids = [f"new{n}" for n in range(256)]
    assert client.post(f"{DOCUMENTS}/delete", json={"ids": [*ids, "d1"]}).status_code == 422
    assert client.post(f"{DOCUMENTS}/delete", json={"ids": ids}).json() == {"deleted": 256}


def test_limit_of_the_body(vector_engine: LocalEngine, connect: Callable[..., httpx.Client]) -> None:
    client = connect(vector_engine, body_bytes=1_000)
    content = json.dumps({"query": "common"}).encode()
    assert client.post(SEARCH, content=content.ljust(1_000), headers=JSON).status_code == 200
    beyond = client.post(SEARCH, content=content.ljust(1_001), headers=JSON)
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (413, "body_too_large")
    assert client.post(SEARCH, content=content, headers=JSON).status_code == 200


class Wire:
    """An app spoken to in ASGI messages, where Content-Length and chunks can disagree."""

    def __init__(self, portal: BlockingPortal, engine: Engine, **settings: Any) -> None:
        self._portal = portal
        self._app = create_app(engine, ServerSettings(**settings))

    def __enter__(self) -> Self:
        self._lifespan = self._portal.wrap_async_context_manager(self._app.router.lifespan_context(self._app))
        self._lifespan.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lifespan.__exit__(*exception)

    def post(self, chunks: list[bytes] | None, **headers: str) -> tuple[int, str, int]:
        """Status, error code and number of chunks taken. `None` for chunks: a client that sends nothing more."""
        return self._portal.call(self._post, chunks, headers)

    async def _post(self, chunks: list[bytes] | None, headers: dict[str, str]) -> tuple[int, str, int]:
        given = {"host": "localhost", "content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        scope = {"type": "http", "method": "POST", "path": SEARCH, "query_string": b"", "scheme": "http"}
        scope["headers"] = [(name.encode(), value.encode()) for name, value in given.items()]
        waiting = list(chunks or ())
        sent: list[Any] = []

        async def receive() -> Any:
            if not waiting:
                await anyio.sleep_forever()
            body = waiting.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(waiting)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        answer = json.loads(b"".join(message.get("body", b"") for message in sent))
        return sent[0]["status"], answer.get("error", {}).get("code", ""), len(chunks or ()) - len(waiting)


def test_a_body_that_lies_about_its_length(vector_engine: LocalEngine, portal: BlockingPortal) -> None:
    with Wire(portal, vector_engine, body_bytes=1_000) as wire:
        chunks = [b" " * 300] * 10
        assert wire.post(chunks, content_length="10") == (413, "body_too_large", 4)
        assert wire.post(chunks, transfer_encoding="chunked") == (413, "body_too_large", 4)
        assert wire.post(chunks) == (413, "body_too_large", 4)
        assert wire.post(chunks, content_length="1001") == (413, "body_too_large", 0)
        assert wire.post(chunks, content_length="9" * 5_000) == (413, "body_too_large", 0)
        for nonsense in ("-1", "1e3", "0x10", "", "10, 10", "\u0663"):
            assert wire.post(chunks, content_length=nonsense)[:2] == (400, "bad_request")
        assert wire.post(chunks, content_length="10", transfer_encoding="chunked")[:2] == (400, "bad_request")
        assert wire.post([b'{"query": ', b'"common"}'], content_length="1000")[0] == 200


def test_limit_of_the_head(reader: httpx.Client) -> None:
    def ask(size: int) -> int:
        request = reader.build_request("GET", "/v1/health?" + "q" * 8_000, headers={"x-filler": ""})
        used = len(request.url.raw_path) - 1 + sum(len(name) + len(value) for name, value in request.headers.raw)
        request.headers["x-filler"] = "x" * (size - used)
        return reader.send(request).status_code

    assert ask(16 * 1024) == 200
    assert ask(16 * 1024 + 1) == 431


def test_a_body_that_never_ends(vector_engine: LocalEngine, portal: BlockingPortal) -> None:
    with Wire(portal, vector_engine, body_deadline_s=0.05) as wire:
        assert wire.post(None) == (408, "body_timeout", 0)


def test_bodies_together_fit_a_budget(vector_engine: LocalEngine, portal: BlockingPortal) -> None:
    with Wire(portal, vector_engine, body_budget_bytes=1_000) as wire:
        fits = b'{"query": "common"}'.ljust(1_000)
        for _ in range(3):  # what a request held is free again after it, however it ended
            assert wire.post([fits])[0] == 200
            assert wire.post([fits, b" "])[:2] == (503, "overloaded")
            assert wire.post([b"{".ljust(1_000)])[:2] == (400, "malformed_json")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""])
def test_only_json_passes(vector_engine: LocalEngine, portal: BlockingPortal, kind: str) -> None:
    with Wire(portal, vector_engine) as wire:
        assert wire.post([b"{}"], content_type=kind) == (415, "unsupported_media_type", 0)
        assert wire.post([b"{}"], content_encoding="gzip") == (415, "unsupported_media_type", 0)
        assert wire.post([b'{"query": "x"}'], content_type="Application/JSON; charset=utf-8")[0] == 200


class Held(LocalEngine):
    """An engine whose searches wait until they are let go."""

    go: threading.Event
    running: threading.Semaphore

    def search(self, collection: str, query: Query) -> Any:
        self.running.release()
        assert self.go.wait(20)
        return super().search(collection, query)


@pytest.fixture
def held(vector_engine: LocalEngine) -> Iterator[Held]:
    vector_engine.__class__ = Held
    engine: Any = vector_engine
    engine.go = threading.Event()
    engine.running = threading.Semaphore(0)
    yield engine
    engine.go.set()


def test_deadline(held: Held, connect: Callable[..., httpx.Client]) -> None:
    client = connect(held, deadline_s=0.05)
    late = client.post(SEARCH, json={"query": "common"})
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    held.go.set()
    assert connect(held, deadline_s=10).post(SEARCH, json={"query": "common"}).status_code == 200


def test_one_more_than_fits_is_told_to_come_back(held: Held, connect: Callable[..., httpx.Client]) -> None:
    client = connect(held, workers=2, queue=1)
    with ThreadPoolExecutor(4) as pool:
        answers = {pool.submit(client.post, SEARCH, json={"query": "common"}) for _ in range(4)}
        done, waiting = wait(answers, timeout=10, return_when=FIRST_COMPLETED)
        refused = done.pop().result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/v1/health").json() == {"status": "ok"}
        held.go.set()
        assert [answer.result().status_code for answer in waiting] == [200] * 3
    assert client.post(SEARCH, json={"query": "common"}).status_code == 200


def test_writes_and_health_go_on_while_searches_fill_the_server(
    held: Held, connect: Callable[..., httpx.Client]
) -> None:
    client = connect(held, workers=1, queue=0)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, SEARCH, json={"query": "common"})
        assert held.running.acquire(timeout=10)
        assert client.get("/v1/health").status_code == 200
        assert client.delete(f"{DOCUMENTS}/d1").json() == {"deleted": 1}
        assert not answer.done()
        held.go.set()
        assert "d1" not in {hit["id"] for hit in answer.result().json()["hits"]}
