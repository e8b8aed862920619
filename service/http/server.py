"""Run the app under uvicorn: open the indexes, listen, drain on SIGTERM, close."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from ...encoders.errors import InvalidInputError
from ...encoders.scorers.load import load_scorer
from ..engine import LocalEngine
from .app import create_app
from .head import MAX_HEAD_BYTES
from .settings import ServerSettings

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def serve(settings: ServerSettings, *, started: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight get `settings.drain_s` seconds to finish.

    started: called once with the URL when the port is bound, before the first request is answered.

    Raises `InvalidInputError` when there is nothing to serve, the address cannot be bound or two folders would get
    one name, the errors of `Index.open` for a folder that cannot be served, and those of `load_scorer`.
    """
    if not settings.indexes:
        raise InvalidInputError("there is no index to serve: name at least one folder")
    with (
        _open(settings) as engine,
        _listen(settings.host, settings.port) as listener,
        _signals_end_quietly(),
    ):
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
        if started is not None:
            started(_url(settings.host, listener))
        uvicorn.Server(_config(engine, settings)).run(sockets=[listener])


def _open(settings: ServerSettings) -> LocalEngine:
    threads, offline = settings.threads, settings.offline
    scorers = {name: load_scorer(model, threads=threads, offline=offline) for name, model in settings.scorers.items()}
    return LocalEngine.open(settings.indexes, scorers=scorers, threads=threads, offline=offline)


def _config(engine: LocalEngine, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(engine, settings),
        http="h11",  # the one protocol whose header limit can be set
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise InvalidInputError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another address or port"
        ) from error


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{name}:{listener.getsockname()[1]}"


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """Leave with status 0 after a drained SIGTERM or SIGINT: uvicorn raises the signal again once it has shut down."""

    def ignore(_signal: int, _frame: FrameType | None) -> None:
        return

    before = {number: signal.signal(number, ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
