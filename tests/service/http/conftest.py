"""Real indexes, and a client that talks to the app in this process through its event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from latefold import Index, TokenEmbeddings, load_encoder
from latefold.service.engine import Engine, LocalEngine
from latefold.service.http.app import create_app
from latefold.service.http.settings import ServerSettings

DIM = 8
TEXTS = {
    "cat": "The cat sleeps all day on the warm window sill.",
    "dog": "A dog barks at the postman every morning.",
    "a/b c": "Rivers carry water from the mountains to the sea.",
    "ünï": "Naïve café: the menu has 日本語 and 🙂 in it.",
    "sun": "The sun is a star; its light takes eight minutes to reach the earth.",
    "bread": "Bread is baked from flour, water, salt and yeast.",
}


class PortalTransport(httpx.BaseTransport):
    """Lets a synchronous client call the app on the event loop of `portal`."""

    def __init__(self, app: FastAPI, portal: BlockingPortal) -> None:
        self._inner = httpx.ASGITransport(app)
        self._portal = portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._portal.call(self._send, request)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


Connect = Callable[..., httpx.Client]


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own."""
    with start_blocking_portal() as running:
        yield running


@contextmanager
def connecting(portal: BlockingPortal) -> Iterator[Connect]:
    """Make clients of apps over engines, their lifespan running: `connect(engine, **settings)`."""
    with ExitStack() as stack:

        def make(engine: Engine, **settings: Any) -> httpx.Client:
            app = create_app(engine, ServerSettings(**settings))
            stack.enter_context(portal.wrap_async_context_manager(app.router.lifespan_context(app)))
            client = httpx.Client(transport=PortalTransport(app, portal), base_url="http://localhost")
            return stack.enter_context(client)

        yield make


@pytest.fixture
def connect(portal: BlockingPortal) -> Iterator[Connect]:
    """`connecting`, for one test."""
    with connecting(portal) as make:
        yield make


@pytest.fixture(scope="session")
def encoder() -> Any:
    """The bundled encoder."""
    return load_encoder("default", threads=1)


@pytest.fixture(scope="session")
def text_index(tmp_path_factory: pytest.TempPathFactory, encoder: Any) -> Path:
    """A small index of texts, for reading only."""
    path = tmp_path_factory.mktemp("text") / "My Texts.index"
    with Index.create(path, encoder=encoder) as index:
        index.add(
            [
                {"id": name, "text": text, "title": name.title(), "metadata": {"n": n, "source": f"{name}.txt"}}
                for n, (name, text) in enumerate(TEXTS.items())
            ]
        )
    return path


def vectors(*seeds: int) -> TokenEmbeddings:
    """Random unit vectors: for each seed a document of 3 tokens."""
    items = []
    for seed in seeds:
        item = np.random.default_rng(seed).standard_normal((3, DIM)).astype(np.float32)
        items.append(item / np.linalg.norm(item, axis=1, keepdims=True))
    return TokenEmbeddings.from_list(items)


def make_vector_index(path: Path) -> Path:
    """A new index of vectors brought by the caller: documents `d0` to `d9`."""
    with Index.create(path, dim=DIM) as index:
        index.add([{"id": f"d{n}", "text": f"word{n} common"} for n in range(10)], embeddings=vectors(*range(10)))
    return path


@pytest.fixture
def vector_engine(tmp_path: Path) -> Iterator[LocalEngine]:
    """An engine over a new `vectors.index` alone."""
    with LocalEngine.open([make_vector_index(tmp_path / "vectors.index")]) as engine:
        yield engine


@pytest.fixture
def client(vector_engine: LocalEngine, connect: Connect) -> httpx.Client:
    """A client of a server with the new collection `vectors` and no keys."""
    return connect(vector_engine)


@pytest.fixture(scope="session")
def reader(
    tmp_path_factory: pytest.TempPathFactory, text_index: Path, encoder: Any, portal: BlockingPortal
) -> Iterator[httpx.Client]:
    """A client of a server with the collections `my-texts` and `vectors`; tests that share it must not write."""
    path = make_vector_index(tmp_path_factory.mktemp("vectors") / "vectors.index")
    with (
        Index.open(text_index, encoder=encoder) as texts,
        Index.open(path) as numbers,
        connecting(portal) as make,
    ):
        yield make(LocalEngine({"my-texts": texts, "vectors": numbers}))


@pytest.fixture(scope="session")
def queries() -> Callable[..., list[list[list[float]]]]:
    """Vectors as nested lists: `queries(3, 4)` are those of documents `d3` and `d4`."""
    return lambda *seeds: [item.tolist() for item in vectors(*seeds)]
