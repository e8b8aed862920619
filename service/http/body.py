"""Request bodies: JSON only, read with a limit on size, time and memory before a route sees them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import RETRY_AFTER, Problem

_CLOSE = {"connection": "close"}
_JSON_TYPE = re.compile(r"application/json\s*(;.*)?", re.IGNORECASE)


class BodyMiddleware:
    """Reads the body of POST and PUT requests, counting what arrives rather than trusting Content-Length.

    limit: bytes of one body. budget: bytes of all bodies held at once. deadline_s: seconds a client may take.
    Only `application/json` passes. That is also what keeps foreign web pages out: a browser sends JSON to another
    origin only after a preflight request, which is refused unless CORS is set up.
    """

    def __init__(self, app: ASGIApp, *, limit: int, budget: int, deadline_s: float) -> None:
        self.app = app
        self.limit = limit
        self.budget = budget
        self.deadline_s = deadline_s
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry. Raises `Problem` 400, 408, 413, 415 or 503."""
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH"}:
            await self.app(scope, receive, send)
            return
        self._check_headers(Headers(scope=scope))
        body = await self._read(receive)
        if body is None:
            return
        try:
            await self.app(scope, _replay(body, receive), send)
        finally:
            self._held -= len(body)

    def _check_headers(self, headers: Headers) -> None:
        # A client that asked before sending (Expect) may not send any more: the connection cannot be used again.
        # Any other one is sending already, and would not see the answer if the connection were cut.
        answer = _CLOSE if "expect" in headers else None
        if not _JSON_TYPE.fullmatch(headers.get("content-type", "")):
            raise Problem(415, "unsupported_media_type", "send Content-Type: application/json", headers=answer)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "unsupported_media_type", "send the body without Content-Encoding", headers=answer)
        declared = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]+", declared) or {"content-length", "transfer-encoding"} <= set(headers):
            raise Problem(400, "bad_request", "the length of the body is not clear", headers=_CLOSE)
        if len(declared) > 18 or int(declared) > self.limit:
            raise self._too_large(answer)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, counted in `_held`; None when the client has gone."""
        chunks: list[bytes] = []
        size = 0
        complete = False
        try:
            async with asyncio.timeout(self.deadline_s):
                while not complete:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    chunk = message.get("body", b"")
                    if size + len(chunk) > self.limit:
                        raise self._too_large()
                    self._hold(len(chunk))
                    size += len(chunk)
                    chunks.append(chunk)
                    complete = not message.get("more_body", False)
        except TimeoutError:
            raise Problem(
                408, "body_timeout", f"the body did not arrive within {self.deadline_s:g} s", headers=_CLOSE
            ) from None
        finally:
            if not complete:
                self._held -= size
        return b"".join(chunks)

    def _hold(self, size: int) -> None:
        if self._held + size > self.budget:
            raise Problem(503, "overloaded", "too much data at once; try again", headers=RETRY_AFTER)
        self._held += size

    def _too_large(self, headers: Mapping[str, str] | None = None) -> Problem:
        return Problem(413, "body_too_large", f"the body is larger than {self.limit} bytes", headers=headers)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first and then what the connection says (that the client has gone)."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
