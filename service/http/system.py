"""Routes about the server: its collections, whether it is alive and ready, and the search page."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from .api import ALWAYS, Name, Serving, errors, router
from .errors import RETRY_AFTER, Problem
from .schemas import CollectionBody, CollectionsAnswer, StatsAnswer, StatusAnswer

collections = router("/v1/collections", "collections")
status = APIRouter(prefix="/v1", tags=["status"])
page = APIRouter(include_in_schema=False)


@collections.get("", response_model=CollectionsAnswer, responses=errors(*ALWAYS, 504))
async def list_collections(service: Serving) -> Response:
    """List the collections and the scorers of this server."""

    def work() -> CollectionsAnswer:
        found = service.engine.collections()
        bodies = [CollectionBody(name=name, documents=documents) for name, documents in found.items()]
        return CollectionsAnswer(collections=bodies, scorers=list(service.engine.scorers()))

    return await service.read(work)


@collections.get("/{name}", response_model=StatsAnswer, responses=errors(*ALWAYS, 504))
async def collection_stats(name: Name, service: Serving) -> Response:
    """Sizes and settings of one collection."""

    def work() -> StatsAnswer:
        stats = dict(service.engine.stats(name))
        if stats["encoder"] and Path(stats["encoder"]).is_absolute():
            stats["encoder"] = Path(stats["encoder"]).name
        return StatsAnswer(name=name, **stats)

    return await service.read(work)


@status.get("/health", response_model=StatusAnswer, responses=errors(*ALWAYS))
async def health() -> StatusAnswer:
    """Whether the process answers; needs no key and looks at nothing."""
    return StatusAnswer(status="ok")


@status.get("/ready", response_model=StatusAnswer, responses=errors(*ALWAYS))
async def ready(service: Serving) -> StatusAnswer:
    """Whether searches will be answered without waiting for a model to load; needs no key."""
    if not service.ready:
        raise Problem(503, "not_ready", "the server is starting or stopping", headers=RETRY_AFTER)
    return StatusAnswer(status="ready")


@page.get("/", response_class=HTMLResponse)
async def search_page() -> Response:
    """A page to search with; it holds no data and asks for the key where there is one."""
    html, policy = _page()
    return HTMLResponse(html, headers={"content-security-policy": policy})


@cache
def _page() -> tuple[str, str]:
    """The page and a policy that lets only its own script and style run, by their hashes."""
    html = (resources.files(__package__) / "page.html").read_text("utf-8")
    hashes = {}
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline)
        hashes[tag] = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "img-src blob:; "  # pictures are fetched with the key, and shown from memory
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy
