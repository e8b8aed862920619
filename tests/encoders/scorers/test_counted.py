"""Counting cannot be got around, budgets cannot be exceeded, and what is no score is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import CallBudgetError, InvalidInputError, ScorerError
from latefold.encoders.scorers.base import CallableScorer, Scorer, as_scorer
from latefold.encoders.scorers.counted import CountedScorer

PAIR = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))


class Lengths:
    """A callable scorer that notes what it was asked."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, pairs: list[tuple[str, str]]) -> list[float]:
        self.batches.append(len(pairs))
        return [ord(a) + 256.0 * ord(b) for a, b in pairs]


@given(st.lists(st.lists(PAIR, max_size=12), max_size=6), st.none() | st.integers(0, 25), st.integers(1, 5))
def test_what_the_scorer_is_asked_is_counted_and_bounded(requests, limit: int | None, batch: int) -> None:
    inner = Lengths()
    counted = CountedScorer(inner, limit, batch=batch)
    for pairs in requests:
        before = counted.calls
        try:
            scores = counted.score(pairs)
        except CallBudgetError:
            assert limit is not None
            assert before + len(set(pairs)) > limit
            assert counted.calls == before
        else:
            assert scores.tolist() == [ord(a) + 256.0 * ord(b) for a, b in pairs]
            assert counted.calls == before + len(set(pairs))
        assert counted.calls == sum(inner.batches)
        assert limit is None or (counted.calls <= limit and counted.left == limit - counted.calls)
    assert max(inner.batches, default=0) <= batch


def test_a_failed_call_stays_counted() -> None:
    def fail(pairs: list) -> list:
        raise OSError("no network")

    counted = CountedScorer(fail, 5, batch=2)
    with pytest.raises(OSError, match="no network"):
        counted.score([("q", str(i)) for i in range(5)])
    assert (counted.calls, counted.left) == (2, 3)


def test_several_threads_share_one_budget() -> None:
    inner, refused = Lengths(), []
    counted, barrier = CountedScorer(inner, 50), threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for i in range(10):
            try:
                counted.score([(chr(97 + number), chr(97 + i))])
            except CallBudgetError:
                refused.append(i)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert (sum(inner.batches), counted.calls, len(refused)) == (50, 50, 30)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([np.nan, 1.0], "answered nan for pair 0"),
        ([1.0, -np.inf], "answered -inf for pair 1"),
        ([1.0, 1e39], "answered inf for pair 1"),
        ([1.0], r"shape \(1,\) for 2 pairs"),
        ([[1.0, 2.0], [3.0, 4.0]], r"shape \(2, 2\) for 2 pairs"),
        (["high", "low"], "other than numbers"),
        (None, "shape"),
    ],
)
def test_what_is_no_score_is_refused(answer: object, message: str) -> None:
    for scorer in (CountedScorer(lambda _: answer), CallableScorer(lambda _: answer, "mine")):
        with pytest.raises(ScorerError, match=message):
            scorer.score([("q", "a"), ("q", "b")])


def test_scores_are_float32_and_a_column_is_taken_as_scores() -> None:
    scores = CountedScorer(lambda pairs: np.arange(len(pairs), dtype=np.int64)[:, None]).score([("q", "a"), ("q", "b")])
    assert (scores.dtype, scores.tolist()) == (np.float32, [0, 1])
    scores[:] = 7  # the caller's own copy
    assert CountedScorer(Lengths()).score([]).shape == (0,)


@pytest.mark.parametrize("pairs", ["ab", [("q",)], [("q", "a", "b")], [("q", 1)], ["ab"], [("q", None)]])
def test_what_is_no_pair_is_refused_before_it_costs_anything(pairs: object) -> None:
    inner = Lengths()
    counted = CountedScorer(inner, 5)
    with pytest.raises(InvalidInputError):
        counted.score(pairs)
    assert (counted.calls, inner.batches) == (0, [])


def test_any_callable_is_a_scorer_and_nothing_else() -> None:
    named = CallableScorer(Lengths(), "lengths")
    assert as_scorer(named) is named
    assert isinstance(as_scorer(Lengths()), Scorer)
    assert (named.fingerprint, as_scorer(Lengths()).fingerprint) == ("callable:lengths", "")
    assert CountedScorer(named).fingerprint == "callable:lengths"
    with pytest.raises(InvalidInputError, match="got <class 'int'>"):
        as_scorer(3)


@pytest.mark.parametrize("values", [{"limit": -1}, {"batch": 0}])
def test_settings_out_of_range_are_refused(values: dict) -> None:
    with pytest.raises(InvalidInputError, match="expected at least"):
        CountedScorer(Lengths(), **values)


def test_counters_can_be_nested() -> None:
    total = CountedScorer(Lengths(), 7)
    for limit, left in ((4, 3), (4, 3)):
        own = CountedScorer(total, limit)
        if total.left == 7:
            own.score([("q", str(i)) for i in "abcd"])
        else:
            with pytest.raises(CallBudgetError):
                own.score([("q", str(i)) for i in "efgh"])
        assert total.left == left


def test_counting_does_not_ask_for_the_fingerprint() -> None:
    class Slow:
        @property
        def fingerprint(self) -> str:
            raise AssertionError("all weights were read")

        def score(self, pairs: list) -> list[float]:
            return [0.5] * len(pairs)

    assert CountedScorer(Slow()).score([("q", "a")]).tolist() == [0.5]
