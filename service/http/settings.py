"""Everything a server can be told, read once at its start."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...encoders.errors import InvalidInputError
from ...retrieval.cur.options import MAX_BUDGET
from .auth import ApiKeys

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
MiB = 1 << 20
_SCORER_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class ServerSettings:
    """How to serve which indexes.

    indexes: folders to serve, each a collection named after its folder. scorers: what searches may end with, by the
    name that clients use: names for `load_scorer`. max_budget: calls of a scorer that one query may ask for. host,
    port: where to listen; port 0 takes a free one. keys: accepted API keys; may be empty only on a loopback address.
    allowed_hosts: values of the Host header to accept, without port; by default the local names on a loopback address,
    any elsewhere. cors_origins: web origins whose pages may call the API. threads: CPU threads of each encoder
    and scorer; offline: never fetch a model.

    workers: requests worked on at a time; queue: requests that may wait for a worker before others are refused with
    503. deadline_s, write_deadline_s: seconds until a read or a write is answered with 504. body_bytes: largest
    request body; body_budget_bytes: bodies held in memory together; body_deadline_s: seconds a client may take to
    send one. drain_s: seconds that requests in flight get to finish on shutdown.

    Raises `InvalidInputError` on values that cannot work and on an open address without a key.
    """

    indexes: tuple[Path, ...] = ()
    scorers: Mapping[str, str] = field(default_factory=dict)
    max_budget: int = 200
    host: str = "127.0.0.1"
    port: int = 8000
    keys: ApiKeys = field(default_factory=ApiKeys)
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    threads: int | None = None
    offline: bool = False
    workers: int = field(default_factory=lambda: min(8, os.cpu_count() or 1))
    queue: int = 64
    deadline_s: float = 10.0
    write_deadline_s: float = 300.0
    body_bytes: int = 32 * MiB
    body_budget_bytes: int = 256 * MiB
    body_deadline_s: float = 30.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_scorers()
        if not self.keys and not is_loopback(self.host):
            raise InvalidInputError(
                f"refusing to listen on {self.host} without an API key: anyone who reaches it could read and delete "
                "every document; set a key, or listen on 127.0.0.1"
            )
        if "*" in self.cors_origins and not self.keys:
            raise InvalidInputError("CORS for every origin needs an API key; name the origins, or set a key")

    def _check_scorers(self) -> None:
        if not 1 <= self.max_budget <= MAX_BUDGET:
            raise InvalidInputError(f"max_budget is between 1 and {MAX_BUDGET}, not {self.max_budget}")
        for name in self.scorers:
            if not _SCORER_NAME.fullmatch(name):
                raise InvalidInputError(f"a scorer is named by up to 64 of a-z, 0-9, _ and -, not {name!r:.80}")

    def _check_numbers(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InvalidInputError(f"port {self.port} is not between 0 and 65535")
        positive = ("workers", "deadline_s", "write_deadline_s", "body_bytes", "body_budget_bytes", "body_deadline_s")
        for name in positive:
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("queue", "drain_s"):
            if not getattr(self, name) >= 0:
                raise InvalidInputError(f"{name} must not be negative, not {getattr(self, name)}")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Accepted Host headers, lower case; empty for any."""
        if self.allowed_hosts or not is_loopback(self.host):
            return tuple(host.lower() for host in self.allowed_hosts)
        return LOCAL_HOSTS


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
