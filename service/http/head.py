"""The head of a request: its size, and a Host header that a foreign web page cannot have caused."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import Problem

MAX_HEAD_BYTES = 16 * 1024


class HeadMiddleware:
    """Refuses requests whose head is too large, or whose Host is not of `hosts`.

    hosts: lower case, without port, IPv6 in brackets; empty allows any. DNS rebinding makes a browser treat a local
    address as part of the attacker's site; the Host header then still names that site.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry. Raises `Problem` 431, or 400 for a foreign, missing or repeated Host."""
        if scope["type"] != "lifespan":
            if _size(scope) > MAX_HEAD_BYTES:
                raise Problem(431, "head_too_large", f"URL and headers are larger than {MAX_HEAD_BYTES} bytes")
            given = Headers(scope=scope).getlist("host")
            if self.hosts and (len(given) != 1 or _without_port(given[0]) not in self.hosts):
                raise Problem(400, "invalid_host", "this server does not answer to that Host header")
        await self.app(scope, receive, send)


def _size(scope: Scope) -> int:
    target = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return target + sum(len(name) + len(value) for name, value in scope["headers"])


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
