"""Item vectors keep what the scores say, and estimates from anchors are those of CUR."""

from __future__ import annotations

import numpy as np
import pytest
from judged import estimates, low_rank

from latefold.encoders.errors import InvalidInputError
from latefold.retrieval.cur.anchors import choose_anchors
from latefold.retrieval.cur.items import ItemVectors
from latefold.retrieval.cur.regression import Regression

NEAR = Regression(ridge=1e-6)
PINV = Regression(rcond=1e-6)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("regression", [NEAR, PINV], ids=["ridge", "pinv"])
def test_estimates_are_exact_when_the_matrix_has_low_rank(rng, centred: bool, regression: Regression) -> None:
    _, items, matrix = low_rank(rng, 80, 500, 12)
    matrix = matrix + rng.standard_normal((80, 1)).astype(np.float32) * 20  # each query has a level of its own
    new = (rng.standard_normal(12) @ items.T + 33).astype(np.float32)
    fitted = ItemVectors.fit(matrix, rcond=1e-6, centred=centred)
    assert fitted.vectors.shape == (500, 12 if centred else 13)
    anchors = rng.permutation(500)[:40]
    found = estimates(fitted, anchors, new[anchors], regression)
    np.testing.assert_allclose(found, new, atol=2e-3 * np.abs(new).max())
    assert found.dtype == np.float32


def test_estimates_equal_the_formula_of_anncur(rng) -> None:
    _, _, matrix = low_rank(rng, 50, 200, 20, noise=0.5)
    anchors, scores = rng.permutation(200)[:15], rng.standard_normal(15).astype(np.float32)
    fitted = ItemVectors.fit(matrix, rank=None, rcond=0, centred=False)
    wanted = scores @ np.linalg.pinv(matrix[:, anchors].astype(np.float64)) @ matrix
    plain = Regression(rcond=1e-9, intercept=False)
    np.testing.assert_allclose(estimates(fitted, anchors, scores, plain), wanted, atol=1e-3)
    part = matrix[:, anchors].astype(np.float64)
    penalty = 0.3 * np.square(matrix, dtype=np.float64).sum() / 200
    ridge = scores @ np.linalg.solve(part.T @ part + penalty * np.eye(15), part.T) @ matrix
    own = Regression(ridge=0.3, intercept=False)
    np.testing.assert_allclose(estimates(fitted, anchors, scores, own), ridge, atol=1e-3)


@pytest.mark.parametrize("centred", [True, False])
def test_the_anchors_get_their_own_scores_back(rng, centred: bool) -> None:
    _, _, matrix = low_rank(rng, 60, 100, 60)
    fitted, anchors = ItemVectors.fit(matrix, centred=centred), rng.permutation(100)[:25]
    scores = rng.standard_normal(25).astype(np.float32) * 7
    np.testing.assert_allclose(estimates(fitted, anchors, scores, NEAR)[anchors], scores, atol=1e-3)


def test_the_order_of_anchors_does_not_matter(rng) -> None:
    _, _, matrix = low_rank(rng, 40, 90, 10, noise=0.2)
    fitted, anchors, scores = ItemVectors.fit(matrix), rng.permutation(90)[:30], rng.standard_normal(30)
    order = rng.permutation(30)
    one = estimates(fitted, anchors, scores.astype(np.float32), Regression())
    two = estimates(fitted, anchors[order], scores[order].astype(np.float32), Regression())
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_vectors_are_the_best_of_their_rank(rng) -> None:
    _, _, matrix = low_rank(rng, 30, 80, 30)
    fitted = ItemVectors.fit(matrix, rank=7, centred=False)
    singular = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(fitted.vectors, axis=0), singular[:7], rtol=1e-4)
    assert fitted.scale == pytest.approx(np.square(singular[:7]).sum() / 80, rel=1e-4)


