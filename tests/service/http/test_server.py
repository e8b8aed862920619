"""A real server process on loopback, spoken to over its socket."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from latefold.encoders.errors import IndexNotFoundError, InvalidInputError
from latefold.service.http.server import serve
from latefold.service.http.settings import ServerSettings

KEY = "a-secret-key-0123456789"
SCRIPT = """
import sys, time
from pathlib import Path
from latefold.service.engine import LocalEngine
from latefold.service.http.auth import ApiKeys
from latefold.service.http.server import serve
from latefold.service.http.settings import ServerSettings

def search(self, collection, query, search=LocalEngine.search):
    if query.texts == ["slow"]:
        print("searching", flush=True)
        time.sleep(1)
    return search(self, collection, query)

LocalEngine.search = search
settings = ServerSettings(
    indexes=tuple(map(Path, sys.argv[2:])), port=0, threads=1, keys=ApiKeys.from_secrets(write=[sys.argv[1]])
)
serve(settings, started=lambda url: print(url, flush=True))
"""
SEARCH = "/v1/collections/my-texts/search"


class Server:
    """The process, its URL and a client of it."""

    def __init__(self, *paths: Path) -> None:
        command = [sys.executable, "-W", "error", "-c", SCRIPT, KEY, *map(str, paths)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(self.stop()[1])
        self.client = httpx.Client(base_url=self.url, headers={"x-api-key": KEY}, timeout=30)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.url.rsplit(":", 1)[1])

    def stop(self) -> tuple[int, str]:
        """Exit status and everything that was logged."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@pytest.fixture(scope="module")
def server(text_index: Path) -> Iterator[Server]:
    running = Server(text_index)
    with running.client:
        yield running
        running.stop()


def test_search_over_the_socket(server: Server) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
    answer = server.client.post(SEARCH, json={"query": "sleeping cat", "k": 1})
    assert answer.json()["hits"][0]["id"] == "cat"
    assert "server" not in answer.headers
    assert httpx.get(f"{server.url}/v1/collections").status_code == 401


def test_ids_with_slashes_over_the_socket(server: Server) -> None:
    for path in ("a/b%20c", "a%2Fb%20c", "a%2fb%20c"):
        assert server.client.get(f"/v1/collections/my-texts/documents/{path}").json()["id"] == "a/b c"
    assert server.client.get("/v1/collections/my-texts/documents/%FCn").status_code == 404


def test_a_chunked_body_is_counted(server: Server) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 20)

    headers = {"content-type": "application/json"}
    assert server.client.post(SEARCH, content=endless(), headers=headers).status_code == 413
    assert httpx.post(f"{server.url}{SEARCH}", content=endless(), headers=headers).status_code == 401
    assert server.client.post(SEARCH, json={"query": "cat"}).status_code == 200


def test_a_declared_length_beyond_the_limit_is_refused_at_once(server: Server) -> None:
    head = [f"POST {SEARCH} HTTP/1.1", "host: localhost", "content-type: application/json", f"x-api-key: {KEY}"]
    answer = exchange(server, [*head, f"content-length: {(32 << 20) + 1}", "expect: 100-continue"])
    assert answer.startswith(b"HTTP/1.1 413 ")
    both = exchange(server, [*head, "content-length: 5", "transfer-encoding: chunked"])
    assert both.startswith(b"HTTP/1.1 400 ")
    assert exchange(server, [*head, "content-length: 5", "content-length: 6"]).startswith(b"HTTP/1.1 400 ")


def test_headers_are_limited(server: Server) -> None:
    head = ["GET /v1/health HTTP/1.1", "host: localhost", "connection: close"]
    assert exchange(server, [*head, f"x-filler: {'x' * 15_000}"]).startswith(b"HTTP/1.1 200 ")
    assert exchange(server, [*head, f"x-filler: {'x' * 17_000}"]).startswith(b"HTTP/1.1 431 ")
    assert exchange(server, [*head, f"x-filler: {'x' * 500_000}"])[:13] in {b"HTTP/1.1 400 ", b"HTTP/1.1 431 "}


def exchange(server: Server, lines: list[str]) -> bytes:
    """Send a raw request head and read until the server closes."""
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        received = b""
        try:
            while part := connection.recv(65_536):
                received += part
        except ConnectionResetError:
            pass
        return received


def test_health_answers_beside_idle_connections(server: Server) -> None:
    idle = [socket.create_connection(server.address, timeout=10) for _ in range(200)]
    try:
        for connection in idle:
            connection.sendall(b"POST /v1/collections/x/search HTTP/1.1\r\nhost: localhost\r\n")
        assert server.client.get("/v1/health").status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_sigterm_lets_requests_in_flight_finish(text_index: Path) -> None:
    server = Server(text_index)
    with server.client as client:
        while client.get("/v1/ready").status_code != 200:
            time.sleep(0.02)
        body = json.dumps({"query": "slow"})
        head = [f"POST {SEARCH} HTTP/1.1", "host: localhost", f"x-api-key: {KEY}", "content-type: application/json"]
        request = "\r\n".join([*head, f"content-length: {len(body)}", "", body]).encode()
        with socket.create_connection(server.address, timeout=30) as connection:
            connection.sendall(request)
            assert server.process.stdout is not None
            assert server.process.stdout.readline() == "searching\n"
            server.process.send_signal(signal.SIGTERM)
            answer = connection.makefile("rb").read()
    status, log = server.stop()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["query"] == "slow"
    assert status == 0
    assert KEY not in log
    assert "Traceback" not in log
    assert "Warning" not in log


def test_a_port_in_use(text_index: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInputError, match=rf"cannot listen on 127\.0\.0\.1:{port}.*choose another"):
            serve(ServerSettings(indexes=(text_index,), port=port))


def test_a_folder_that_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError):
        serve(ServerSettings(indexes=(tmp_path,), port=0))


def test_nothing_to_serve() -> None:
    with pytest.raises(InvalidInputError, match="no index"):
        serve(ServerSettings(port=0))
