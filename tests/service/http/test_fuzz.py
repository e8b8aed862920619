"""Generated requests against the declared schema: no 5xx, no undeclared status, every answer of its declared shape."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.generation import GenerationMode

from latefold import Index, TokenEmbeddings
from latefold.encoders.scorers.base import CallableScorer
from latefold.index.storage.pages import StoredPage
from latefold.service.engine import LocalEngine
from latefold.service.http.app import create_app
from latefold.service.http.auth import ApiKeys
from latefold.service.http.settings import ServerSettings

KEY = "a-secret-key-0123456789"
NAMES = ("texts", "numbers")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, encoder: Any) -> Iterator[LocalEngine]:
    """Two collections that the requests may change: one with an encoder, one of short vectors that are easy to hit."""
    folder = tmp_path_factory.mktemp("fuzz")
    with (
        Index.create(folder / "texts.index", encoder=encoder) as texts,
        Index.create(folder / "numbers.index", dim=1) as numbers,
    ):
        where = {"file": "0" * 32, "page": 1}
        texts.add([{"id": str(n), "text": f"text {n}", "metadata": where if n else {}} for n in range(5)])
        words, boxes = np.array([[0, 4], [5, 6]], np.int32), np.array([[0, 0, 0.5, 0.1], [0.5, 0, 1, 0.1]], np.float32)
        texts.pages.put(where["file"], 1, StoredPage(612, 792, "text", None, words, boxes))
        vectors = TokenEmbeddings.from_list([[[1.0]], [[-1.0], [0.5]]])
        numbers.add([{"id": str(n), "text": f"number {n}"} for n in range(2)], embeddings=vectors)
        lengths = CallableScorer(lambda pairs: [float(len(document)) for _, document in pairs], "lengths")
        yield LocalEngine({"texts": texts, "numbers": numbers}, {"lengths": lengths})


@pytest.fixture(scope="module")
def api(engine: LocalEngine) -> Any:
    """The schema of a server with a key, from the server itself."""
    keys = ApiKeys.from_secrets(write=[KEY])
    app = create_app(engine, ServerSettings(allowed_hosts=("testserver",), keys=keys))
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers={"X-API-Key": KEY})


OPERATIONS = [
    (path, method.upper())
    for path, methods in create_app(LocalEngine({}), ServerSettings()).openapi()["paths"].items()
    for method in methods
]


def fuzz(api: Any, path: str, method: str, examples: int) -> None:
    """Send valid and invalid requests to one operation, of real and of made-up collections and documents.

    Valid ones may be refused: no schema says what a filter is, or which ids and dimensions a collection has.
    """
    operation = api[path][method]
    ready = api["/v1/ready"]["GET"].Case()
    while ready.call().status_code == 503:  # each test starts the app anew
        time.sleep(0.01)
    fixed: list[dict[str, str]] = [{}]
    if "{name}" in path:
        fixed += [{"name": name} for name in NAMES]
    if "{id}" in path:
        fixed += [{"name": name, "id": "1"} for name in NAMES]
    cases = st.one_of(
        [operation.as_strategy(mode, path_parameters=values) for mode in modes(operation) for values in fixed]
    )
    if any(parameter.name == "id" for parameter in operation.query):
        cases = cases | operation.as_strategy(path_parameters={"name": "texts"}).map(of_page)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=cases)
    def send(case: Any) -> None:
        answer = case.call(headers={"X-API-Key": KEY})
        # schemathesis does not know 431 for a refusal, which a long query in a URL meets before anything looks at it
        refused = [negative_data_rejection] if answer.status_code == 431 else []
        case.validate_response(answer, excluded_checks=[positive_data_acceptance, *refused])

    send()


def of_page(case: Any) -> Any:
    """The same request, of a document that is on a page."""
    case.query = {**(case.query or {}), "id": "1"}
    return case


def modes(operation: Any) -> list[GenerationMode]:
    """Requests can be invalid only where there is something to get wrong."""
    wrong = operation.body or operation.path_parameters
    return list(GenerationMode) if wrong else [GenerationMode.POSITIVE]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_declared_answers(api: Any, path: str, method: str) -> None:
    fuzz(api, path, method, 50)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_declared_answers_at_length(api: Any, path: str, method: str) -> None:
    fuzz(api, path, method, 1_000)


FIELDS = ("query", "vectors", "k", "mode", "filter", "snippets", "id", "ids", "text", "title", "metadata", "documents",
          "rerank", "name", "budget", "method")  # fmt: skip
KEYS = st.sampled_from([*FIELDS, "$and", "$or", "$not", "$eq", "$gte", "$in", "$exists", "$prefix"]) | st.text()
NUMBERS = st.integers() | st.sampled_from([2**63, -(2**63) - 1, 10**400]) | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(st.characters()) | st.sampled_from(["\ud800", "\0", "1"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
FILTERS = st.dictionaries(KEYS, VALUES, max_size=3)
SHAPED = st.one_of(
    st.fixed_dictionaries({"query": st.just("text"), "filter": FILTERS}),
    st.fixed_dictionaries(
        {
            "query": st.sampled_from(["text", ["text", "number"]]),
            "k": st.sampled_from([1, 10, 200, 1_000]),
            "rerank": st.fixed_dictionaries(
                {"name": st.sampled_from(["lengths", "lengths\0", "/etc/passwd", ""]) | st.text()},
                optional={
                    "budget": st.none() | st.integers(0, 300),
                    "method": st.sampled_from(["axn", "adacur", "anncur", "rerank", "best"]),
                },
            ),
        }
    ),
    st.fixed_dictionaries({"filter": FILTERS}),
    st.fixed_dictionaries(
        {
            "documents": st.lists(
                st.fixed_dictionaries({"id": st.text(), "text": st.text(), "metadata": FILTERS}), max_size=2
            )
        }
    ),
)


@pytest.mark.parametrize("path", [path for path, method in OPERATIONS if method == "POST"])
def test_any_bytes_and_any_json(engine: LocalEngine, connect: Callable[..., httpx.Client], path: str) -> None:
    """What no schema would generate: bytes, NaN, huge numbers, lone surrogates, filters of every shape."""
    client = connect(engine)

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(content=st.binary() | (SHAPED | VALUES).map(lambda value: json.dumps(value).encode()))
    def send(content: bytes) -> None:
        for name in NAMES:
            url = path.replace("{name}", name)
            answer = client.post(url, content=content, headers={"content-type": "application/json"})
            assert answer.status_code in {200, 201, 400, 404, 409, 422}, (content, answer.text)
            assert answer.is_success or set(answer.json()["error"]) == {"code", "message", "request_id"}

    send()
