"""The middleware around everything: request id, security headers, access log, and errors that never leak."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import problem_of

access_log = logging.getLogger("latefold.access")

SECURITY_HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class EnvelopeMiddleware:
    """Names each request, answers whatever is raised below, and logs one line: no query string, header or body.

    It reads neither body nor route, so authentication right below it is still the first to judge a request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry. Raises only what happened after the answer had begun."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            await self.app(scope, receive, exchange.send)
        except Exception as error:  # the border of the service: every error becomes an answer
            problem = problem_of(error, exchange.request_id)
            if exchange.status is not None:
                raise
            await problem.response(exchange.request_id)(scope, receive, exchange.send)
        finally:
            exchange.log()


class _Exchange:
    """One request and the start of its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.request_id
        self.status: int | None = None
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    def log(self) -> None:
        client = self._scope.get("client")
        access_log.info(
            "%s %s %s %s %.1fms id=%s",
            client[0] if client else "-",
            self._scope["method"],
            _loggable(self._scope.get("raw_path") or b""),
            self.status or "-",
            (time.perf_counter() - self._began) * 1000,
            self.request_id,
        )


def _loggable(raw_path: bytes) -> str:
    """The path as it came, percent-encoded; control characters (which could forge log lines) are escaped."""
    return raw_path[:200].decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")
