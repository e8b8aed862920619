"""ANNCUR, ADACUR and AXN: budgets hold, answers are exact and never worse than reranking, and seeds decide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import TableScorer, estimates, judge_of, low_rank, texts_of

from latefold.encoders.errors import InvalidInputError, ScorerError
from latefold.retrieval.cur.anchors import choose_anchors
from latefold.retrieval.cur.items import ItemVectors, highest
from latefold.retrieval.cur.judge import Judge, Reranked
from latefold.retrieval.cur.regression import Regression
from latefold.retrieval.cur.rounds import Plan, Surface
from latefold.retrieval.cur.search import AnchorIndex, adacur, axn

Method = Callable[..., Reranked]


def world(seed: int, items: int, *, queries: int = 30, rank: int = 6, noise: float = 0.3):
    """Item vectors of both kinds, a query vector, and the exact scores of that query, at another scale than these."""
    rng = np.random.default_rng(seed)
    left, right, scores = low_rank(rng, queries + 1, items, rank, noise)
    scores = 3 * scores - 11
    first = right + 0.3 * rng.standard_normal(right.shape).astype(np.float32)
    return ItemVectors.fit(scores[:-1]), ItemVectors(first), left[-1], scores[-1]


def method(name: str, cur: ItemVectors, vectors: ItemVectors, query: np.ndarray, plan: Plan) -> Method:
    if name == "anncur":
        anchors = np.arange(len(cur))[::3]
        return lambda judge, allowed=None: AnchorIndex(cur, anchors).search(judge, allowed=allowed)
    if name == "adacur":
        return lambda judge, allowed=None: adacur(judge, cur, plan=plan, allowed=allowed)
    return lambda judge, allowed=None: axn(judge, vectors, query, plan=plan, allowed=allowed)


METHODS = ["anncur", "adacur", "axn"]
PLANS = st.builds(
    Plan,
    rounds=st.integers(1, 6),
    first=st.none() | st.integers(1, 30),
    reserved=st.sampled_from([0.0, 0.3, 0.9]),
    sampling=st.sampled_from(["top", "softmax"]),
    temperature=st.sampled_from([0.1, 5.0]),
    seed=st.integers(0, 99),
)


@pytest.mark.parametrize("name", METHODS)
@given(seed=st.integers(0, 999), items=st.integers(0, 40), budget=st.integers(1, 50), plan=PLANS, closed=st.booleans())
def test_budgets_hold_and_every_answer_is_exact(name, seed, items, budget, plan, closed) -> None:
    cur, vectors, query, scores = world(seed, items)
    allowed = np.arange(items) % 4 > 0 if closed else None
    judge, scorer = judge_of(scores, budget)
    result = method(name, cur, vectors, query, plan)(judge, allowed)
    possible = set(range(items) if allowed is None else np.flatnonzero(allowed).tolist())
    assert set(result.rows.tolist()) <= possible
    assert result.calls == judge.calls == len(scorer.pairs) == len(set(scorer.pairs)) == len(set(result.rows.tolist()))
    assert result.calls == min(budget, len(possible))
    np.testing.assert_array_equal(result.scores, scores[result.rows])
    assert (np.diff(result.scores) <= 0).all()
    assert result.rounds == len(scorer.batches) <= plan.rounds + 1
    again = method(name, cur, vectors, query, plan)(judge_of(scores, budget)[0], allowed)
    np.testing.assert_array_equal(again.rows, result.rows)


@pytest.mark.parametrize("name", ["adacur", "axn"])
@given(seed=st.integers(0, 999), plan=PLANS, share=st.integers(1, 20), budget=st.integers(20, 40))
def test_never_worse_than_reranking_the_candidates_it_was_given(name, seed, plan, share, budget) -> None:
    cur, vectors, query, scores = world(seed, 60)
    first = np.random.default_rng(seed).permutation(60)[:share]
    plan = Plan(plan.rounds, share, plan.reserved, plan.sampling, plan.temperature, plan.seed)
    judge, _ = judge_of(scores, budget)
    adaptive = name == "adacur"
    result = adacur(judge, cur, first, plan=plan) if adaptive else axn(judge, vectors, query, first, plan=plan)
    reranked = np.sort(scores[first])[::-1]
    assert set(first.tolist()) <= set(result.rows.tolist())
    assert (result.scores[:share] >= reranked).all()


def test_one_round_of_axn_is_retrieve_and_rerank() -> None:
    _, vectors, query, scores = world(1, 300)
    result = axn(judge_of(scores, 50)[0], vectors, query, plan=Plan(rounds=1))
    retrieved = np.argsort(-(vectors.vectors @ query), kind="stable")[:50]
    assert result.rows.tolist() == retrieved[np.argsort(-scores[retrieved], kind="stable")].tolist()
    assert result.rounds == 1


def test_one_adaptive_round_is_anncur() -> None:
    cur, _, _, scores = world(2, 200)
    anchors = np.random.default_rng(0).permutation(200)[:20]
    fixed = AnchorIndex(cur, anchors).search(judge_of(scores, 60)[0])
    adaptive = adacur(judge_of(scores, 60)[0], cur, anchors, plan=Plan(rounds=1, first=20))
    np.testing.assert_array_equal(fixed.rows, adaptive.rows)
    guesses = estimates(cur, anchors, scores[anchors], Regression())
    guesses[anchors] = -np.inf
    wanted = set(anchors.tolist()) | set(np.argsort(-guesses)[:40].tolist())
    assert set(fixed.rows.tolist()) == wanted
    assert (fixed.calls, fixed.rounds) == (60, 2)


@pytest.mark.parametrize("budget", [1, 2, 7, 19, 20])
def test_anncur_with_fewer_calls_than_anchors_keeps_half_for_the_answer(budget: int) -> None:
    cur, _, _, scores = world(3, 100)
    judge, scorer = judge_of(scores, budget)
    AnchorIndex(cur, np.arange(20)).search(judge)
    assert scorer.batches == [-(-budget // 2), budget // 2][: min(budget, 2)]


@pytest.mark.parametrize("choice", ["random", "k-means", "pivoted"])
def test_anncur_finds_all_where_the_scores_have_low_rank(rng, choice: str) -> None:
    _, _, scores = low_rank(rng, 61, 400, 10)
    items = ItemVectors.fit(scores[:-1])
    index = AnchorIndex(items, choose_anchors(items.vectors, 24, choice))
    result = index.search(judge_of(scores[-1], 44)[0], regression=Regression(ridge=1e-6))
    assert result.rows[:20].tolist() == np.argsort(-scores[-1])[:20].tolist()


@pytest.mark.parametrize("name", ["adacur", "axn"])
def test_adaptive_rounds_find_more_than_reranking_at_the_same_calls(name: str) -> None:
    found = []
    for seed in range(8):
        cur, vectors, query, scores = world(seed, 600, queries=60, rank=12)
        query = query + np.random.default_rng(seed).standard_normal(12).astype(np.float32)
        best = set(np.argsort(-scores)[:30].tolist())
        plain = axn(judge_of(scores, 60)[0], vectors, query, plan=Plan(rounds=1))
        judge = judge_of(scores, 60)[0]
        first = np.argsort(-(vectors.vectors @ query))
        adaptive = adacur(judge, cur, first) if name == "adacur" else axn(judge, vectors, query)
        found.append([len(best & set(result.rows.tolist())) for result in (plain, adaptive)])
    plain, adaptive = np.sum(found, axis=0)
    assert adaptive > 1.3 * plain > 0


def test_axn_does_not_depend_on_the_scale_of_the_scorer() -> None:
    _, vectors, query, scores = world(5, 200)
    one = axn(judge_of(scores, 60)[0], vectors, query)
    two = axn(judge_of(64 * scores + 4096, 60)[0], vectors, query)
    assert set(one.rows.tolist()) == set(two.rows.tolist())


def test_a_first_stage_that_is_wrong_is_not_followed() -> None:
    _, vectors, query, scores = world(6, 400)
    best, plan = set(np.argsort(-scores)[:20].tolist()), Plan(rounds=10)
    result = axn(judge_of(scores, 120)[0], vectors, -query, np.arange(12), plan=plan)
    blind = axn(judge_of(scores, 120)[0], vectors, -query, plan=Plan(rounds=1))
    assert len(best & set(result.rows.tolist())) >= 18 > 2 >= len(best & set(blind.rows.tolist()))


@pytest.mark.parametrize(("slope", "kept"), [(2.5, 2.5), (0.0, 0.0), (-2.5, 0.0)])
def test_a_prior_is_scaled_to_the_scores_but_never_turned_round(rng, slope: float, kept: float) -> None:
    prior = rng.standard_normal(50).astype(np.float32)
    surface = Surface(ItemVectors(np.zeros((50, 0)), prior), Regression(), 10, scaled=True)
    surface.add(np.arange(10), slope * prior[:10] + 7)
    level = 7 + (slope - kept) * prior[:10].mean()
    np.testing.assert_allclose(surface.estimate(), kept * prior + level, atol=1e-5)


def test_a_reserved_share_is_spent_on_the_likeliest_at_the_end() -> None:
    cur, _, _, scores = world(7, 300)
    judge, scorer = judge_of(scores, 100)
    adacur(judge, cur, plan=Plan(rounds=4, reserved=0.4, sampling="softmax", temperature=100.0))
    assert scorer.batches == [15, 15, 15, 15, 40]
    explored = np.array([int(row) for _, row in scorer.pairs[:60]])
    guesses = estimates(cur, explored, scores[explored], Regression())
    guesses[explored] = -np.inf
    assert {int(row) for _, row in scorer.pairs[60:]} == set(np.argsort(-guesses)[:40].tolist())


def test_softmax_follows_the_estimates_when_cold_and_chance_when_hot() -> None:
    cur, _, _, scores = world(8, 500)

    def drawn(temperature: float, seed: int) -> float:
        plan = Plan(rounds=3, sampling="softmax", temperature=temperature, seed=seed)
        return float(adacur(judge_of(scores, 90)[0], cur, np.arange(30), plan=plan).scores.mean())

    top = adacur(judge_of(scores, 90)[0], cur, np.arange(30), plan=Plan(rounds=3))
    assert drawn(1e-4, 0) == pytest.approx(float(top.scores.mean()), abs=1e-3)
    assert np.mean([drawn(1e4, seed) for seed in range(5)]) < top.scores.mean() - 3
    assert drawn(1e4, 1) != drawn(1e4, 2)


def test_items_of_equal_text_are_scored_once_and_the_calls_saved_are_spent() -> None:
    _, vectors, query, scores = world(9, 40)
    twice = ItemVectors(np.tile(vectors.vectors, (2, 1)))
    scorer = TableScorer(scores)
    judge = Judge(scorer, "0", texts_of(40) * 2, budget=30)
    result = axn(judge, twice, query, plan=Plan(rounds=5))
    assert result.calls == len(scorer.pairs) == len(set(scorer.pairs)) <= 30 < len(result)
    np.testing.assert_array_equal(result.scores, scores[result.rows % 40])


@pytest.mark.parametrize("name", METHODS)
def test_scores_that_are_all_equal_spend_the_budget_on_anything(name: str) -> None:
    cur, vectors, query, _ = world(10, 50)
    result = method(name, cur, vectors, query, Plan())(judge_of(np.full(50, 2.5), 20)[0])
    assert (result.calls, set(result.scores.tolist())) == (20, {2.5})


@pytest.mark.parametrize("name", METHODS)
def test_item_vectors_without_dimensions_leave_the_prior(name: str) -> None:
    flat = ItemVectors(np.zeros((30, 0)), np.arange(30.0))
    result = method(name, flat, flat, np.zeros(0), Plan())(judge_of(np.arange(30.0), 18)[0])
    assert result.top(3) == [(29, 29.0), (28, 28.0), (27, 27.0)]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [1e-30, 1e38])
def test_scores_of_any_size_can_be_searched(name: str, size: float) -> None:
    cur, vectors, query, scores = world(11, 60)
    scores = (scores / np.abs(scores).max() * size).astype(np.float32)
    result = method(name, cur, vectors, query, Plan())(judge_of(scores, 30)[0])
    assert result.calls == 30


@pytest.mark.parametrize("name", METHODS)
@given(
    seed=st.integers(0, 99),
    powers=st.lists(st.integers(-44, 37), min_size=12, max_size=12),
    ridge=st.sampled_from([1e-6, 1.0]),
    budget=st.integers(1, 15),
)
def test_item_vectors_of_any_length_can_be_searched(name, seed, powers, ridge, budget) -> None:
    rng = np.random.default_rng(seed)
    lengths = 10.0 ** np.array(powers)[:, None]
    items = ItemVectors(np.repeat(rng.uniform(-1, 1, (6, 4)), 2, axis=0) * lengths, rng.standard_normal(12))
    judge, regression = judge_of(rng.standard_normal(12), budget)[0], Regression(ridge=ridge)
    if name == "anncur":
        result = AnchorIndex(items, np.arange(4)).search(judge, regression=regression)
    elif name == "adacur":
        result = adacur(judge, items, regression=regression)
    else:
        result = axn(judge, items, rng.standard_normal(4), regression=regression)
    assert result.calls == min(budget, 12)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_stops_the_search(name: str, bad: float) -> None:
    cur, vectors, query, scores = world(12, 30)
    judge, scorer = judge_of(np.full_like(scores, bad), 10)
    with pytest.raises(ScorerError, match="expected a number"):
        method(name, cur, vectors, query, Plan())(judge)
    assert judge.calls == len(scorer.pairs) <= 10


@given(st.lists(st.floats(-5, 5, width=32) | st.just(-np.inf), max_size=30), st.integers(0, 35))
def test_the_highest_are_those_of_a_stable_sort(values: list[float], k: int) -> None:
    array = np.array(values, np.float32)
    wanted = [row for row in sorted(range(len(values)), key=lambda row: (-array[row], row)) if np.isfinite(array[row])]
    assert highest(array, k).tolist() == wanted[:k]


@pytest.mark.parametrize("first", [[-1], [30], [0, 99]])
def test_first_rows_that_do_not_exist_are_refused(first: list[int]) -> None:
    cur, vectors, query, scores = world(13, 30)
    judge, scorer = judge_of(scores, 5)
    for call in (lambda: adacur(judge, cur, first), lambda: axn(judge, vectors, query, first)):
        with pytest.raises(InvalidInputError, match="there are 30 items"):
            call()
    with pytest.raises(InvalidInputError, match="there are 30 items"):
        AnchorIndex(cur, np.array(first))
    assert scorer.pairs == []


def test_repeated_first_rows_are_scored_once_and_repeated_anchors_refused() -> None:
    cur, _, _, scores = world(14, 30)
    judge, scorer = judge_of(scores, 10)
    adacur(judge, cur, [4, 4, 2, 4], plan=Plan(rounds=2, first=3))
    assert scorer.pairs[:2] == [("0", "4"), ("0", "2")]
    with pytest.raises(InvalidInputError, match="twice"):
        AnchorIndex(cur, np.array([1, 1]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    cur, vectors, query, scores = world(15, 30)
    judge, _ = judge_of(scores, 5)
    with pytest.raises(InvalidInputError, match="5 dimensions"):
        axn(judge, vectors, query[:5])
    with pytest.raises(InvalidInputError, match="finite"):
        axn(judge, vectors, query * np.nan)
    with pytest.raises(InvalidInputError, match="allowed has shape"):
        adacur(judge, cur, allowed=np.ones(29, bool))


@pytest.mark.parametrize(
    "values",
    [
        {"rounds": 0},
        {"first": 0},
        {"reserved": 1.0},
        {"reserved": -0.1},
        {"temperature": 0.0},
        {"temperature": np.inf},
        {"sampling": "best"},
    ],
)
def test_plans_that_mean_nothing_are_refused(values: dict) -> None:
    with pytest.raises(InvalidInputError):
        Plan(**values)
