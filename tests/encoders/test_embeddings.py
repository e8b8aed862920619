"""`TokenEmbeddings`: what it accepts, what it refuses, and that ragged operations agree with lists of arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError

FINITE = st.floats(-1e6, 1e6, width=32)


@st.composite
def ragged(draw: st.DrawFn, dim: int | None = None) -> list[np.ndarray]:
    """Lists of `(n_i, dim)` float32 arrays, empty items included."""
    dim = draw(st.integers(1, 5)) if dim is None else dim
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    return [draw(hnp.arrays(np.float32, (n, dim), elements=FINITE)) for n in lengths]


@given(ragged())
def test_packing_a_list_and_reading_it_back_gives_the_list(items: list[np.ndarray]) -> None:
    packed = TokenEmbeddings.from_list(items)
    assert len(packed) == len(items)
    assert packed.dim == items[0].shape[1]
    assert packed.lengths.tolist() == [len(item) for item in items]
    for i, (got, want) in enumerate(zip(packed, items, strict=True)):
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(packed[i - len(items)], want)


@given(ragged(), st.data())
def test_take_picks_items_in_the_order_asked_for(items: list[np.ndarray], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(items) - 1), max_size=8))
    taken = TokenEmbeddings.from_list(items).take(rows)
    assert len(taken) == len(rows)
    for got, row in zip(taken, rows, strict=True):
        np.testing.assert_array_equal(got, items[row])


@given(st.integers(1, 4).flatmap(lambda dim: st.tuples(ragged(dim), ragged(dim))))
def test_concatenation_is_list_concatenation(pair: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    left, right = pair
    joined = TokenEmbeddings.concatenate([TokenEmbeddings.from_list(left), TokenEmbeddings.from_list(right)])
    want = TokenEmbeddings.from_list([*left, *right])
    np.testing.assert_array_equal(joined.vectors, want.vectors)
    np.testing.assert_array_equal(joined.offsets, want.offsets)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_become_contiguous_float32(dtype: type) -> None:
    vectors = np.asfortranarray(np.arange(6, dtype=dtype).reshape(3, 2))
    made = TokenEmbeddings(vectors, np.array([0, 3], np.int32))
    assert made.vectors.dtype == np.float32
    assert made.vectors.flags.c_contiguous
    assert made.offsets.dtype == np.int64
    np.testing.assert_array_equal(made.vectors, vectors)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=FINITE),
    st.data(),
    st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_one_value_that_is_not_finite_is_refused_by_row(vectors: np.ndarray, data: st.DataObject, bad: float) -> None:
    row = data.draw(st.integers(0, len(vectors) - 1))
    vectors[row, data.draw(st.integers(0, vectors.shape[1] - 1))] = bad
    with pytest.raises(InvalidEmbeddingsError, match=f"vector {row} "):
        TokenEmbeddings(vectors, np.array([0, len(vectors)]))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_float64_beyond_float32_is_refused() -> None:
    with pytest.raises(InvalidEmbeddingsError, match="overflow"):
        TokenEmbeddings(np.array([[1e300]]), np.array([0, 1]))


@pytest.mark.parametrize(
    "offsets",
    [[0], [0, 1], [1, 2], [0, 3], [0, 2, 1, 2], [-1, 2], [0.0, 2.0], [[0, 2]], []],
    ids=str,
)
def test_offsets_that_do_not_cover_the_vectors_are_refused(offsets: list[float]) -> None:
    with pytest.raises(InvalidEmbeddingsError, match="offsets"):
        TokenEmbeddings(np.zeros((2, 3), np.float32), np.array(offsets))


@pytest.mark.parametrize("vectors", [np.zeros(3), np.zeros((1, 2, 3)), np.zeros((2, 3), int), np.array([["a"]])])
def test_vectors_of_a_wrong_shape_or_type_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(InvalidEmbeddingsError, match="expected"):
        TokenEmbeddings(vectors, np.array([0, len(vectors)]))


def test_items_of_different_dimensions_are_refused_with_both_named() -> None:
    with pytest.raises(InvalidEmbeddingsError, match="item 1 has 3 dimensions but item 0 has 2"):
        TokenEmbeddings.from_list([np.zeros((1, 2)), np.zeros((1, 3))])
    with pytest.raises(InvalidEmbeddingsError, match="item 0 has shape"):
        TokenEmbeddings.from_list([np.zeros(2)])


def test_no_items_at_all() -> None:
    empty = TokenEmbeddings.from_list([], dim=7)
    assert (len(empty), empty.dim, list(empty)) == (0, 7, [])
    assert len(empty.take([])) == 0
    with pytest.raises(ValueError, match="nothing"):
        TokenEmbeddings.concatenate([])


@pytest.mark.parametrize("item", [2, -3])
def test_an_item_out_of_range_is_an_index_error(item: int) -> None:
    with pytest.raises(IndexError):
        TokenEmbeddings.from_list([np.zeros((1, 2))] * 2)[item]


def test_leading_dimensions_keep_the_length_of_each_vector() -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    whole = TokenEmbeddings(vectors, np.array([0, 2, 5]))
    cut = whole.leading(4)
    np.testing.assert_array_equal(cut.offsets, whole.offsets)
    np.testing.assert_allclose(np.linalg.norm(cut.vectors, axis=1), np.linalg.norm(vectors, axis=1), rtol=1e-5)
    np.testing.assert_allclose(cut.vectors / cut.vectors[:, :1], vectors[:, :4] / vectors[:, :1], rtol=1e-5)
    assert whole.leading(6) is whole
    assert not TokenEmbeddings(np.zeros((1, 3), np.float32), np.array([0, 1])).leading(2).vectors.any()
