"""From command line to page."""

from __future__ import annotations

import re

import pytest

from latefold.encoders.errors import LatefoldError
from latefold.eval import jobs
from latefold.eval.search import run, worker
from latefold.eval.search.__main__ import main
from latefold.eval.search.run import code_of, home, perform
from latefold.eval.search.worker import Job


@pytest.fixture
def in_process(monkeypatch):
    """Jobs run in this process: starting one for each takes longer than the jobs."""

    def perform(_worker, job, place):
        try:
            return worker.run(job, place)
        except LatefoldError as error:
            return {"absent": str(error)}

    monkeypatch.setattr(jobs, "perform", perform)


def test_writes_page_and_charts(place, corpus, tmp_path, capsys, in_process):
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    out = tmp_path / "reports"
    arguments = ["--data", str(place.data), "--out", str(out), "--cache", str(place.cache), "--encoder", "minilm-128"]
    arguments += ["--collections", "tiny", "absent", "--quick"]
    assert main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["search-bytes.png", "search-recall.png", "search.md"]
    page = (out / "search.md").read_text(encoding="utf-8")
    assert "tiny: 300 documents" in page
    assert "absent was left out" in page
    headings = re.findall(r"^#+ .*$", page, flags=re.M)
    assert len(headings) == len(set(headings))
    assert "## Whole search: tiny" in headings
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        if "| ---" in section:
            assert "Again: `python -m latefold.eval.search" in section
    exhaustive = re.search(r"^\| latefold lvq8 \| exhaustive \| ([\d.]+) \|", page, flags=re.M)
    assert float(exhaustive[1]) > 0.95
    assert re.search(r"^\| lvq8 \| 132 \| 0\.\d+ \(\d+\.\d%\) \|", page, flags=re.M)
    assert re.search(r"^\| lvq8 \| 10 \| [\d.]+% \| [\d.]+% \| 100\.0% \|", page, flags=re.M)
    assert str(place.data) not in page
    capsys.readouterr()
    assert main(arguments) == 0
    assert "search (1 thread(s)): measured before" in capsys.readouterr().err


def test_no_collection_at_all_is_an_error(tmp_path, capsys, in_process):
    assert main(["--data", str(tmp_path), "--cache", str(tmp_path / "cache"), "--collections", "absent"]) == 1
    assert re.search(r"error: no collection can be measured: .*holds no collection", capsys.readouterr().err)


def test_a_peer_that_fails_is_absent_and_a_codec_that_fails_is_not(place):
    assert "no engine 'nonsense'" in perform(Job("build", "tiny", "nonsense", homes=("x",)), place)["absent"]
    with pytest.raises(LatefoldError, match=r"(?s)measuring tiny nonsense .*failed \(1\).*KeyError: 'nonsense'"):
        perform(Job("nonsense", "tiny"), place)


def test_peers_are_built_once_whatever_becomes_of_our_code(monkeypatch):
    ours, theirs = Job("build", "tiny", "latefold lvq8"), Job("build", "tiny", "tachiom")
    before = [code_of(job) for job in (ours, theirs)]
    places = [home(job.subject, "digest") for job in (ours, theirs)]
    changed = {**run._CODE, "build": (*run._CODE["build"], "eval/__init__.py")}
    monkeypatch.setattr(run, "_CODE", changed)
    after = [code_of(job) for job in (ours, theirs)]
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert home("tachiom", "digest") == places[1] != home("tachiom", "other")
    assert home("latefold lvq8", "digest") != places[0]
