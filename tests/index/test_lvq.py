import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.lvq import LVQ, error_bound


def steps(rows):
    return np.ascontiguousarray(rows[:, -2:]).view("<f2")[:, 0].astype(np.float64)


def vectors_of(max_value):
    elements = st.floats(-max_value, max_value, width=32)
    return hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=elements)


@settings(deadline=None)
@given(st.sampled_from([2.0**-23, 2.0**-10, 1.0, 30_000.0]).flatmap(vectors_of))
def test_every_coordinate_is_within_half_a_step(vectors):
    lvq = LVQ.fit(vectors)
    rows = lvq.encode(vectors)
    # exact: the differences from the mean are what is quantized
    centred = (vectors - lvq.mean).astype(np.float64)
    decoded = LVQ(np.zeros(lvq.dim, np.float32)).decode(rows).astype(np.float64)
    slack = steps(rows)[:, None] * 2**-14 + np.abs(decoded) * 2**-24
    assert (np.abs(decoded - centred) <= steps(rows)[:, None] / 2 + slack).all()
    assert (np.linalg.norm(decoded - centred, axis=1) <= error_bound(rows)).all()


@settings(deadline=None)
@given(st.sampled_from([2.0**-10, 1.0, 30_000.0]).flatmap(vectors_of))
def test_steps_are_no_wider_than_halves_require(vectors):
    """Rounding `lower` down widens the range by at most one part in 1,024 of it, rounding `step` up the step alike."""
    rows = LVQ(np.zeros(vectors.shape[1], np.float32)).encode(vectors)
    low, high = vectors.min(1).astype(np.float64), vectors.max(1).astype(np.float64)
    widest = (high - low + np.abs(low) / 1024 + 2.0**-24) / 255 * (1 + 1 / 1024) + 2.0**-24
    assert (steps(rows) <= widest).all()


def test_a_constant_vector_that_is_a_half_is_exact():
    vectors = np.array([[0.25] * 7, [0.0] * 7, [-65504.0] * 7], np.float32)
    lvq = LVQ(np.zeros(7, np.float32))
    rows = lvq.encode(vectors)
    assert (rows[:, :7] == 0).all()
    assert (steps(rows) == 0).all()
    np.testing.assert_array_equal(lvq.decode(rows), vectors)
    np.testing.assert_array_equal(lvq.scores(np.ones((1, 7), np.float32), rows), vectors.sum(1)[None])


def test_a_constant_vector_between_halves_is_as_near_as_a_step():
    lvq = LVQ(np.zeros(9, np.float32))
    vectors = np.full((1, 9), 1 / 3, np.float32)
    rows = lvq.encode(vectors)
    assert steps(rows)[0] < 2e-6
    np.testing.assert_allclose(lvq.decode(rows), vectors, atol=1e-6)


def test_a_row_is_codes_then_two_little_endian_halves():
    rows = LVQ(np.zeros(3, np.float32)).encode(np.array([[1.0, 1.0 + 255 / 256, 1.5]], np.float32))
    assert rows.tolist() == [[0, 255, 128, 0x00, 0x3C, 0x00, 0x1C]]  # lower 1, step 2**-8


def test_rows_do_not_depend_on_the_vectors_beside_them():
    vectors = np.random.default_rng(0).standard_normal((600, 2600)).astype(np.float32)
    lvq = LVQ.fit(vectors)
    rows = lvq.encode(vectors)
    for part in (slice(0, 1), slice(400, 411), slice(599, None)):
        np.testing.assert_array_equal(lvq.encode(vectors[part]), rows[part])
        np.testing.assert_array_equal(lvq.decode(rows[part]), lvq.decode(rows)[part])


@pytest.mark.parametrize("dim", [1, 31, 128, 5000])
@pytest.mark.parametrize("queries", [1, 4, 6])
def test_scores_equal_decode_then_dot(tmp_path, dim, queries):
    rng = np.random.default_rng(dim)
    vectors = (rng.standard_normal((57, dim)) + 0.3).astype(np.float32)
    asked = rng.standard_normal((queries, dim)).astype(np.float32)
    lvq = LVQ.fit(vectors)
    rows = lvq.encode(vectors)
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.uint8, "r", shape=rows.shape)

    scores = lvq.scores(asked, rows)
    exact = asked.astype(np.float64) @ lvq.decode(rows).T.astype(np.float64)
    lengths = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    assert (np.abs(scores - exact) <= 1e-5 * lengths).all()
    np.testing.assert_array_equal(lvq.scores(asked, mapped), scores)
    positions = rng.permutation(57)[:20]
    np.testing.assert_array_equal(lvq.scores(asked, mapped, positions), scores[:, positions])
    assert lvq.scores(asked, rows, positions[:0]).shape == (queries, 0)


def test_the_mean_narrows_the_range():
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((100, 64)) / 8 + 4 * rng.standard_normal(64)).astype(np.float32)
    centred, plain = LVQ.fit(vectors), LVQ(np.zeros(64, np.float32))
    assert steps(centred.encode(vectors)).mean() < steps(plain.encode(vectors)).mean() / 10


def test_parameters_survive_storage():
    lvq = LVQ.fit(np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32))
    again = LVQ.from_params(lvq.params())
    np.testing.assert_array_equal(again.mean, lvq.mean)
    assert again.width == lvq.width == 20


def test_bad_input_is_refused():
    lvq = LVQ(np.zeros(4, np.float32))
    with pytest.raises(InvalidEmbeddingsError, match=r"\(2, 3\)"):
        lvq.encode(np.zeros((2, 3), np.float32))
    with pytest.raises(InvalidEmbeddingsError, match="65504"):
        lvq.encode(np.full((2, 4), 1e5, np.float32))
    with pytest.raises(InvalidEmbeddingsError, match="NaN"):
        lvq.encode(np.array([[0, 1, np.nan, 2]], np.float32))
    with pytest.raises(InvalidEmbeddingsError, match="expected"):
        lvq.scores(np.zeros(4, np.float32), np.zeros((1, 8), np.uint8))
    with pytest.raises(InvalidInputError, match="8"):
        lvq.decode(np.zeros((1, 9), np.uint8))
    with pytest.raises(InvalidInputError, match="uint8"):
        lvq.decode(np.zeros((1, 8), np.int64))
    with pytest.raises(InvalidInputError, match="no vectors"):
        LVQ.fit(np.empty((0, 4), np.float32))
    with pytest.raises(InvalidInputError, match="'mean'"):
        LVQ.from_params({})
    with pytest.raises(InvalidInputError, match="finite"):
        LVQ.from_params({"mean": np.array([np.nan])})
