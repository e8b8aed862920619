"""A judge pays for a text once, never beyond its budget, and hands out what it paid for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import TableScorer, judge_of

from latefold.encoders.errors import CallBudgetError, InvalidInputError, ScorerError
from latefold.encoders.scorers.counted import CountedScorer
from latefold.retrieval.cur.judge import Judge


@given(st.lists(st.lists(st.integers(0, 11), max_size=6), max_size=8), st.integers(1, 9))
def test_any_sequence_of_requests_stays_within_the_budget(requests: list[list[int]], budget: int) -> None:
    scores = np.arange(12, dtype=np.float32) * 3
    judge, scorer = judge_of(scores, budget)
    known: set[int] = set()
    for rows in requests:
        new = set(rows) - known
        if len(known | new) > budget:
            with pytest.raises(CallBudgetError):
                judge.score(rows)
        else:
            np.testing.assert_array_equal(judge.score(rows), scores[rows])
            known |= new
        assert judge.calls == len(scorer.pairs) == len(set(scorer.pairs)) == len(known) <= budget
        assert judge.left == budget - len(known)
    result = judge.result()
    assert result.rows.tolist() == sorted(known, reverse=True)
    np.testing.assert_array_equal(result.scores, scores[result.rows])
    assert result.calls == len(known)


def test_equal_texts_are_paid_for_once_and_all_of_them_are_ranked() -> None:
    scorer = TableScorer(np.array([1.0, 5.0]))
    judge = Judge(scorer, "0", ["0", "1", "0", "1"], budget=2)
    np.testing.assert_array_equal(judge.score([3, 2, 0]), [5, 1, 1])
    np.testing.assert_array_equal(judge.score([1]), [5])
    result = judge.result()
    assert result.top(9) == [(1, 5.0), (3, 5.0), (0, 1.0), (2, 1.0)]
    assert (result.calls, result.rounds, len(result)) == (2, 1, 4)


def test_a_counted_scorer_lends_no_more_than_it_has_left() -> None:
    counted = CountedScorer(TableScorer(np.arange(6.0)), 5)
    first = Judge(counted, "0", [str(i) for i in range(6)], budget=3)
    first.score([0, 1, 2])
    second = Judge(counted, "0", [str(i) for i in range(6)], budget=3)
    assert second.left == 2
    with pytest.raises(CallBudgetError):
        second.score([3, 4, 5])
    assert counted.calls == 3


def test_texts_may_be_read_row_by_row_and_only_those_asked_for() -> None:
    read: list[int] = []

    def texts(rows: np.ndarray) -> list[str]:
        read.extend(rows.tolist())
        return [str(row) for row in rows]

    judge = Judge(TableScorer(np.arange(9.0)), "0", texts, budget=4)
    judge.score([4, 2])
    judge.score([2, 8])
    assert read == [4, 2, 8]


def test_texts_are_scored_in_batches() -> None:
    judge, scorer = judge_of(np.arange(20.0), 20, batch=8)
    judge.score(np.arange(20))
    assert scorer.batches == [8, 8, 4]
    assert judge.result().rounds == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_refused_and_still_counted(bad: float) -> None:
    judge, scorer = judge_of(np.array([1.0, bad, 2.0]), 3)
    with pytest.raises(ScorerError, match="expected a number"):
        judge.score([0, 1])
    assert judge.calls == len(scorer.pairs) == 2
    assert len(judge.result()) == 0


@pytest.mark.parametrize("rows", [[-1], [3]])
def test_rows_that_do_not_exist_are_refused(rows: list[int]) -> None:
    judge, scorer = judge_of(np.zeros(3), 3)
    with pytest.raises(InvalidInputError, match="of 3 texts"):
        judge.score(rows)
    assert scorer.pairs == []


def test_a_reader_that_forgets_a_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="1 texts were read for 2 rows"):
        Judge(TableScorer(np.zeros(3)), "0", lambda _: ["0"], budget=3).score([0, 1])


def test_a_budget_below_one_call_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="budget is 0"):
        judge_of(np.zeros(3), 0)


def test_nothing_scored_is_an_empty_result() -> None:
    result = judge_of(np.zeros(3), 2)[0].result()
    assert (len(result), result.top(5), result.calls, result.rounds) == (0, [], 0, 0)
    assert (result.rows.dtype, result.scores.dtype) == (np.int64, np.float32)
