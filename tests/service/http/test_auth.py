"""API keys: every route of the app, with every kind of credential."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.service.engine import LocalEngine
from latefold.service.http.app import create_app
from latefold.service.http.auth import OPEN_PATHS, Access, ApiKeys
from latefold.service.http.settings import ServerSettings

WRITE = "write-key-0123456789"
READ = "read-key-0123456789"
KEYS = ApiKeys.from_secrets(write=[WRITE], read=[READ])
FORBIDDEN = {
    "none": {},
    "wrong": {"x-api-key": "wrong-key-0123456789"},
    "empty": {"x-api-key": ""},
    "empty bearer": {"authorization": "Bearer "},
    "prefix": {"x-api-key": WRITE[:-1]},
    "longer": {"x-api-key": WRITE + "0"},
    "upper": {"x-api-key": WRITE.upper()},
    "basic": {"authorization": f"Basic {WRITE}"},
    "no scheme": {"authorization": WRITE},
    "latin": {"x-api-key": "\xff" * 20},
    "cookie": {"cookie": f"x-api-key={WRITE}"},
}
ACCEPTED = [
    {"x-api-key": WRITE},
    {"X-API-KEY": WRITE},
    {"authorization": f"Bearer {WRITE}"},
    {"Authorization": f"bearer {WRITE}"},
    {"AUTHORIZATION": f"BEARER  {WRITE}"},
]


class Untouchable:
    """An engine that must not be reached."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the engine was asked for {name!r} without a key")


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route, with plausible values for the parameters."""
    values = {"{name}": "vectors", "{id:path}": "d1"}
    for route in app.routes:
        for inner in getattr(getattr(route, "original_router", None), "routes", [route]):
            path = inner.path
            for parameter, value in values.items():
                path = path.replace(parameter, value)
            assert "{" not in path
            yield from ((method, path) for method in sorted(inner.methods))


ROUTES = sorted(set(routes(create_app(Untouchable(), ServerSettings()))))  # type: ignore[arg-type]
CLOSED = [(method, path) for method, path in ROUTES if (method, path) not in {("GET", p) for p in OPEN_PATHS}]
READING = {("POST", "/v1/collections/vectors/search"), ("POST", "/v1/collections/vectors/explain")}


@pytest.fixture
def guarded(connect: Callable[..., httpx.Client], vector_engine: LocalEngine) -> httpx.Client:
    return connect(vector_engine, keys=KEYS)


def test_the_route_table_is_complete() -> None:
    assert len(ROUTES) >= 14
    assert {path for _, path in ROUTES} >= {"/", "/openapi.json", "/v1/health", "/v1/collections/vectors/search"}


@pytest.mark.parametrize("credential", FORBIDDEN)
def test_no_route_answers_without_a_key(portal: BlockingPortal, credential: str) -> None:
    app = create_app(Untouchable(), ServerSettings(keys=KEYS))  # type: ignore[arg-type]
    unknown = [("GET", "/docs"), ("GET", "/metrics"), ("GET", "//v1/health"), ("GET", "/v1/health/"), ("GET", "/nope")]
    unknown += [("GET", "/v1%2fhealth/..%2fcollections"), ("OPTIONS", "/v1/collections"), ("HEAD", "/"), ("POST", "/")]
    for method, path in [*CLOSED, *unknown]:
        status, headers = portal.call(_ask, app, method, path, FORBIDDEN[credential])
        assert (method, path, status) == (method, path, 401)
        assert headers["www-authenticate"] == "Bearer"
        assert headers["x-request-id"]


async def _ask(app: FastAPI, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Send a request whose body must not be read."""
    raw = [(b"host", b"localhost")] + [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": raw}
    scope |= {"query_string": f"api_key={WRITE}&x-api-key={WRITE}".encode(), "http_version": "1.1", "scheme": "http"}
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read before the key was checked")

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}


def test_a_reading_key_reads(guarded: httpx.Client) -> None:
    for method, path in CLOSED:
        body = {"json": {"query": "word1", "id": "d1"}} if method in {"POST", "PUT"} else {}
        answer = guarded.request(method, path, headers={"x-api-key": READ}, **body)  # type: ignore[arg-type]
        reads = method in {"GET", "HEAD"} or (method, path) in READING
        assert (answer.status_code != 403) is reads, (method, path)
        assert answer.status_code != 401
    assert guarded.get("/v1/collections/vectors/documents/d1", headers={"x-api-key": READ}).status_code == 200


@pytest.mark.parametrize(
    "path", ["documents/search", "documents/x/search", "documents/delete", "search/documents/x", "search/", "explain/x"]
)
def test_a_reading_key_cannot_pose_as_a_search(guarded: httpx.Client, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        url = f"/v1/collections/vectors/{path}"
        assert guarded.request(method, url, headers={"x-api-key": READ}, json={}).status_code == 403


@pytest.mark.parametrize("headers", ACCEPTED)
def test_a_writing_key_writes(guarded: httpx.Client, headers: dict[str, str]) -> None:
    assert guarded.delete("/v1/collections/vectors/documents/d1", headers=headers).status_code == 200


def test_two_credentials_are_none(guarded: httpx.Client) -> None:
    both = [("x-api-key", WRITE), ("authorization", f"Bearer {WRITE}")]
    twice = [("x-api-key", WRITE), ("x-api-key", WRITE)]
    wrong_first = [("x-api-key", "wrong-key-0123456789"), ("x-api-key", WRITE)]
    for headers in (both, twice, wrong_first):
        assert guarded.get("/v1/collections", headers=headers).status_code == 401


def test_open_routes_show_nothing(guarded: httpx.Client) -> None:
    assert guarded.get("/v1/health").json() == {"status": "ok"}
    assert guarded.get("/v1/ready").status_code in {200, 503}
    page = guarded.get("/")
    assert page.status_code == 200
    assert "vectors (" not in page.text


def test_several_keys_of_a_kind(connect: Callable[..., httpx.Client], vector_engine: LocalEngine) -> None:
    client = connect(vector_engine, keys=ApiKeys.from_secrets(write=["old-key-0123456789", "new-key-0123456789"]))
    for key in ("old-key-0123456789", "new-key-0123456789"):
        assert client.get("/v1/collections", headers={"x-api-key": key}).status_code == 200


def test_a_key_that_both_reads_and_writes_writes() -> None:
    assert ApiKeys.from_secrets(write=[WRITE], read=[WRITE]).access(WRITE.encode()) is Access.WRITE


@given(st.binary(max_size=64))
def test_only_the_keys_themselves_give_access(secret: bytes) -> None:
    expected = {WRITE.encode(): Access.WRITE, READ.encode(): Access.READ}.get(secret, Access.NONE)
    assert KEYS.access(secret) is expected


def test_keys_are_not_kept() -> None:
    settings = ServerSettings(keys=KEYS)
    kept = f"{settings!r} {KEYS!r} {KEYS.write} {KEYS.read}"
    assert WRITE not in kept
    assert READ not in kept
    assert all(len(digest) == 32 for digest in KEYS.write | KEYS.read)


@pytest.mark.parametrize("secret", ["", "short", "with space 0123456789", "ünïcode-0123456789", "newline-0123456789\n"])
def test_unusable_keys_are_refused(secret: str) -> None:
    with pytest.raises(InvalidInputError, match="at least 16 printable") as caught:
        ApiKeys.from_secrets(write=[secret])
    assert not secret or secret not in str(caught.value)