def test_many_items_are_read_in_blocks(rng, monkeypatch) -> None:
    _, _, matrix = low_rank(rng, 10, 100, 5, noise=0.1)
    whole = ItemVectors.fit(matrix)
    monkeypatch.setattr("latefold.retrieval.cur.items._BLOCK", 33)
    blocks = ItemVectors.fit(matrix)
    np.testing.assert_allclose(blocks.vectors, whole.vectors, atol=1e-4)
    np.testing.assert_allclose(blocks.means, whole.means, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 0), (1, 1), (5, 4)])
def test_constant_scores_leave_nothing_to_learn(shape: tuple[int, int]) -> None:
    fitted = ItemVectors.fit(np.full(shape, 4.5))
    assert fitted.vectors.shape == (shape[1], 0)
    assert (len(fitted), fitted.scale) == (shape[1], 0.0)


@pytest.mark.parametrize(
    "matrix", [np.zeros((0, 3)), np.zeros(3), np.array([[np.nan]]), np.array([[1e39]]), np.array([[-np.inf, 0]])]
)
def test_unusable_scores_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InvalidInputError):
        ItemVectors.fit(matrix)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="2 means for 3 vectors"):
        ItemVectors(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(InvalidInputError, match="finite"):
        ItemVectors(np.zeros((1, 2)), np.array([np.inf]))
    with pytest.raises(InvalidInputError, match="rank 0"):
        ItemVectors.fit(np.ones((2, 2)), rank=0)


@pytest.mark.parametrize("choice", ["random", "k-means", "pivoted"])
@pytest.mark.parametrize(("items", "count"), [(50, 7), (50, 20), (5, 9), (0, 3), (1, 1)])
def test_anchors_are_distinct_and_the_same_each_time(rng, choice: str, items: int, count: int) -> None:
    vectors = rng.standard_normal((items, 6)).astype(np.float32)
    chosen = choose_anchors(vectors, count, choice, seed=3)
    assert len(set(chosen.tolist())) == len(chosen) == min(items, count)
    assert set(chosen.tolist()) <= set(range(items))
    np.testing.assert_array_equal(chosen, choose_anchors(vectors, count, choice, seed=3))


@pytest.mark.parametrize("choice", ["random", "k-means", "pivoted"])
@pytest.mark.parametrize("dims", [0, 4])
def test_equal_items_can_be_anchors(choice: str, dims: int) -> None:
    chosen = choose_anchors(np.ones((9, dims), np.float32), 5, choice)
    assert len(set(chosen.tolist())) == 5


def test_pivots_are_those_of_qr_with_column_pivoting(rng) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    vectors = rng.standard_normal((40, 8)).astype(np.float32)
    pivots = linalg.qr(vectors.T.astype(np.float64), mode="r", pivoting=True)[1]
    assert choose_anchors(vectors, 8, "pivoted").tolist() == pivots[:8].tolist()


def test_central_anchors_are_nearer_to_the_items_than_others(rng) -> None:
    vectors = (np.repeat(rng.standard_normal((6, 10)) * 5, 30, axis=0) + rng.standard_normal((180, 10))).astype("f4")

    def distance(anchors: np.ndarray) -> float:
        return float(np.linalg.norm(vectors[:, None] - vectors[anchors], axis=2).min(axis=1).mean())

    others = [distance(choose_anchors(vectors, 6, "random", seed)) for seed in range(20)]
    assert distance(choose_anchors(vectors, 6, "k-means")) < min(others)


def test_seeds_choose_differently(rng) -> None:
    vectors = rng.standard_normal((100, 4)).astype(np.float32)
    assert choose_anchors(vectors, 10, "random", 1).tolist() != choose_anchors(vectors, 10, "random", 2).tolist()


@pytest.mark.parametrize(("count", "choice"), [(0, "random"), (3, "best")])
def test_unknown_choices_are_refused(count: int, choice: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot choose"):
        choose_anchors(np.zeros((3, 2), np.float32), count, choice)
