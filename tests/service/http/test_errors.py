"""Every library error has a status, and nothing of the server shows in an answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from latefold.encoders import errors as library
from latefold.encoders.errors import LatefoldError
from latefold.service.engine import LocalEngine, Query
from latefold.service.http.errors import ERRORS, rule_of

SECRET = "/srv/secret/path/catalog.sqlite"
CLASSES = [
    value
    for value in vars(library).values()
    if isinstance(value, type) and issubclass(value, LatefoldError) and value is not LatefoldError
]
SAFE = {
    library.InvalidInputError,
    library.InvalidEmbeddingsError,
    library.InvalidFilterError,
    library.DuplicateDocumentError,
    library.DocumentNotFoundError,
}
"""Errors about what the caller sent: their own sentences are shown."""


class Failing(LocalEngine):
    """An engine whose searches fail with a given error."""

    error: Exception

    def search(self, collection: str, query: Query) -> Any:  # noqa: ARG002
        raise self.error


@pytest.fixture
def fail(connect: Callable[..., httpx.Client]) -> Callable[[Exception], httpx.Response]:
    engine = Failing({})
    client = connect(engine)

    def ask(error: Exception) -> httpx.Response:
        engine.error = error
        return client.post("/v1/collections/x/search", json={"query": "q"})

    return ask


def test_the_table_has_every_class() -> None:
    assert set(ERRORS) == set(CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_over_http(fail: Callable[[Exception], httpx.Response], cls: type[LatefoldError]) -> None:
    error = cls("models", "models") if cls is library.MissingExtraError else cls(SECRET)
    answer = fail(error)
    rule = ERRORS[cls]
    body = answer.json()["error"]
    assert answer.status_code == rule.status
    assert body["code"] == cls.code
    assert (SECRET in body["message"]) is (cls in SAFE)
    assert (rule.public is None) is (cls in SAFE)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) is rule.retry


def test_caller_errors_are_4xx_and_server_errors_5xx() -> None:
    about_the_request = SAFE | {library.IndexNotFoundError, library.IndexExistsError}
    for cls in CLASSES:
        assert ERRORS[cls].status // 100 == (4 if cls in about_the_request else 5)


def test_a_new_class_falls_back_to_its_base() -> None:
    class UnlistedError(LatefoldError):
        pass

    class ListedError(library.InvalidFilterError):
        pass

    assert rule_of(UnlistedError).status == 500
    assert rule_of(UnlistedError).public is not None
    assert rule_of(ListedError) is ERRORS[library.InvalidFilterError]


@pytest.mark.parametrize("error", [RuntimeError(SECRET), TimeoutError(SECRET), KeyError(SECRET), LatefoldError(SECRET)])
def test_unexpected_errors_keep_their_secrets(
    fail: Callable[[Exception], httpx.Response], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "latefold.http"):
        answer = fail(error)
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    request_id = answer.json()["error"]["request_id"]
    assert any(request_id in record.getMessage() for record in caplog.records)
    assert SECRET in caplog.text


def test_messages_are_cut_and_ascii(fail: Callable[[Exception], httpx.Response]) -> None:
    answer = fail(library.InvalidInputError("\ud800ü" * 5_000))
    assert answer.content.isascii()
    assert len(answer.json()["error"]["message"]) == 1_000


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("DELETE", "/v1/health", 405)])
def test_routing_errors_have_the_same_shape(reader: httpx.Client, method: str, path: str, status: int) -> None:
    answer = reader.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message", "request_id"}


def test_a_damaged_index_is_reported_without_its_path(
    tmp_path: Path, connect: Callable[..., httpx.Client], vector_engine: LocalEngine, queries: Any
) -> None:
    client = connect(vector_engine)
    catalog = tmp_path / "vectors.index" / "catalog.sqlite"
    for file in tmp_path.rglob("catalog.sqlite*"):
        file.write_bytes(b"garbage" * 1_000)
    answer = client.post("/v1/collections/vectors/search", json={"vectors": queries(1)[0]})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "index_corrupted"
    assert str(catalog.parent) not in answer.text
