"""The benchmark of reranking: all scores kept, budgets held, and from command line to page."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cross_encoders import save_cross_encoder

from latefold.encoders.scorers.base import CallableScorer
from latefold.eval.rerank import overhead
from latefold.eval.rerank.__main__ import main
from latefold.eval.rerank.measure import LABELS, Figures
from latefold.eval.rerank.scores import TableScorer, exact_scores
from latefold.eval.rerank.task import open_task


def test_scores_are_made_once_row_by_row(tmp_path) -> None:
    asked = []

    def score(pairs):
        asked.extend(pairs)
        return [len(query) * len(text) for query, text in pairs]

    scorer, texts = CallableScorer(score, "lengths"), ["a", "bb", "ccc"]
    first = exact_scores(tmp_path, scorer, ["x", "yy"], texts)
    np.testing.assert_array_equal(first, [[1, 2, 3], [2, 4, 6]])
    again = exact_scores(tmp_path, scorer, ["yy", "zzz", "x"], texts)
    np.testing.assert_array_equal(again, [[2, 4, 6], [3, 6, 9], [1, 2, 3]])
    assert len(asked) == 9
    exact_scores(tmp_path, CallableScorer(score, "other"), ["x"], texts)
    assert len(asked) == 12


def test_a_table_answers_as_the_scorer_did(rng) -> None:
    table = rng.standard_normal((2, 3)).astype(np.float32)
    scorer = TableScorer("table", ["q", "r"], ["a", "b", "c"], table)
    np.testing.assert_array_equal(scorer.score([("r", "c"), ("q", "a"), ("r", "a")]), table[[1, 0, 1], [2, 0, 0]])


def test_queries_to_learn_from_are_none_of_those_that_judge(place) -> None:
    task = open_task(place.data, "tiny")
    assert not set(task.learned) & set(task.asked.values())
    assert set(task.asked) <= set(task.dataset.qrels)
    assert task.queries == [*task.learned, *task.asked.values()]
    assert open_task(place.data, "tiny").queries == task.queries


def test_writes_page_and_charts(place, tmp_path, capsys, monkeypatch) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    for name, value in {"QUICK_DOCUMENTS": 150, "LEARNED": 9, "QUERIES": 2, "BUDGET": 40}.items():
        monkeypatch.setattr(overhead, name, value)
    out, model = tmp_path / "reports", save_cross_encoder(tmp_path / "tiny-model")
    arguments = ["--data", str(place.data), "--out", str(out), "--cache", str(tmp_path / "cache"), "--quick"]
    arguments += ["--encoder", "minilm-128", "--collections", "tiny", "absent", "--cross-encoder", str(model)]
    assert main(arguments) == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == ["rerank-cross-encoder.png", "rerank-maxsim-384.png", "rerank.md"]
    page = (out / "rerank.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ .*$", page, flags=re.M)
    assert len(headings) == len(set(headings))
    for label in LABELS:
        lines = re.findall(rf"^\| {re.escape(label)} \|(.*)$", page, flags=re.M)
        recalls = [line for line in lines if line.count(".") == 16]
        assert len(recalls) == 2, label
        found = np.array([[float(value) for value in line.replace("|", " ").split()] for line in recalls])
        assert ((found >= 0) & (found <= 1)).all()
        assert (found[:, -4:] == 1).all() == (label != LABELS[0]), "500 calls score all documents but BM25 finds fewer"
    assert re.search(r"^\| axn \| \d \| [\d.]+ \| -?[\d.]+ \|$", page, flags=re.M)
    assert str(tmp_path) not in page
    capsys.readouterr()
    monkeypatch.setattr("latefold.eval.rerank.__main__.Bench", None)
    assert main(arguments) == 0, "what was measured is read again"
    assert "absent is left out" in capsys.readouterr().err


def test_figures_are_kept_whole() -> None:
    stored = {
        "documents": 3, "learned": 1, "asked": 1, "whole": 0.5, "plain": 0.4, "offline": {"dense": 3}, "fit": 0.1,
        "rows": [{"label": "a", "budget": 50, "recall": {"1": 1.0}, "ndcg": 0.5, "calls": 3}],
    }  # fmt: skip
    assert Figures.from_dict(stored).to_dict() == stored


def test_no_collection_at_all_is_an_error(tmp_path, capsys) -> None:
    assert main(["--data", str(tmp_path), "--cache", str(tmp_path / "cache"), "--collections", "absent"]) == 1
    assert "no collection can be measured" in capsys.readouterr().err
