"""The app factory: routes, error handlers and the middleware around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from ... import __version__
from ...encoders.errors import LatefoldError
from ..engine import Engine
from .api import Service
from .auth import AuthMiddleware
from .body import BodyMiddleware
from .documents import documents
from .envelope import EnvelopeMiddleware
from .errors import handle
from .explaining import explaining
from .head import HeadMiddleware
from .search import searching
from .settings import ServerSettings
from .system import collections, page, status


def create_app(engine: Engine, settings: ServerSettings) -> FastAPI:
    """The HTTP app over an engine, which stays the caller's to close.

    Documented by itself at /openapi.json; there is no page of documentation, which would load scripts from a CDN.
    """
    app = FastAPI(
        title="latefold",
        summary="Late-interaction retrieval over HTTP",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(engine, settings),
        middleware=_middleware(settings),
        generate_unique_id_function=_operation_id,
    )
    for error in (LatefoldError, HTTPException, RequestValidationError):
        app.add_exception_handler(error, handle)
    schemes = [Depends(scheme) for scheme in _schemes()] if settings.keys else []
    for router in (collections, documents, searching, explaining):
        app.include_router(router, dependencies=schemes)
    app.include_router(status)
    app.include_router(page)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _schemes() -> tuple[HTTPBearer, APIKeyHeader]:
    """Declared for OpenAPI only: `AuthMiddleware` has decided before a route runs."""
    return HTTPBearer(auto_error=False), APIKeyHeader(name="X-API-Key", auto_error=False)


def _middleware(settings: ServerSettings) -> list[Middleware]:
    """From the outside in. Authentication comes before anything that reads a body, runs a route or opens a file.

    Only CORS stands further out, where it is set up: a preflight request carries no key.
    """
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
        expose_headers=["retry-after", "x-request-id"],
    )
    return [
        *([cors] if settings.cors_origins else []),
        Middleware(EnvelopeMiddleware),
        Middleware(HeadMiddleware, hosts=settings.hosts),
        Middleware(AuthMiddleware, keys=settings.keys),
        Middleware(
            BodyMiddleware,
            limit=settings.body_bytes,
            budget=settings.body_budget_bytes,
            deadline_s=settings.body_deadline_s,
        ),
    ]


def _lifespan(engine: Engine, settings: ServerSettings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Warm up beside the first requests; at the end wait for work that no request waits for any more."""
        service = app.state.service = Service(engine, settings)
        warming = asyncio.create_task(service.warm())
        yield
        await asyncio.wait((warming,))
        await asyncio.to_thread(service.close)

    return lifespan
