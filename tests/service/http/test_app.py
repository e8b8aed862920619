"""What holds for every answer of the app: headers, Host, CORS, the access log, the schema, the page."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from latefold.encoders.errors import EncoderError, InvalidInputError
from latefold.service.engine import LocalEngine
from latefold.service.http.app import create_app
from latefold.service.http.auth import ApiKeys
from latefold.service.http.envelope import SECURITY_HEADERS
from latefold.service.http.settings import ServerSettings, is_loopback

KEY = "a-secret-key-0123456789"


@pytest.mark.parametrize("path", ["/", "/v1/health", "/v1/collections", "/v1/collections/no", "/no", "/openapi.json"])
def test_security_headers_everywhere(reader: httpx.Client, path: str) -> None:
    answer = reader.get(path)
    assert set(SECURITY_HEADERS) <= set(answer.headers)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert "server" not in answer.headers


def test_the_caller_may_name_the_request(reader: httpx.Client) -> None:
    assert reader.get("/v1/health", headers={"x-request-id": "abc-1.2_Z"}).headers["x-request-id"] == "abc-1.2_Z"
    for bad in ("", "a b", "x" * 65, "new\tline", "a;b"):
        assert reader.get("/v1/health", headers={"x-request-id": bad}).headers["x-request-id"] != bad


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_local_hosts_are_answered(reader: httpx.Client, host: str) -> None:
    assert reader.get("/v1/collections", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "::1"])
def test_foreign_hosts_are_not(reader: httpx.Client, host: str) -> None:
    answer = reader.get("/v1/collections", headers={"host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_host")


def test_hosts_can_be_named(vector_engine: LocalEngine, connect: Callable[..., httpx.Client]) -> None:
    client = connect(vector_engine, allowed_hosts=("Search.Example",))
    assert client.get("/v1/health", headers={"host": "search.example:443"}).status_code == 200
    assert client.get("/v1/health", headers={"host": "localhost"}).status_code == 400


def test_an_open_address_takes_any_host(vector_engine: LocalEngine, connect: Callable[..., httpx.Client]) -> None:
    client = connect(vector_engine, host="0.0.0.0", keys=ApiKeys.from_secrets(write=[KEY]))
    assert client.get("/v1/collections", headers={"host": "any.example", "x-api-key": KEY}).status_code == 200


PREFLIGHT = {"origin": "https://app.example", "access-control-request-method": "POST"}


def test_cors_is_off_by_default(reader: httpx.Client) -> None:
    answer = reader.get("/v1/collections", headers={"origin": "https://app.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert reader.options("/v1/collections/vectors/search", headers=PREFLIGHT).status_code == 405


def test_cors_for_named_origins(vector_engine: LocalEngine, connect: Callable[..., httpx.Client]) -> None:
    keys = ApiKeys.from_secrets(write=[KEY])
    client = connect(vector_engine, keys=keys, cors_origins=("https://app.example",))
    url = "/v1/collections/vectors/search"
    headers = {**PREFLIGHT, "access-control-request-headers": "x-api-key, content-type"}
    assert client.options(url, headers=headers).headers["access-control-allow-origin"] == "https://app.example"
    assert client.options(url, headers={**headers, "origin": "https://evil.example"}).status_code == 400
    refused = client.post(url, json={"query": "x"}, headers={"origin": "https://app.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example"


def test_the_access_log_has_no_secrets(
    vector_engine: LocalEngine, connect: Callable[..., httpx.Client], caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(vector_engine, keys=ApiKeys.from_secrets(write=[KEY]))
    with caplog.at_level(logging.DEBUG, "latefold"):
        client.post(
            f"/v1/collections/vectors/search?api_key={KEY}",
            json={"query": "private words"},
            headers={"authorization": f"Bearer {KEY}", "user-agent": "agent"},
        )
        client.get(f"/v1/collections?key={KEY}")
        client.get("/v1/%0aforged%1b[2J")
    lines = [record.getMessage() for record in caplog.records if record.name == "latefold.access"]
    assert [re.sub(r"[\d.]+ms id=.*", "", line) for line in lines] == [
        "127.0.0.1 POST /v1/collections/vectors/search 200 ",
        "127.0.0.1 GET /v1/collections 401 ",
        "127.0.0.1 GET /v1/%0aforged%1b[2J 401 ",
    ]
    assert KEY not in caplog.text
    assert "private" not in caplog.text


def test_listing_and_stats(reader: httpx.Client) -> None:
    collections = reader.get("/v1/collections").json()["collections"]
    assert collections == [{"name": "my-texts", "documents": 6}, {"name": "vectors", "documents": 10}]
    stats = reader.get("/v1/collections/vectors").json()
    assert (stats["name"], stats["documents"], stats["tokens"], stats["dim"]) == ("vectors", 10, 30, 8)
    assert stats["encoder"] is None
    assert stats["bytes"]["total"] > 0
    assert "path" not in stats


def test_ready_after_warming_up(reader: httpx.Client) -> None:
    while (answer := reader.get("/v1/ready")).status_code != 200:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert answer.json() == {"status": "ready"}


def test_not_ready_without_an_encoder(connect: Callable[..., httpx.Client], caplog: pytest.LogCaptureFixture) -> None:
    class Broken(LocalEngine):
        def warm(self) -> None:
            raise EncoderError("the model file is gone")

    client = connect(Broken({}))
    while "the model file is gone" not in caplog.text:
        client.get("/v1/health")
    assert client.get("/v1/ready").status_code == 503
    assert client.get("/v1/health").status_code == 200


def test_every_route_declares_what_it_can_answer(vector_engine: LocalEngine) -> None:
    schema = create_app(vector_engine, ServerSettings(keys=ApiKeys.from_secrets(write=[KEY]))).openapi()
    operations = [
        (path, method, operation) for path, methods in schema["paths"].items() for method, operation in methods.items()
    ]
    assert len(operations) == 14
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations)
    for path, method, operation in operations:
        declared = set(operation["responses"])
        assert declared >= {"400", "401", "403", "404", "405", "422", "500", "503"}, path
        assert declared & {"200", "201"}
        if method in {"post", "put"}:
            assert declared >= {"408", "413", "415", "504"}, path
        if "documents" in path and method != "get":
            assert "507" in declared
        for status in declared - {"200", "201"}:
            shape = operation["responses"][status]["content"]["application/json"]["schema"]
            assert shape == {"$ref": "#/components/schemas/ErrorAnswer"}
        assert bool(operation.get("security")) is ("collections" in path)


def test_no_schema_lets_a_client_name_a_model_or_a_path(vector_engine: LocalEngine) -> None:
    schema = create_app(vector_engine, ServerSettings()).openapi()
    requests = [s for s in schema["components"]["schemas"].values() if s.get("additionalProperties") is False]
    fields = {field for request in requests for field in request["properties"]}
    assert fields == {
        *("query", "vectors", "k", "mode", "collapse", "filter", "snippets"),
        *("rerank", "name", "budget", "method"),  # the name of a scorer that the server was started with
        *("id", "ids", "text", "title", "metadata", "documents"),
        *("float32", "dim"),
    }


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect", "/metrics"])
def test_no_page_loads_foreign_scripts(reader: httpx.Client, path: str) -> None:
    assert reader.get(path).status_code == 404


def test_the_page_is_self_contained(reader: httpx.Client) -> None:
    page = reader.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.findall(r"""(?:src|href|url|@import)\s*[=(]|https?://""", page.text)
    policy = page.headers["content-security-policy"]
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert "innerHTML" not in page.text
    assert not re.findall(r"\son\w+=|\sstyle=", page.text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "search.example", "", "127.0.0.1.evil.example"])
def test_an_open_address_needs_a_key(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(InvalidInputError, match="without an API key"):
        ServerSettings(host=host)
    assert ServerSettings(host=host, keys=ApiKeys.from_secrets(read=[KEY])).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_loopback_does_not(host: str) -> None:
    assert ServerSettings(host=host).hosts


@pytest.mark.parametrize(
    "wrong",
    [
        *({"port": -1}, {"port": 65_536}, {"workers": 0}, {"queue": -1}, {"deadline_s": 0}, {"body_bytes": 0}),
        *({"deadline_s": float("nan")}, {"cors_origins": ("*",)}),
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        ServerSettings(**wrong)
