"""API keys and the middleware that asks for one before anything else sees the request."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ...encoders.errors import InvalidInputError
from .errors import Problem

MIN_KEY_CHARACTERS = 16
OPEN_PATHS = frozenset({"/", "/v1/health", "/v1/ready"})
"""Answered to GET without a key: liveness, readiness and the empty search page; none of them shows data."""
_READ_POSTS = re.compile(r"/v1/collections/[^/]+/(search|explain)")
"""The only POST routes that change nothing; every other method but GET and HEAD needs a write key."""


class Access(IntEnum):
    """What a key permits."""

    NONE = 0
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class ApiKeys:
    """SHA-256 digests of the accepted keys; the keys themselves are not kept.

    Several keys of one kind let an old and a new one live side by side while clients change over.
    """

    write: frozenset[bytes] = field(default=frozenset(), repr=False)
    read: frozenset[bytes] = field(default=frozenset(), repr=False)

    @classmethod
    def from_secrets(cls, *, write: Iterable[str] = (), read: Iterable[str] = ()) -> ApiKeys:
        """Digest the keys. Raises `InvalidInputError` on a key that is too short or that no header can carry."""
        return cls(frozenset(map(_digest, write)), frozenset(map(_digest, read)))

    def __bool__(self) -> bool:
        return bool(self.write or self.read)

    def access(self, secret: bytes) -> Access:
        """What `secret` permits. Takes the same time whichever key matches, or none."""
        digest = hashlib.sha256(secret).digest()
        found = Access.NONE
        for access, digests in ((Access.READ, self.read), (Access.WRITE, self.write)):
            for known in digests:
                if hmac.compare_digest(known, digest):
                    found = access
        return found


def _digest(secret: str) -> bytes:
    if len(secret) < MIN_KEY_CHARACTERS or not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise InvalidInputError(
            f"an API key must be at least {MIN_KEY_CHARACTERS} printable ASCII characters without spaces; "
            "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return hashlib.sha256(secret.encode("ascii")).digest()


class AuthMiddleware:
    """Refuses a request without a valid key before its body is read and before any route is looked up.

    Decides from method, path and headers alone and admits by exception: a route added later needs a key, and a
    write key unless it is a GET.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry. Raises `Problem` 401 without a valid key and 403 where the key only reads."""
        if scope["type"] != "lifespan" and self.keys and not _is_open(scope):
            access = self.keys.access(_credential(scope))
            if access is Access.NONE:
                raise _unauthorized()
            if access < _required(scope):
                raise Problem(403, "forbidden", "this API key only reads; the request needs a key that writes")
        await self.app(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in OPEN_PATHS


def _required(scope: Scope) -> Access:
    if scope["type"] != "http":
        return Access.WRITE
    reads = scope["method"] in {"GET", "HEAD"}
    reads |= scope["method"] == "POST" and _READ_POSTS.fullmatch(scope["path"]) is not None
    return Access.READ if reads else Access.WRITE


def _credential(scope: Scope) -> bytes:
    """The one key the headers carry. Raises `Problem` 401 when there is none, or more than one."""
    headers = Headers(scope=scope)
    found = headers.getlist("x-api-key")
    for value in headers.getlist("authorization"):
        scheme, _, secret = value.partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized()
        found.append(secret.strip())
    if len(found) != 1:
        raise _unauthorized()
    return found[0].encode("latin-1")


def _unauthorized() -> Problem:
    return Problem(
        401,
        "unauthorized",
        "send one valid API key, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
        headers={"www-authenticate": "Bearer"},
    )
