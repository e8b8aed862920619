"""The benchmark from command line to reports, on a collection of a few documents."""

from __future__ import annotations

import json
import os
import re

import pytest

from latefold.encoders.errors import LatefoldError
from latefold.eval import bench, machine
from latefold.eval.systems import footprint


@pytest.fixture
def data(cranfield_slice, tmp_path):
    """A folder with one BEIR folder of 12 documents."""
    home = tmp_path / "data" / "tiny"
    (home / "qrels").mkdir(parents=True)
    documents = cranfield_slice.documents[:12]
    corpus = [json.dumps({"_id": d.id, "title": d.title, "text": d.text}) for d in documents]
    queries = [json.dumps({"_id": id_, "text": text}) for id_, text in cranfield_slice.queries.items()]
    judged = [f"{query}\t{id_}\t{v}" for query, found in cranfield_slice.qrels.items() for id_, v in found.items()]
    (home / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (home / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    (home / "qrels" / "test.tsv").write_text("\n".join(judged), encoding="utf-8")
    return home.parent


def test_writes_both_reports(data, tmp_path, capsys):
    pytest.importorskip("bm25s", reason="needs the extra bench")
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    out = tmp_path / "reports"
    assert bench.main(["--data", str(data), "--out", str(out), "--collections", "tiny"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["quality.md", "quality.png", "systems.md"]
    quality = (out / "quality.md").read_text(encoding="utf-8")
    header, *rows = re.findall(r"^\| .*$", quality.split("## nDCG@10")[1].split("##")[0], flags=re.M)
    assert header == "|  | BM25 (bm25s) | mean-pooled | BM25 + mean-pooled | exact | ann | lexical | hybrid |"
    assert [row.split(" | ")[0] for row in rows] == ["| ---", "| tiny", "| **mean**"]
    assert all(0 < float(cell) <= 1 for cell in rows[1].strip("| ").split(" | ")[1:])
    systems = (out / "systems.md").read_text(encoding="utf-8")
    assert "tiny: 12 documents" in systems
    for mode in ("exact", "ann", "lexical", "hybrid"):
        assert re.search(rf"^\| `{mode}` \|( \d+\.\d \|){{5}} \*\*\d+\.\d\*\* \| \d+\.\d \|$", systems, flags=re.M)
    for page in (quality, systems):
        headings = re.findall(r"^#+ .*$", page, flags=re.M)
        assert len(headings) == len(set(headings))
    assert str(data) not in quality + systems
    captured = capsys.readouterr()
    assert "written to" in captured.out
    assert "index tiny: 12" in captured.err


def test_unusable_data_is_one_line_and_a_status(tmp_path, capsys):
    assert bench.main(["--data", str(tmp_path), "--collections", "absent"]) == 1
    assert re.match(r"error: .*corpus\.jsonl: cannot be read", capsys.readouterr().err)


def test_footprint_reports_the_words_of_a_failed_process(tmp_path):
    with pytest.raises(LatefoldError, match=r"(?s)process of its own failed \(1\).*corpus\.jsonl"):
        footprint(tmp_path, "default", 5)


def test_machine_is_described_without_names():
    text = machine.describe()
    assert f"{machine.cores()} core(s)" in text
    assert "numpy 2." in text
    assert os.uname().nodename not in text
    assert machine.peak_memory() > 10 * 2**20
