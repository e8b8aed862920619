"""What the routes share: the service behind them, strict JSON, and the statuses they declare."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, NoReturn

import anyio.to_thread
from fastapi import APIRouter, Depends, Path
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from ..engine import Engine
from .errors import Problem
from .pool import WorkerPool
from .schemas import ErrorAnswer
from .settings import ServerSettings

logger = logging.getLogger("latefold.http")

WRITERS = 2
"""Threads for writes, beside those for reads; writes to one collection wait for each other anyway."""


class Service:
    """The engine and the threads that work for it."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.engine = engine
        self.max_budget = settings.max_budget
        self.ready = False
        self._reads = WorkerPool("read", workers=settings.workers, queue=settings.queue, deadline_s=settings.deadline_s)
        self._writes = WorkerPool("write", workers=WRITERS, queue=settings.queue, deadline_s=settings.write_deadline_s)

    async def read(self, work: Callable[[], BaseModel]) -> Response:
        """Answer with what `work` returns, computed and serialised on a reading thread."""
        return _json(await self._reads.run(lambda: _serialised(work)))

    async def read_file(self, work: Callable[[], bytes], media_type: str, headers: Mapping[str, str]) -> Response:
        """Answer with the bytes that `work` returns on a reading thread, under a media type of its own."""
        return Response(await self._reads.run(work), headers=dict(headers), media_type=media_type)

    async def write(self, work: Callable[[], BaseModel], status: int = 200) -> Response:
        """Answer with what `work` returns, computed and serialised on a writing thread."""
        return _json(await self._writes.run(lambda: _serialised(work)), status)

    async def warm(self) -> None:
        """Load encoders and kernels; ready afterwards, and not at all if that fails."""
        try:
            await anyio.to_thread.run_sync(self.engine.warm)
        except Exception:
            logger.exception("not ready: a collection cannot be searched")
        else:
            self.ready = True

    def close(self) -> None:
        """Wait for running work and refuse more."""
        self.ready = False
        self._reads.close()
        self._writes.close()


def _serialised(work: Callable[[], BaseModel]) -> bytes:
    return work().model_dump_json().encode()


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_service)]
Name = Annotated[
    str, Path(pattern="^[a-z0-9][a-z0-9_-]{0,63}$", description="a collection; GET /v1/collections lists them")
]


class _StrictJsonRequest(Request):
    async def json(self) -> Any:
        """The body as UTF-8 JSON; Python's reader would also take UTF-16 and the non-numbers NaN and Infinity."""
        try:
            return json.loads((await self.body()).decode(), parse_constant=_no_number)
        except (ValueError, RecursionError) as error:  # malformed, not UTF-8, absurd numbers, absurd nesting
            raise Problem(400, "malformed_json", f"the body is not valid JSON: {error}") from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


class _StrictJsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictJsonRequest(request.scope, request.receive))

        return strict


def router(prefix: str, tag: str) -> APIRouter:
    """A router of JSON routes."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=_StrictJsonRoute)


_MEANINGS = {
    400: "Malformed request: not JSON, not UTF-8, or a foreign Host header",
    401: "No valid API key",
    403: "The API key only reads",
    404: "No such collection, document or path",
    405: "No such method on this path",
    408: "The body took too long to arrive",
    409: "A document id is already present",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "A value cannot be used; the message says which and why",
    431: "URL and headers are too large",
    500: "Something is wrong on the server; its log has it under the request id",
    503: "Overloaded, stopping, not ready, or the collection is locked; retry after the given seconds",
    504: "No result within the deadline",
    507: "The server cannot store more",
}
ALWAYS = (400, 401, 403, 404, 405, 422, 431, 500, 503)
BODY = (*ALWAYS, 408, 413, 415, 504)
WRITE = (*BODY, 409, 507)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declarations of error answers for OpenAPI."""
    return {status: {"model": ErrorAnswer, "description": _MEANINGS[status]} for status in sorted(statuses)}
