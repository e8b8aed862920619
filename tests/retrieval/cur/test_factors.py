"""Scores gathered within a budget, and item vectors that agree with them better, on other queries too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import TableScorer, low_rank, texts_of

from latefold.encoders.errors import CallBudgetError, InvalidInputError
from latefold.encoders.scorers.counted import CountedScorer
from latefold.retrieval.cur.collect import SparseScores, collect_scores, score_matrix
from latefold.retrieval.cur.factors import refine_items
from latefold.retrieval.cur.items import ItemVectors


def test_the_matrix_is_that_of_the_scorer(rng) -> None:
    table = rng.standard_normal((3, 7)).astype(np.float32)
    counted = CountedScorer(TableScorer(table), 21)
    made = score_matrix(counted, ["2", "0", "2", "1"], [*texts_of(7), "3"])
    np.testing.assert_array_equal(made, table[[2, 0, 2, 1]][:, [*range(7), 3]])
    assert counted.calls == 21
    assert score_matrix(counted, [], ["1"]).shape == (0, 1)


def test_a_matrix_beyond_the_budget_is_refused_before_the_first_call() -> None:
    scorer = TableScorer(np.zeros((3, 7)))
    with pytest.raises(CallBudgetError, match=r"21 calls .* 20 left"):
        score_matrix(CountedScorer(scorer, 20), texts_of(3), texts_of(7))
    assert scorer.pairs == []


@given(budget=st.none() | st.integers(0, 30), width=st.integers(0, 7))
def test_candidates_are_cut_to_the_budget_evenly(budget: int | None, width: int) -> None:
    table = np.arange(28, dtype=np.float32).reshape(4, 7)
    candidates = np.tile(np.arange(7)[::-1], (4, 1))[:, :width]
    counted = CountedScorer(TableScorer(table), budget)
    made = collect_scores(counted, texts_of(4), texts_of(7), candidates)
    each = width if budget is None else min(width, budget // 4)
    assert made.queries.tolist() == np.repeat(np.arange(4), each).tolist()
    assert made.items.tolist() == np.tile(np.arange(7)[::-1][:each], 4).tolist()
    np.testing.assert_array_equal(made.scores, table[made.queries, made.items])
    assert counted.calls == len(made) == 4 * each


@pytest.mark.parametrize("candidates", [[[0, 9]], [[-1, 0]], [[0], [1]], [0, 1]])
def test_candidates_that_do_not_exist_are_refused(candidates: list) -> None:
    with pytest.raises(InvalidInputError, match="candidates have"):
        collect_scores(CountedScorer(TableScorer(np.zeros((1, 9)))), ["0"], texts_of(9), candidates)


def gathered(rng, *, items: int = 300):
    """A first stage with errors, and exact scores of its 30 best items for each of 120 queries."""
    left, right, scores = low_rank(rng, 160, items, 8, noise=0.1)
    vectors = ItemVectors(right + 0.7 * rng.standard_normal(right.shape))
    found = np.argsort(-(left[:120] @ vectors.vectors.T), axis=1)[:, :30]
    sparse = SparseScores(
        np.repeat(np.arange(120), 30), found.ravel(), 5 * np.take_along_axis(scores[:120], found, 1).ravel() - 9
    )
    return left, scores, vectors, sparse


def test_refined_vectors_agree_better_with_the_scores_of_other_queries(rng) -> None:
    left, scores, vectors, sparse = gathered(rng)
    refined = refine_items(vectors, left[:120], sparse)

    def recall(items: ItemVectors) -> float:
        found = np.argsort(-(left[120:] @ items.vectors.T), axis=1)[:, :20]
        best = np.argsort(-scores[120:], axis=1)[:, :20]
        return float(np.mean([len(set(a) & set(b)) / 20 for a, b in zip(found, best, strict=True)]))

    assert recall(refined.items) > recall(vectors) + 0.05


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 100.0])
def test_the_loss_never_rises_and_is_what_it_says(rng, ridge: float) -> None:
    left, _, vectors, sparse = gathered(rng, items=80)
    made = refine_items(vectors, left[:120], sparse, ridge=ridge, epochs=6)
    assert len(made.losses) == 7
    assert all(after <= before * (1 + 1e-9) for before, after in zip(made.losses, made.losses[1:], strict=False))
    assert made.losses[-1] < made.losses[0]


def test_one_step_is_the_ridge_regression_of_each_item(rng) -> None:
    left, _, vectors, sparse = gathered(rng, items=60)
    made = refine_items(vectors, left[:120], sparse, ridge=0.5, epochs=1)
    first = np.einsum("ij,ij->i", left[sparse.queries], vectors.vectors[sparse.items]).reshape(120, 30)
    own, wanted = (block - block.mean(axis=1, keepdims=True) for block in (sparse.scores.reshape(120, 30), first))
    targets = (first.mean(axis=1, keepdims=True) + own * (np.linalg.norm(wanted) / np.linalg.norm(own))).ravel()
    for item in np.unique(sparse.items)[:10]:
        mine = sparse.items == item
        design, start = made.queries[sparse.queries[mine]].astype(np.float64), vectors.vectors[item]
        gram = design.T @ design + 0.5 * vectors.scale * np.eye(8)
        step = np.linalg.solve(gram, design.T @ (targets[mine] - design @ start))
        np.testing.assert_allclose(made.items.vectors[item], start + step, atol=1e-4)


def test_items_without_scores_stay_and_a_high_ridge_keeps_all(rng) -> None:
    left, _, vectors, sparse = gathered(rng)
    made = refine_items(vectors, left[:120], sparse)
    unseen = np.setdiff1d(np.arange(300), sparse.items)
    assert len(unseen) > 0
    np.testing.assert_array_equal(made.items.vectors[unseen], vectors.vectors[unseen])
    still = refine_items(vectors, left[:120], sparse, ridge=1e9)
    np.testing.assert_allclose(still.items.vectors, vectors.vectors, atol=1e-4)


def test_the_scale_of_the_scorer_does_not_matter(rng) -> None:
    left, _, vectors, sparse = gathered(rng, items=60)
    other = SparseScores(sparse.queries, sparse.items, 16 * sparse.scores + 1024)
    one, two = (refine_items(vectors, left[:120], scores).items.vectors for scores in (sparse, other))
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_what_is_expected_of_items_is_no_part_of_their_vectors(rng) -> None:
    left, right, scores = low_rank(rng, 20, 30, 4)
    means = rng.standard_normal(30).astype(np.float32) * 9
    every = np.indices((20, 30)).reshape(2, -1)
    made = refine_items(ItemVectors(right, means), left, SparseScores(*every, (scores + means).ravel()))
    np.testing.assert_allclose(made.items.vectors, right, atol=1e-4)
    np.testing.assert_array_equal(made.items.means, means)
    assert made.losses[0] == pytest.approx(0, abs=1e-6)


def test_no_scores_and_constant_scores_are_no_trouble(rng) -> None:
    left, right, _ = low_rank(rng, 4, 6, 3)
    nothing = refine_items(ItemVectors(right), left, SparseScores([], [], []))
    np.testing.assert_array_equal(nothing.items.vectors, right)
    flat = refine_items(ItemVectors(right), left, SparseScores([0, 0, 1], [1, 2, 2], [5, 5, 5]))
    assert np.isfinite(flat.items.vectors).all()


@pytest.mark.parametrize(
    ("queries", "items", "scores"),
    [([0], [0, 1], [1.0]), ([-1], [0], [1.0]), ([0], [0], [np.nan]), ([[0]], [[0]], [[1.0]])],
)
def test_sparse_scores_that_are_none_are_refused(queries: list, items: list, scores: list) -> None:
    with pytest.raises(InvalidInputError):
        SparseScores(queries, items, scores)


def test_fits_that_mean_nothing_are_refused(rng) -> None:
    left, right, _ = low_rank(rng, 4, 6, 3)
    items, scores = ItemVectors(right), SparseScores([0], [0], [1.0])
    with pytest.raises(InvalidInputError, match="dimensions"):
        refine_items(items, left[:, :2], scores)
    with pytest.raises(InvalidInputError, match="beyond 4 queries and 6 items"):
        refine_items(items, left, SparseScores([4], [0], [1.0]))
    for options in ({"ridge": 0.0}, {"ridge": np.nan}, {"epochs": -1}):
        with pytest.raises(InvalidInputError, match="expected above 0"):
            refine_items(items, left, scores, **options)
