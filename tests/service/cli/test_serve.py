"""`serve`: a real server process, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.service.cli.serve import PORT, read_keys
from latefold.service.http.settings import ServerSettings

KEY = "k" * 32


def test_serves_until_interrupted(shared_index, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"# rotation: old and new\n{KEY}\n")
    command = [sys.executable, "-m", "latefold.service.cli", "serve", str(shared_index), "--port", "0", "--json"]
    server = subprocess.Popen(
        [*command, "--api-key-file", str(keys)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        started = json.loads(server.stdout.readline())
        assert started["collections"] == ["kitchen"]
        request = urllib.request.Request(
            f"{started['url']}/v1/collections/kitchen/search",
            data=json.dumps({"query": "rye bread", "k": 1}).encode(),
            headers={"content-type": "application/json", "x-api-key": KEY},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)["hits"][0]["id"] == "r2"
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=60)
        assert server.returncode == 0
        assert "Traceback" not in err
        assert KEY not in err
    finally:
        server.kill()
        server.wait()


def test_an_open_address_needs_a_key(cli, shared_index, monkeypatch):
    monkeypatch.delenv("LATEFOLD_API_KEY", raising=False)
    done = cli("serve", shared_index, "--host", "0.0.0.0", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")


def test_a_path_without_an_index(cli, tmp_path):
    assert cli("serve", tmp_path / "none.index", "--port", "0", "--json").code == 4


def test_key_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"\n# one\n{KEY}\n  {KEY}x \n")
    assert read_keys(path) == [KEY, f"{KEY}x"]
    assert read_keys(None) == []
    path.write_text("# nothing\n")
    for unusable in (path, tmp_path / "absent"):
        with pytest.raises(InvalidInputError, match="key file"):
            read_keys(unusable)


def test_the_default_port_is_that_of_the_server():
    assert ServerSettings().port == PORT
