import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.leanvec import random_rotation
from latefold.index.lvq import LVQ, TwoLevelLVQ


def steps(rows):
    return np.ascontiguousarray(rows[:, -2:]).view("<f2")[:, 0].astype(np.float64)


def vectors_of(max_value):
    elements = st.floats(-max_value, max_value, width=32)
    return hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=elements)


@settings(deadline=None)
@given(st.sampled_from([4, 8]), st.sampled_from([2.0**-23, 2.0**-10, 1.0, 30_000.0]).flatmap(vectors_of))
def test_every_coordinate_is_within_half_a_step(bits, vectors):
    lvq = LVQ.fit(vectors, bits)
    rows = lvq.encode(vectors)
    # exact: the differences from the mean are what is quantized
    centred = (vectors - lvq.mean).astype(np.float64)
    decoded = LVQ(np.zeros(lvq.dim, np.float32), bits).decode(rows).astype(np.float64)
    slack = steps(rows)[:, None] * 2**-14 + np.abs(decoded) * 2**-24
    assert (np.abs(decoded - centred) <= steps(rows)[:, None] / 2 + slack).all()
    assert (np.linalg.norm(decoded - centred, axis=1) <= lvq.error_bound(rows)).all()


@settings(deadline=None)
@given(st.sampled_from([4, 8]), st.sampled_from([2.0**-10, 1.0, 30_000.0]).flatmap(vectors_of))
def test_steps_are_no_wider_than_halves_require(bits, vectors):
    """Rounding `lower` down widens the range by at most one part in 1,024 of it, rounding `step` up the step alike."""
    rows = LVQ(np.zeros(vectors.shape[1], np.float32), bits).encode(vectors)
    low, high = vectors.min(1).astype(np.float64), vectors.max(1).astype(np.float64)
    widest = (high - low + np.abs(low) / 1024 + 2.0**-24) / (2**bits - 1) * (1 + 1 / 1024) + 2.0**-24
    assert (steps(rows) <= widest).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_a_constant_vector_that_is_a_half_is_exact(bits):
    vectors = np.array([[0.25] * 7, [0.0] * 7, [-65504.0] * 7], np.float32)
    lvq = LVQ(np.zeros(7, np.float32), bits)
    rows = lvq.encode(vectors)
    assert (rows[:, :-4] == 0).all()
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


def test_two_codes_of_four_bits_share_a_byte():
    vectors = np.array([[1, 1 + 15 / 16, 1.5, 1.25, 1.75]], np.float32)
    rows = LVQ(np.zeros(5, np.float32), 4).encode(vectors)
    assert rows.tolist() == [[0 | 4 << 4, 15 | 12 << 4, 8, 0x00, 0x3C, 0x00, 0x2C]]  # lower 1, step 2**-4
    assert LVQ(np.zeros(128, np.float32), 4).width == 68
    assert LVQ(np.zeros(256, np.float32), 4).width == 132


@pytest.mark.parametrize("bits", [4, 8])
def test_rows_do_not_depend_on_the_vectors_beside_them(bits):
    vectors = np.random.default_rng(0).standard_normal((600, 2600)).astype(np.float32)
    lvq = LVQ.fit(vectors, bits)
    rows = lvq.encode(vectors)
    for part in (slice(0, 1), slice(400, 411), slice(599, None)):
        np.testing.assert_array_equal(lvq.encode(vectors[part]), rows[part])
        np.testing.assert_array_equal(lvq.decode(rows[part]), lvq.decode(rows)[part])


def rounding(queries, vectors, bits):
    """`(m, n)`: how far rounding the query may move its product with a vector, and float32 sums may as well."""
    largest = np.abs(queries).max(axis=1, initial=0)[:, None].astype(np.float64)
    # half of the (fine) scale in every coordinate
    planes = {4: 1 / 254, 8: 1 / (254 * 254)}[bits]
    sizes = np.abs(vectors).sum(axis=1)
    return largest * planes * sizes * 1.001 + 1e-6 * np.abs(queries).sum(axis=1)[:, None] * np.abs(vectors).max(axis=1)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dim", [1, 31, 128, 5000])
@pytest.mark.parametrize("queries", [1, 6])
def test_scores_are_products_with_decoded_vectors(tmp_path, bits, dim, queries):
    rng = np.random.default_rng(dim)
    vectors = (rng.standard_normal((57, dim)) + 0.3).astype(np.float32)
    asked = rng.standard_normal((queries, dim)).astype(np.float32)
    lvq = LVQ.fit(vectors, bits)
    rows = lvq.encode(vectors)
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.uint8, "r", shape=rows.shape)

    scores = lvq.scores(asked, rows)
    exact = asked.astype(np.float64) @ lvq.decode(rows).T.astype(np.float64)
    centred = LVQ(np.zeros(dim, np.float32), bits).decode(rows)
    means = 1e-6 * np.abs(asked).sum(axis=1)[:, None]
    assert (np.abs(scores - exact) <= rounding(asked, centred, bits) + means).all()
    np.testing.assert_array_equal(lvq.scores(asked, mapped), scores)
    positions = rng.permutation(57)[:20]
    np.testing.assert_array_equal(lvq.scores(asked, mapped, positions), scores[:, positions])
    assert lvq.scores(asked, rows, positions[:0]).shape == (queries, 0)
    found, best = lvq.top(asked, mapped, 5)
    np.testing.assert_array_equal(found, np.argsort(-scores, axis=1, kind="stable")[:, :5])
    np.testing.assert_array_equal(best, np.take_along_axis(scores, found, axis=1))
    assert lvq.top(asked, mapped, 5, positions[:3])[0][:, 3:].tolist() == [[-1, -1]] * queries
    assert lvq.top(asked, mapped, 2, allowed=np.arange(57) == 9)[0].tolist() == [[9, -1]] * queries


