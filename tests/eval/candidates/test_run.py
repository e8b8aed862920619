"""From command line to page, and what is kept between runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from latefold.encoders.errors import LatefoldError
from latefold.eval.candidates import run
from latefold.eval.candidates.__main__ import main
from latefold.eval.candidates.run import perform, run_all
from latefold.eval.candidates.worker import Job
from latefold.eval.jobs import Weighed

JOBS = [Weighed(Job("matrix", "tiny", subject), 1.0) for subject in ("mean", "learned")]


def test_results_are_kept_by_vectors_and_code(place, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(run, "perform", lambda job, _: done.append(job.subject) or {"subject": job.subject})
    place = replace(place, cache=tmp_path)
    lines = []

    def measured(digest, *, fresh=False):
        done.clear()
        results = run_all(JOBS, place, {"tiny": digest}, fresh=fresh, report=lines.append)
        assert [result["subject"] for result in results] == ["mean", "learned"]
        return done

    assert measured("a") == ["mean", "learned"]
    assert "min left" in lines[0]
    assert measured("a") == []
    assert "measured before" in lines[-1]
    assert measured("b") == ["mean", "learned"]
    assert measured("a", fresh=True) == ["mean", "learned"]
    for path in (tmp_path / "results").glob("*learned*"):
        path.write_text("{ half")
    assert measured("a") == ["learned"]
    monkeypatch.setattr(run, "code_digest", lambda: "other")
    assert measured("a") == ["mean", "learned"]


def test_a_failed_measurement_says_its_last_words(place):
    with pytest.raises(LatefoldError, match=r"(?s)measuring tiny matrix nonsense failed \(1\).*KeyError: 'nonsense'"):
        perform(Job("matrix", "tiny", "nonsense"), place)


def test_an_absent_collection_is_a_result(place):
    result = perform(Job("prepare", "absent"), place)
    assert "holds no collection" in result["absent"]


def test_writes_page_and_charts(place, corpus, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    out = tmp_path / "reports"
    arguments = ["--data", str(place.data), "--out", str(out), "--cache", str(place.cache), "--encoder", "minilm-128"]
    assert main([*arguments, "--collections", "tiny", "absent", "--quick"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "candidates-bytes.png",
        "candidates-growth.png",
        "candidates-time.png",
        "candidates.md",
    ]
    page = (out / "candidates.md").read_text(encoding="utf-8")
    assert "tiny: 300 documents" in page
    assert "absent was left out" in page
    row = re.search(r"^\| learned, Sphering 256, LVQ-4 \| 132 \| (0\.\d+|1\.000) \|$", page, flags=re.M)
    assert row is not None
    headings = re.findall(r"^#+ .*$", page, flags=re.M)
    assert len(headings) == len(set(headings))
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        if "|" in section and not section.startswith("How"):
            assert "Again: `python -m latefold.eval.candidates" in section
    assert str(place.data) not in page
    assert "matrix learned" in capsys.readouterr().err
    rows = figures(place, "learned")
    assert rows["", "f32"]["recall"]["50"] > figures(place, "mean")["", "f32"]["recall"]["50"]
    assert rows["Sphering 256", "LVQ-4"]["recall"]["50"] > rows["", "f32"]["recall"]["50"] - 0.05
    assert rows["Sphering 256", "f32"]["fitted_loss"] < rows["Sphering 128", "f32"]["fitted_loss"] < 0.1


def figures(place, recipe):
    """Rows of an encoding, by reduction and store."""
    (path,) = (place.cache / "results").glob(f"tiny-matrix-{recipe}-*.json")
    return {(row["reduction"], row["store"]): row for row in json.loads(path.read_text())["rows"]}


def test_no_collection_at_all_is_an_error(tmp_path, capsys):
    arguments = ["--data", str(tmp_path), "--cache", str(tmp_path / "cache"), "--collections", "absent"]
    assert main(arguments) == 1
    assert re.search(r"error: no collection can be measured: .*holds no collection", capsys.readouterr().err)
