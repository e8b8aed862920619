"""Measures against values computed by hand, and TREC run files."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError, StorageError
from latefold.eval.metrics import Quality, quality, read_run, recall_at_k, write_run


def test_quality_against_hand_computed_values():
    qrels = {"q1": {"a": 1, "b": 1, "c": 0}, "q2": {"a": 2, "b": 1}, "q3": {"z": 1}}
    run = {
        "q1": [("x", 3.0), ("b", 2.0), ("a", 1.0)],
        "q2": [("b", 9.0), ("a", 8.0)],
    }
    ideal_q1 = 1 + 1 / math.log2(3)
    ndcg_q1 = (1 / math.log2(3) + 1 / math.log2(4)) / ideal_q1
    ndcg_q2 = (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))  # linear gain, as trec_eval
    measured = quality(run, qrels)
    assert measured.ndcg_at_10 == pytest.approx((ndcg_q1 + ndcg_q2 + 0) / 3)
    assert measured.recall_at_100 == pytest.approx((1 + 1 + 0) / 3)
    assert measured.mrr_at_10 == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_cutoffs():
    qrels = {"q": {"hit": 1, "late": 1}}
    run = {"q": [(f"x{i}", 0.0) for i in range(10)] + [("hit", 0.0)] + [(f"y{i}", 0.0) for i in range(89)]}
    assert quality({"q": [*run["q"], ("late", 0.0)]}, qrels) == Quality(0.0, 0.5, 0.0)


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_equal_scores_are_judged_in_the_order_given(order):
    measured = quality({"q": [(id_, 0.5) for id_ in order]}, {"q": {"a": 1}})
    assert measured.mrr_at_10 == 1 / (1 + order.index("a"))


def test_recall_at_k_counts_ties_with_the_last_place():
    truth = {"a": 9.0, "b": 8.0, "c": 8.0, "d": 8.0 - 1e-7, "e": 7.0}
    assert recall_at_k(["a", "b"], truth, 2) == 1.0
    assert recall_at_k(["a", "c"], truth, 2) == 1.0
    assert recall_at_k(["a", "d"], truth, 2) == 1.0
    assert recall_at_k(["a", "e"], truth, 2) == 0.5
    assert recall_at_k(["a", "unknown"], truth, 2) == 0.5
    assert recall_at_k(["e", "x", "a", "b"], truth, 2) == 0.0  # only the first k found count


def test_recall_at_k_with_fewer_documents_than_k():
    assert recall_at_k(["a"], {"a": 1.0, "b": 0.5}, 10) == 0.5
    assert recall_at_k([], {}, 10) == 1.0


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(-50, 50, width=32), min_size=1),
    st.integers(1, 12),
)
def test_recall_of_the_truth_itself_is_one(truth, k):
    found = sorted(truth, key=truth.__getitem__, reverse=True)
    assert recall_at_k(found, truth, k) == 1.0


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.dictionaries(ids, st.dictionaries(ids, st.floats(allow_nan=False), min_size=1, max_size=4), max_size=3))
def test_run_file_round_trip(tmp_path_factory, scores):
    path = tmp_path_factory.getbasetemp() / "round-trip.run"
    run = {query: list(found.items()) for query, found in scores.items()}
    write_run(path, run)
    assert read_run(path) == run


def test_run_file_format(tmp_path):
    path = tmp_path / "a.run"
    write_run(path, {"q 1": [("my file.pdf#p3", 2.5), ("100%", 1.0)]}, tag="hybrid")
    assert path.read_text(encoding="utf-8") == (
        "q%201 Q0 my%20file.pdf#p3 1 2.5 hybrid\nq%201 Q0 100%25 2 1.0 hybrid\n"
    )


def test_run_file_errors(tmp_path):
    with pytest.raises(InvalidInputError, match="empty id"):
        write_run(tmp_path / "a.run", {"q": [("", 1.0)]})
    with pytest.raises(StorageError, match=r"no[/\\]a\.run cannot be written: No such file"):
        write_run(tmp_path / "no" / "a.run", {})
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_run(tmp_path / "absent.run")
    path = tmp_path / "bad.run"
    path.write_text("q Q0 d 1 0.5 tag\n\nq Q0 d two 0.5 tag\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"bad\.run, line 3: expected"):
        read_run(path)
    path.write_text("q d 1\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"bad\.run, line 1: expected"):
        read_run(path)
