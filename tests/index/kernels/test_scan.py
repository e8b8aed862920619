import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.index.kernels import scan as module
from latefold.index.kernels.rows import LVQ8, decode
from latefold.index.kernels.scan import lvq8_scores


def random_rows(rng, count, dim):
    rows = rng.integers(0, 256, (count, dim + 4), np.uint8)
    constants = np.stack([-rng.random(count), rng.random(count) / 100], axis=1).astype("<f2")
    rows[:, dim:] = constants.view(np.uint8)
    return rows


def scores_twin(queries, mean, rows):
    return queries.astype(np.float64) @ (decode(rows, len(mean), LVQ8) + mean).T.astype(np.float64)


def assert_close(scores, queries, mean, rows):
    exact = scores_twin(queries, mean, rows)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(decode(rows, len(mean), LVQ8) + mean, axis=1)
    assert scores.shape == exact.shape
    assert (np.abs(scores - exact) <= 1e-5 * lengths + 1e-6).all()


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(0, 7), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_kernel_equals_its_twin(query_count, count, dim, seed):
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((query_count, dim)).astype(np.float32)
    mean = rng.standard_normal(dim).astype(np.float32)
    rows = random_rows(rng, count, dim)
    assert_close(lvq8_scores(queries, mean, rows), queries, mean, rows)


@pytest.mark.parametrize("queries", [1, 3, 40])
def test_long_vectors_lose_no_precision(queries):
    rng = np.random.default_rng(0)
    rows, mean = random_rows(rng, 501, 10_240), rng.standard_normal(10_240).astype(np.float32)
    asked = rng.standard_normal((queries, 10_240)).astype(np.float32)
    assert_close(lvq8_scores(asked, mean, rows), asked, mean, rows)


def test_passes_over_groups_of_queries_equal_one_pass(monkeypatch):
    rng = np.random.default_rng(0)
    rows, queries = random_rows(rng, 11, 64), rng.standard_normal((16, 64)).astype(np.float32)
    whole = lvq8_scores(queries, np.zeros(64, np.float32), rows)
    monkeypatch.setattr(module, "QUERY_BYTES", 8 * 64 * 4)
    np.testing.assert_array_equal(lvq8_scores(queries, np.zeros(64, np.float32), rows), whole)


def test_several_threads_score_the_same(three_threads):
    rng = np.random.default_rng(1)
    rows, mean = random_rows(rng, 50, 33), np.zeros(33, np.float32)
    queries = rng.standard_normal((6, 33)).astype(np.float32)
    assert_close(lvq8_scores(queries, mean, rows), queries, mean, rows)


@pytest.mark.parametrize("positions", [[-1], [5], [0, 2**40]])
def test_positions_outside_are_refused(positions):
    rows = random_rows(np.random.default_rng(0), 5, 8)
    with pytest.raises(InvalidInputError, match="0 to 4"):
        lvq8_scores(np.zeros((1, 8), np.float32), np.zeros(8, np.float32), rows, np.array(positions))
