"""`demo`, on a part of the standard library, and whole under the `slow` marker."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import glob
import heapq
import subprocess
import sys
from pathlib import Path

import pytest

from latefold import Document, Index, load_encoder
from latefold.encoders.errors import IndexCorruptedError
from latefold.encoders.onnx_text import OnnxTextEncoder
from latefold.service import demo, stdlib_docs

ANSWERS = ["asyncio.wait_for", "functools.lru_cache", "glob.glob", "subprocess.run", "heapq.nlargest"]
WHOLE_ANSWERS = [answer if answer != "glob.glob" else "pathlib.Path.glob" for answer in ANSWERS]
"""Among all documents, `pathlib` has the better answer to the question about files."""


@pytest.fixture
def small_library(monkeypatch):
    """The demo's collector, restricted to the modules that hold the answers, without their longest texts."""
    seen: set[str] = set()
    records = [r for m in (functools, glob, heapq, subprocess, asyncio) for r in stdlib_docs.describe(m, seen)]
    wanted = [record for record in records if record["id"] in ANSWERS or record["metadata"]["kind"] == "function"]
    documents = [Document(**record) for record in wanted if len(record["text"]) < 800 or record["id"] in ANSWERS]
    monkeypatch.setattr(demo, "collect", lambda: documents)
    return documents


def test_demo_builds_answers_reuses_and_deletes(cli, small_library, tmp_path):
    folder = tmp_path / "demo.index"
    first = cli("demo", "--into", folder, "--no-progress", "--json")
    assert first.code == 0, first
    assert first.json.keys() == {"path", "documents", "reused", "seconds", "searches"}
    assert (first.json["documents"], first.json["reused"]) == (len(small_library), False)
    for search, answer in zip(first.json["searches"], ANSWERS, strict=True):
        assert answer in [hit["id"] for hit in search["hits"]], search["query"]
    second = cli("demo", "--into", folder)
    assert second.code == 0
    assert "reusing" in second.err
    assert all(question in second.out for question in demo.QUESTIONS)
    assert "*Cache*" in second.out or "*cache*" in second.out
    assert f"latefold demo --delete --into {folder}" in second.out
    assert cli("demo", "--delete", "--into", folder, "--json").json == {"deleted": str(folder)}
    assert not folder.exists()
    assert cli("demo", "--delete", "--into", folder).code == 4


def test_an_index_of_something_else_is_left_alone(cli, index_copy, tmp_path):
    before = cli("stats", index_copy, "--json").json["documents"]
    for options in ([], ["--delete"]):
        done = cli("demo", "--into", index_copy, *options, "--json")
        assert (done.code, done.json["error"]["code"]) == (5, "index_exists")
    assert cli("stats", index_copy, "--json").json["documents"] == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("mine")
    assert cli("demo", "--into", tmp_path / "other").code == 5


@pytest.mark.parametrize("damage", ["encoder", "corrupted"])
def test_an_index_of_the_demo_that_cannot_be_used_is_made_anew(tmp_path, monkeypatch, damage):
    folder = tmp_path / "demo.index"
    record = Document("builtins", "Built-in functions, exceptions, and other objects.", "builtins")
    with Index.create(folder) as index:
        index.add([record])
    if damage == "encoder":
        other = dataclasses.replace(load_encoder().fingerprint, weights="other")
        monkeypatch.setattr(OnnxTextEncoder, "fingerprint", other)
    else:
        (folder / "catalog.sqlite").write_bytes(b"not a database" * 1000)
        with pytest.raises(IndexCorruptedError):
            demo.open_or_create(folder)
    with demo.open_or_create(folder, ours=True) as index:
        assert len(index) == 0


def test_a_damaged_index_of_the_demo_can_be_deleted(tmp_path):
    folder = tmp_path / "demo.index"
    Index.create(folder).close()
    (folder / "catalog.sqlite").write_bytes(b"not a database" * 1000)
    demo.delete(folder, ours=True)
    assert not folder.exists()


def test_cache_folder_follows_the_platform():
    home = Path.home()
    assert demo.default_folder({"XDG_CACHE_HOME": "/c"}, "linux") == Path("/c/latefold/demo.index")
    assert demo.default_folder({}, "linux") == home / ".cache" / "latefold" / "demo.index"
    assert demo.default_folder({}, "darwin") == home / "Library" / "Caches" / "latefold" / "demo.index"
    assert demo.default_folder({"LOCALAPPDATA": "/l"}, "win32") == Path("/l/latefold/demo.index")


@pytest.mark.slow
def test_the_whole_demo(tmp_path):
    command = [sys.executable, "-m", "latefold.service.cli", "demo", "--into", str(tmp_path / "demo.index")]
    first = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True)
    assert "indexed in" in first.stderr
    for answer in WHOLE_ANSWERS:
        assert f"{answer}(" in first.stdout
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "reusing" in second.stderr