def skewed(rng, count, dim):
    """Vectors in principal coordinates: a few long axes, many short ones."""
    return (rng.standard_normal((count, dim)) * np.arange(1, dim + 1) ** -1.0).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_rotation_helps_four_bits_on_skewed_coordinates(seed):
    rng = np.random.default_rng(seed)
    vectors = skewed(rng, 500, 96)
    rotated = vectors @ random_rotation(96, seed)
    errors = [LVQ.fit(v, 4).decode(LVQ.fit(v, 4).encode(v)) - v for v in (vectors, rotated)]
    assert np.square(errors[1]).sum() < np.square(errors[0]).sum() / 3


def fine_steps(primary):
    return steps(primary)[:, None] / 255


@settings(deadline=None)
@given(st.sampled_from([2.0**-20, 2.0**-10, 1.0, 30_000.0]).flatmap(vectors_of))
def test_two_levels_are_within_half_a_fine_step(vectors):
    two = TwoLevelLVQ(LVQ.fit(vectors, 4))
    primary, secondary = two.encode(vectors)
    np.testing.assert_array_equal(primary, two.primary.encode(vectors))
    assert secondary.shape == vectors.shape
    plain = TwoLevelLVQ(LVQ(np.zeros(vectors.shape[1], np.float32), 4))
    decoded = plain.decode(primary, secondary).astype(np.float64)
    centred = (vectors - two.primary.mean).astype(np.float64)
    slack = (np.abs(decoded) + steps(primary)[:, None] * 16) * 2**-22
    assert (np.abs(decoded - centred) <= fine_steps(primary) * 0.501 + slack).all()


@pytest.mark.parametrize("dim", [1, 31, 130])
def test_rescoring_is_the_product_with_both_levels(dim):
    rng = np.random.default_rng(dim)
    vectors = (rng.standard_normal((40, dim)) + 0.3).astype(np.float32)
    queries = rng.standard_normal((3, dim)).astype(np.float32)
    two = TwoLevelLVQ(LVQ.fit(vectors, 4))
    primary, secondary = two.encode(vectors)
    positions = rng.integers(0, 40, (3, 19))
    exact = queries.astype(np.float64) @ two.decode(primary, secondary).T.astype(np.float64)
    wanted = np.take_along_axis(exact, positions, axis=1)
    slack = rounding(queries, vectors, 8).max(axis=1) + 3e-6 * np.abs(queries).sum(axis=1)
    scores = two.rescore(queries, primary, secondary, positions)
    assert (np.abs(scores - wanted) <= slack[:, None]).all()
    np.testing.assert_array_equal(two.rescore(queries[1:2], primary, secondary, positions[1:2]), scores[1:2])
    assert two.rescore(queries, primary, secondary, positions[:, :0]).shape == (3, 0)


def test_the_second_level_restores_the_order():
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((2000, 64)).astype(np.float32), rng.standard_normal((20, 64))
    queries = queries.astype(np.float32)
    two = TwoLevelLVQ(LVQ.fit(vectors, 4))
    primary, secondary = two.encode(vectors)
    found, _ = two.primary.top(queries, primary, 50)
    again = np.take_along_axis(found, np.argsort(-two.rescore(queries, primary, secondary, found)), axis=1)
    truth = np.argsort(-(queries @ vectors.T))[:, :10]
    recall = [np.mean([len({*a} & {*b}) for a, b in zip(truth, f[:, :10], strict=True)]) / 10 for f in (found, again)]
    assert recall[0] < 0.95 < 0.99 <= recall[1]


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
    assert LVQ.from_params(lvq.params(), bits=4).width == 12


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
    with pytest.raises(InvalidInputError, match="4 or 8 bits"):
        LVQ(np.zeros(4, np.float32), 5)
    with pytest.raises(InvalidInputError, match="negative"):
        lvq.top(np.zeros((1, 4), np.float32), np.zeros((1, 8), np.uint8), -1)
    with pytest.raises(InvalidEmbeddingsError, match="NaN"):
        lvq.scores(np.full((1, 4), np.nan, np.float32), np.zeros((1, 8), np.uint8))


def test_bad_second_levels_are_refused():
    with pytest.raises(InvalidInputError, match="4 bits"):
        TwoLevelLVQ(LVQ(np.zeros(4, np.float32)))
    two = TwoLevelLVQ(LVQ(np.zeros(4, np.float32), 4))
    primary, secondary = two.encode(np.zeros((2, 4), np.float32))
    queries = np.zeros((1, 4), np.float32)
    with pytest.raises(InvalidInputError, match="1 primary rows and 2"):
        two.decode(primary[:1], secondary)
    with pytest.raises(InvalidInputError, match="0 to 1"):
        two.rescore(queries, primary, secondary, np.array([[2]]))
    with pytest.raises(InvalidInputError, match=r"\(1, p\)"):
        two.rescore(queries, primary, secondary, np.array([0]))
