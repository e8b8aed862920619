"""Introspection of the standard library: what is collected, from which modules, and that it leaks nothing."""

from __future__ import annotations

import csv
import heapq
import json
import subprocess
import sys
from collections import Counter
from types import ModuleType

import pytest

from latefold.service import demo, stdlib_docs


def describe(module, seen=None):
    return {record["id"]: record for record in stdlib_docs.describe(module, set() if seen is None else seen)}


def test_functions_classes_and_methods_are_described_with_their_place():
    records = describe(csv)
    assert records["csv"]["metadata"]["kind"] == "module"
    sniff = records["csv.Sniffer.sniff"]
    assert sniff["title"].startswith("csv.Sniffer.sniff(self, sample")
    assert sniff["metadata"] == {"module": "csv", "kind": "method", "source": sniff["metadata"]["source"]}
    assert sniff["metadata"]["source"].startswith("csv.py:")
    assert "nlargest" in describe(heapq)["heapq.nlargest"]["title"]


def test_a_docstring_seen_before_is_left_out():
    seen: set[str] = set()
    first = describe(heapq, seen)
    assert first
    assert describe(heapq, seen) == {}


def test_hostile_modules_cost_only_themselves():
    class Nasty:
        """A class whose signature cannot be asked for, though its docstring can."""

        @property
        def __signature__(self):
            raise RuntimeError("no")

    nasty = Nasty()
    module = ModuleType("nasty")
    module.__all__ = ["Nasty", "absent", "function", "nasty"]
    module.Nasty = Nasty
    module.nasty = nasty
    module.function = lambda x=nasty: x
    module.function.__doc__ = "A function with a default that has an address."
    records = describe(module)
    assert set(records) == {"nasty.Nasty", "nasty.function"}
    assert " at 0x" not in records["nasty.function"]["title"]


def test_long_docstrings_are_cut_and_short_ones_dropped():
    module = ModuleType("long")
    module.__doc__ = "word " * 2000
    assert len(describe(module)["long"]["text"]) <= stdlib_docs.MAX_CHARACTERS + 2
    module.__doc__ = "Short."
    assert describe(module) == {}


def test_importing_leaks_neither_output_nor_exits(tmp_path, monkeypatch, capfd):
    (tmp_path / "noisy_module.py").write_text(
        "import sys, warnings\nprint('noise')\nwarnings.warn('old', DeprecationWarning)\nsys.stderr.write('more')\n"
    )
    (tmp_path / "leaving_module.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert stdlib_docs.import_quietly("noisy_module") is not None
    assert stdlib_docs.import_quietly("leaving_module") is None
    assert stdlib_docs.import_quietly("no_such_module_at_all") is None
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def documents():
    return demo.collect()


def test_collects_thousands_of_documents(documents):
    assert len(documents) > 3000
    assert len({document.id for document in documents}) == len(documents)
    kinds = Counter(document.metadata["kind"] for document in documents)
    assert all(kinds[kind] > 50 for kind in ("module", "class", "function", "method", "property"))


def test_leaves_out_private_foreign_and_acting_modules(documents):
    modules = {document.metadata["module"] for document in documents}
    assert {"asyncio", "csv", "functools", "xml.etree.ElementTree"} <= modules
    for name in modules:
        parts = name.split(".")
        assert not stdlib_docs.EXCLUDED & set(parts)
        assert not any(part.startswith("_") for part in parts)


def test_the_answers_to_the_example_questions_are_there(documents):
    ids = {document.id for document in documents}
    assert {"asyncio.wait_for", "functools.lru_cache", "glob.glob", "subprocess.run", "heapq.nlargest"} <= ids


def test_a_module_that_kills_or_hangs_the_collector_is_skipped(tmp_path, monkeypatch):
    script = tmp_path / "collector.py"
    script.write_text(
        "import json, os, sys, time\n"
        "out = open(sys.argv[1], 'w')\n"
        "for name in ('good', 'crash', 'hang'):\n"
        "    if name in sys.argv[2:]: continue\n"
        "    out.write(json.dumps({'module': name}) + '\\n'); out.flush()\n"
        "    if name == 'crash': os.abort()\n"
        "    if name == 'hang': time.sleep(60)\n"
        "    out.write(json.dumps({'id': name, 'title': name, 'text': name, 'metadata': {}}) + '\\n')\n"
    )
    monkeypatch.setattr(demo.stdlib_docs, "__file__", str(script))
    monkeypatch.setattr(demo, "COLLECT_SECONDS", 2)
    assert [document.id for document in demo.collect()] == ["good"]


def test_the_collector_runs_alone_and_prints_nothing(tmp_path):
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-I", stdlib_docs.__file__, str(output), *sorted(sys.stdlib_module_names - {"csv"})]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")
    modules = {json.loads(line).get("module") for line in output.read_text().splitlines()} - {None}
    assert modules == {"csv"}
