import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.encodings.carving import carve


def unit(rng, lengths, dim=6, spread=1.0):
    vectors = np.ones(dim) / spread + rng.standard_normal((sum(lengths), dim))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenEmbeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), offsets)


def maxsim(query, document):
    return (query @ document.T).max(axis=1).sum() if len(query) else 0.0


def slow_carve(vectors, threshold):
    left, groups = list(vectors), []
    while left:
        near = [v @ left[0] >= threshold for v in left[1:]]
        groups.append(np.sum([left[0], *(v for v, taken in zip(left[1:], near, strict=True) if taken)], axis=0))
        left = [v for v, taken in zip(left[1:], near, strict=True) if not taken]
    return np.array(groups).reshape(-1, vectors.shape[1])


queries = st.lists(st.integers(0, 20), min_size=1, max_size=4)


@settings(deadline=None)
@given(queries, st.floats(-1, 1), st.integers(0, 2**32 - 1))
def test_groups_are_those_of_the_greedy_rule(lengths, threshold, seed):
    tokens = unit(np.random.default_rng(seed), lengths)
    carved = carve(tokens, threshold)
    assert len(carved) == len(tokens)
    for group, item in zip(carved, tokens, strict=True):
        np.testing.assert_allclose(group, slow_carve(item, threshold), atol=1e-5)


@settings(deadline=None)
@given(queries, st.integers(1, 20), st.floats(-1, 1.1), st.integers(0, 2**32 - 1))
def test_maxsim_of_a_carved_query_is_at_most_that_of_the_whole(lengths, length, threshold, seed):
    rng = np.random.default_rng(seed)
    tokens, document = unit(rng, lengths, spread=0.3), unit(rng, [length])[0]
    for whole, carved in zip(tokens, carve(tokens, threshold), strict=True):
        assert maxsim(carved, document) <= maxsim(whole, document) + 1e-4


def test_equal_where_groups_agree_on_their_best_token():
    rng = np.random.default_rng(1)
    document = np.eye(6, dtype=np.float32)
    tokens = TokenEmbeddings.from_list([np.repeat(document[:3], 4, axis=0) + 0.01 * rng.standard_normal((12, 6))])
    carved = carve(tokens, 0.7)
    assert carved.lengths.tolist() == [3]
    assert maxsim(carved[0], document) == pytest.approx(maxsim(tokens[0], document), rel=1e-6)


def test_nothing_changes_above_the_largest_product():
    tokens = unit(np.random.default_rng(2), [5, 0, 32], spread=0.1)
    carved = carve(tokens, 1.001)
    np.testing.assert_array_equal(carved.vectors, tokens.vectors)
    np.testing.assert_array_equal(carved.offsets, tokens.offsets)


def test_everything_in_one_group_is_the_sum():
    tokens = unit(np.random.default_rng(3), [7, 0, 1])
    carved = carve(tokens, -2)
    assert carved.lengths.tolist() == [1, 0, 1]
    np.testing.assert_allclose(carved[0][0], tokens[0].sum(axis=0), atol=1e-5)


def test_several_threads_carve_the_same(monkeypatch):
    from latefold.index.kernels import jit

    tokens = unit(np.random.default_rng(4), [12, 0, 3, 30, 9])
    alone = carve(tokens, 0.3)
    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(jit, "WORK_PER_THREAD", 1)
    np.testing.assert_array_equal(carve(tokens, 0.3).vectors, alone.vectors)


@pytest.mark.parametrize("threshold", [np.nan, np.inf])
def test_a_threshold_that_is_no_number_is_refused(threshold):
    with pytest.raises(InvalidInputError, match="threshold of ball carving"):
        carve(unit(np.random.default_rng(0), [2]), threshold)
