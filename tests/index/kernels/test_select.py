import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from latefold.index.kernels.select import NO_KEY, best_first, key_of, score_of, select_largest

FLOATS = st.floats(width=32, allow_nan=False).map(lambda x: x + 0.0)


@njit
def keys_of(scores, positions):
    keys = np.empty(len(scores), np.uint64)
    for i in range(len(scores)):
        keys[i] = key_of(scores[i], positions[i])
    return keys


@njit
def scores_of(keys):
    return [score_of(key) for key in keys]


@njit
def select(keys, count, k):
    select_largest(keys, count, k)


@settings(deadline=None)
@given(st.lists(st.tuples(FLOATS, st.integers(0, 2**32 - 1)), min_size=1, max_size=20, unique=True))
def test_keys_order_scores_then_positions(pairs):
    scores, positions = (np.array(column) for column in zip(*pairs, strict=True))
    keys = keys_of(scores.astype(np.float32), positions)
    assert [pairs[i] for i in np.argsort(keys)[::-1]] == sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
    assert scores_of(keys) == scores.tolist()
    assert (keys > NO_KEY).all()


@settings(deadline=None)
@given(st.integers(1, 200), st.data())
def test_selection_brings_the_largest_to_the_front(count, data):
    k = data.draw(st.integers(1, count))
    shape = data.draw(st.sampled_from(["random", "rising", "falling", "organ pipe"]))
    keys = np.random.default_rng(count).permutation(1000)[:count].astype(np.uint64)
    keys = {"rising": np.sort(keys), "falling": np.sort(keys)[::-1].copy(), "random": keys}.get(
        shape, np.concatenate([np.sort(keys)[::2], np.sort(keys)[1::2][::-1]])
    )
    whole = np.append(keys, np.uint64(5000))  # beyond count: stays
    select(whole, count, k)
    assert sorted(whole[:k], reverse=True) == sorted(keys, reverse=True)[:k]
    assert whole[k - 1] == whole[:k].min()
    assert sorted(whole[:count]) == sorted(keys)
    assert whole[count] == 5000


def test_the_best_are_first_and_the_rest_is_empty():
    keys = np.stack([keys_of(np.float32([1, 2, 2, -3]), np.array([9, 8, 7, 0])), np.zeros(4, np.uint64)])
    positions, scores = best_first(keys, 5)
    assert positions.tolist() == [[7, 8, 9, 0, -1], [-1] * 5]
    assert scores.tolist() == [[2, 2, 1, -3, -np.inf], [-np.inf] * 5]
    assert best_first(keys, 2)[0].tolist() == [[7, 8], [-1, -1]]
    assert best_first(keys[:, :0], 1)[0].tolist() == [[-1], [-1]]
    assert best_first(keys, 0)[1].shape == (2, 0)
