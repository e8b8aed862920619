"""`serve`: a real server process, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
from cross_encoders import save_cross_encoder

from latefold.encoders.errors import InvalidInputError
from latefold.service.cli.serve import DEADLINE, MAX_BUDGET, PORT, read_keys, read_scorers
from latefold.service.http.settings import ServerSettings

KEY = "k" * 32


def test_serves_until_interrupted(shared_index, tmp_path):
    scorer = save_cross_encoder(tmp_path / "ce")
    keys = tmp_path / "keys"
    keys.write_text(f"# rotation: old and new\n{KEY}\n")
    command = [sys.executable, "-m", "latefold.service.cli", "serve", str(shared_index), "--port", "0", "--json"]
    command += [
        "--rerank",
        f"tiny={scorer}",
        "--rerank",
        "heavy=maxsim:minilm",
        "--max-budget",
        "50",
        "--deadline",
        "60",
    ]
    server = subprocess.Popen(
        [*command, "--api-key-file", str(keys)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        started = json.loads(server.stdout.readline())
        assert (started["collections"], started["scorers"]) == (["kitchen"], ["heavy", "tiny"])
        for rerank in (None, {"name": "heavy"}, {"name": "tiny", "budget": 50}):
            request = urllib.request.Request(
                f"{started['url']}/v1/collections/kitchen/search",
                data=json.dumps({"query": "rye bread", "k": 1, "rerank": rerank}).encode(),
                headers={"content-type": "application/json", "x-api-key": KEY},
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
            assert (answer["rerank"] or {}).get("name") == (rerank or {}).get("name")
            assert answer["hits"][0]["id"] == "r2" or rerank == {"name": "tiny", "budget": 50}
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


def test_scorers_have_names():
    assert read_scorers(["ce=maxsim:a", "b=x=y"]) == {"ce": "maxsim:a", "b": "x=y"}
    assert read_scorers([]) == {}
    for wrong in ("ce", "=x", "ce=", ""):
        with pytest.raises(InvalidInputError, match="no NAME=SCORER"):
            read_scorers([wrong])
    with pytest.raises(InvalidInputError, match="two scorers 'ce'"):
        read_scorers(["ce=a", "ce=b"])


def test_a_scorer_that_cannot_be_loaded_ends_the_start(cli, shared_index, tmp_path):
    done = cli("serve", shared_index, "--port", "0", "--rerank", f"ce={tmp_path / 'none'}", "--offline", "--json")
    assert (done.code, done.json["error"]["code"]) == (11, "encoder")
    for arguments in (
        ["--rerank", "Bad Name=maxsim:latefold"],
        ["--max-budget", "0"],
        ["--deadline", "0"],
        ["--rerank", "maxsim:minilm"],
    ):
        done = cli("serve", shared_index, "--port", "0", *arguments, "--json")
        assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")


def test_the_defaults_are_those_of_the_server():
    usual = ServerSettings()
    assert (usual.port, usual.max_budget, usual.deadline_s) == (PORT, MAX_BUDGET, DEADLINE)
