"""Each way to solve agrees with plain least squares on the augmented system, however the items arrive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.retrieval.cur.regression import DualRidge, PrimalRidge, Regression, TruncatedSvd


def oracle(vectors: np.ndarray, scores: np.ndarray, penalty: float, intercept: bool) -> np.ndarray:
    """`(d + 1,)`: w and c of ridge by `lstsq` of the rows and `sqrt(penalty) I`; c is not penalised."""
    k, d = vectors.shape
    design = np.zeros((k + d, d + 1))
    design[:k, :d] = vectors
    design[:k, d] = intercept
    design[k:, :d] = np.sqrt(penalty) * np.eye(d)
    return np.linalg.lstsq(design, np.concatenate([scores, np.zeros(d)]), rcond=None)[0]


def problem(seed: int, blocks: list[int], dims: int) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((size, dims)) for size in blocks]
    return parts, rng.standard_normal(sum(blocks)) * 5 + 3


BLOCKS = st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 0)


@pytest.mark.parametrize("kind", ["primal", "dual"])
@given(
    seed=st.integers(0, 10**6), blocks=BLOCKS, dims=st.integers(1, 9), intercept=st.booleans(),
    penalty=st.sampled_from([1e-3, 0.1, 10.0]),
)  # fmt: skip
def test_ridge_equals_least_squares_of_the_augmented_system(kind, seed, blocks, dims, intercept, penalty) -> None:
    parts, scores = problem(seed, blocks, dims)
    solver = PrimalRidge(dims, penalty, intercept) if kind == "primal" else DualRidge(dims, penalty, 4, intercept)
    for part in parts:
        solver.add(part)
    w, c = solver.solve(scores)
    wanted = oracle(np.concatenate(parts), scores, penalty, intercept)
    np.testing.assert_allclose([*w, c], wanted if intercept else [*wanted[:-1], 0], rtol=1e-6, atol=1e-7)


@given(seed=st.integers(0, 10**6), blocks=BLOCKS, dims=st.integers(1, 9))
def test_blocks_change_nothing_and_every_round_is_solved(seed: int, blocks: list[int], dims: int) -> None:
    parts, scores = problem(seed, blocks, dims)
    dual, done = DualRidge(dims, 0.1, sum(blocks)), 0
    for part in parts:
        dual.add(part)
        done += len(part)
        if not done:
            continue
        whole = DualRidge(dims, 0.1, done)
        whole.add(np.concatenate(parts)[:done])
        for one, other in zip(dual.solve(scores[:done]), whole.solve(scores[:done]), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_goes_to_the_pseudo_inverse(rng, intercept: bool) -> None:
    vectors, scores = rng.standard_normal((12, 5)), rng.standard_normal(12)
    exact = TruncatedSvd(5, 1e-12, intercept)
    exact.add(vectors)
    wanted = [*exact.solve(scores)[0], exact.solve(scores)[1]]
    np.testing.assert_allclose(wanted, oracle(vectors, scores, 0.0, intercept), atol=1e-10)
    errors = []
    for penalty in (1.0, 1e-2, 1e-4, 1e-6):
        ridge = DualRidge(5, penalty, 12, intercept)
        ridge.add(vectors)
        w, c = ridge.solve(scores)
        errors.append(np.abs(np.subtract([*w, c], wanted)).max())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-5 < errors[0]


def test_the_order_of_items_does_not_matter(rng) -> None:
    vectors, scores, order = rng.standard_normal((20, 6)), rng.standard_normal(20), rng.permutation(20)
    for make in (lambda: PrimalRidge(6, 0.1), lambda: DualRidge(6, 0.1, 20), lambda: TruncatedSvd(6, 1e-3)):
        one, other = make(), make()
        one.add(vectors)
        other.add(vectors[order])
        np.testing.assert_allclose(one.solve(scores)[0], other.solve(scores[order])[0], atol=1e-10)
        np.testing.assert_allclose(one.solve(scores)[1], other.solve(scores[order])[1], atol=1e-10)


def test_small_singular_values_are_left_out(rng) -> None:
    clean = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 8))
    noisy, truth = clean + 1e-6 * rng.standard_normal(clean.shape), rng.standard_normal(8)
    for rcond, steady in ((1e-3, True), (1e-12, False)):
        solver = TruncatedSvd(8, rcond)
        solver.add(noisy)
        w, _ = solver.solve(clean @ truth + 1e-2 * rng.standard_normal(30))
        assert bool(np.linalg.norm(w) < 10 * np.linalg.norm(truth)) is steady


@pytest.mark.parametrize("copies", [2, 5])
def test_duplicate_items_are_no_trouble(rng, copies: int) -> None:
    vectors, scores = np.repeat(rng.standard_normal((3, 8)), copies, axis=0), np.repeat(rng.standard_normal(3), copies)
    solver = DualRidge(8, 1e-6, 4)
    for row in vectors:
        solver.add(row[None])
    w, c = solver.solve(scores)
    np.testing.assert_allclose(vectors @ w + c, scores, atol=1e-3)


def test_without_items_nothing_is_known() -> None:
    for solver in (PrimalRidge(3, 1.0), DualRidge(3, 1.0, 2), TruncatedSvd(3, 0.1)):
        w, c = solver.solve([])
        assert (w.tolist(), c) == ([0, 0, 0], 0)


def test_the_smaller_system_is_solved() -> None:
    assert isinstance(Regression().solver(64, 1.0, 50), DualRidge)
    assert isinstance(Regression().solver(64, 1.0, 500), PrimalRidge)
    assert isinstance(Regression(rcond=1e-2).solver(64, 1.0, 50), TruncatedSvd)


@pytest.mark.parametrize("values", [{"ridge": 0.0}, {"ridge": np.nan}, {"ridge": 1e9}, {"rcond": 0.0}, {"rcond": 1.0}])
def test_values_out_of_range_are_refused(values: dict) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        Regression(**values)


@pytest.mark.parametrize("make", [lambda: PrimalRidge(2, 1e-6, False), lambda: DualRidge(2, 1e-6, 2, False)])
def test_a_penalty_that_is_lost_in_rounding_stops_nothing(make) -> None:
    vectors = np.full((2, 2), 1e10)
    solver = make()
    solver.add(vectors)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(vectors @ vectors.T + 1e-6 * np.eye(2))
    w, _ = solver.solve([3.0, 3.0])
    np.testing.assert_allclose(vectors @ w, [3, 3], rtol=1e-3)
