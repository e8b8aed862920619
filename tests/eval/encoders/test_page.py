"""From command line to page."""

from __future__ import annotations

import re

import pytest

from latefold.encoders.errors import LatefoldError
from latefold.eval import jobs
from latefold.eval.encoders import worker
from latefold.eval.encoders.__main__ import main
from latefold.eval.encoders.plan import Plan, Variant
from latefold.eval.encoders.report import BM25, Report, System, without_folder
from latefold.eval.encoders.run import code_of, encode_all, perform, planned
from latefold.eval.encoders.worker import Job


@pytest.fixture
def in_process(monkeypatch):
    """Jobs run in this process: starting one for each takes longer than the jobs."""

    def run(_worker, job, place):
        try:
            return worker.run(job, place)
        except LatefoldError as error:
            return {"absent": str(error)}

    monkeypatch.setattr(jobs, "perform", run)


def test_writes_page_and_chart(place, tmp_path, capsys, in_process):
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    out = tmp_path / "reports"
    arguments = ["--data", str(place.data), "--out", str(out), "--cache", str(place.cache), "--encoder", "minilm"]
    arguments += ["--posthoc", f"{tmp_path}/minilm:nonsense", "--collections", "tiny", "absent", "--quick"]
    assert main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["encoder-frontier.png", "encoder.md"]
    page = (out / "encoder.md").read_text(encoding="utf-8")
    assert "tiny: 300 documents" in page
    assert "absent was left out" in page
    assert "minilm:nonsense was left out" in page
    headings = re.findall(r"^#+ .*$", page, flags=re.M)
    assert len(headings) == len(set(headings)) == 10
    number = r"[\d,.]+ \| [\d,.]+ \| \d\.\d{4} \| \d\.\d{4}"
    for label in (r"\*\*minilm\*\*, CRISP c8", r"\*\*minilm\*\*, post-hoc Ward c33%"):
        assert re.search(rf"^\| {label} \| {number} \| [+-]\d+\.\d% \|$", page, flags=re.M), label
    assert re.search(rf"^\| \*\*minilm\*\*, 384 dimensions \| {number} \|  \|$", page, flags=re.M)
    assert re.search(r"^\| BM25 \(bm25s, stems\) \|  \|  \| \d\.\d{4} \|", page, flags=re.M)
    assert re.search(r"^\| minilm \| [\d.]+ \| [\d.]+ \| 1\.00 \|", page, flags=re.M)
    assert str(place.data) not in page
    assert str(tmp_path) not in page
    capsys.readouterr()
    assert main(arguments) == 0
    assert "rank minilm: measured before" in capsys.readouterr().err


def test_no_collection_at_all_is_an_error(tmp_path, capsys, in_process):
    assert main(["--data", str(tmp_path), "--cache", str(tmp_path / "cache"), "--collections", "absent"]) == 1
    assert re.search(r"error: no collection can be measured: .*holds no collection", capsys.readouterr().err)


def test_a_process_of_its_own_measures_the_same(place, tiny):
    job = Job("bm25", "tiny")
    assert perform(job, place) == worker.run(job, place)
    assert "holds no collection" in perform(Job("open", "absent"), place)["absent"]


def test_encoders_that_cannot_be_loaded_are_named(place, encoded, in_process):
    lines = []
    made, absent = encode_all([place.encoder, "minilm:nonsense"], ["tiny"], place, lines.append)
    assert list(made) == [place.encoder]
    assert list(absent) == ["minilm:nonsense"]
    found = planned(Plan(place.encoder), ["tiny"], made)
    assert [item.job.task for item in found] == ["bm25", "rank", "fold", "speed"]
    assert all(item.weight > 0 and code_of(item.job) for item in found)
    assert planned(Plan("minilm:nonsense"), ["tiny"], {})[0].job.task == "bm25"


def report(figures, collections=("a", "b")):
    """One of an encoder `own` of 128 dimensions, given nDCG@10 by variant, one figure a collection."""
    found = [(Job("bm25", name), {"ndcg": 0.25}) for name in collections]
    for number, name in enumerate(collections):
        rows = [
            {"variant": str(variant), "ndcg": values[number], "vectors": 2.0, "bytes": 264.0}
            for variant, values in figures.items()
            if number < len(values)
        ]
        found.append((Job("rank", name, "/x/own"), {"rows": rows}))
    return Report(Plan("/x/own"), found, {"/x/own": 128}, {name: name for name in collections}, {})


def test_changes_are_against_the_same_vectors_unpooled():
    few = Variant(128, "k-means", "c8")
    made = report({Variant(128): (0.5, 0.3), few: (0.4, 0.38), Variant(64): (0.9, 0.9)})
    system = System("/x/own", few)
    assert made.mean(system) == pytest.approx(0.39)
    assert made.change(system) == pytest.approx(-0.025)
    assert made.change(System("/x/own", Variant(128))) is None
    assert made.mean(BM25) == 0.25
    assert made.label(system) == "**own**, CRISP c8"
    assert made.label(System("/x/own", Variant(128, "ward", "c33%"))) == "**own**, post-hoc Ward c33%"


def test_pages_tell_nothing_of_the_disk():
    assert without_folder("no folder '/home/me/own' here", "/home/me/own") == "no folder 'own' here"
    assert without_folder("no model latefold", "latefold") == "no model latefold"


def test_a_mean_needs_every_collection():
    few = Variant(128, "ward", "c8")
    made = report({Variant(128): (0.5, 0.3), few: (0.4,)})
    assert made.mean(System("/x/own", few)) is None
    assert made.change(System("/x/own", few)) is None
    assert made.figures(System("/x/own", few))["a"]["ndcg"] == 0.4
