import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError
from latefold.index.kernels.lanes import lanes


def ragged(rng, lengths, dim):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenEmbeddings(rng.standard_normal((offsets[-1], dim)).astype(np.float32), offsets)


def unpacked(packed, dim):
    """`(2, lanes, dim)` codes."""
    planes, panels, groups, _ = packed.shape
    tiles = packed.reshape(planes, panels, groups, 16, 4).transpose(0, 1, 3, 2, 4)
    return tiles.reshape(planes, panels * 16, groups * 4)[:, :, :dim].astype(np.float64)


@given(
    st.lists(st.integers(0, 20), max_size=5),
    st.integers(1, 70),
    st.sampled_from([1e-30, 1.0, 1e30]),
    st.integers(0, 2**32 - 1),
)
def test_two_planes_stand_for_the_vectors_and_one_within_the_rest(lengths, dim, size, seed):
    rng = np.random.default_rng(seed)
    queries = ragged(rng, lengths, dim)
    queries = TokenEmbeddings(queries.vectors * np.float32(size), queries.offsets)
    found = lanes(queries)
    count = len(queries.vectors)
    codes, exact = unpacked(found.packed, dim), queries.vectors.astype(np.float64)
    assert found.packed.shape == (2, -(-count // 16), -(-dim // 4), 64)
    assert found.spans.tolist() == [[a, b] for a, b in zip(queries.offsets[:-1], queries.offsets[1:], strict=True)]
    np.testing.assert_array_equal(found.sums, codes.sum(axis=2))
    planes = codes * found.scales[:, :, None]
    largest = np.abs(exact).max(axis=1, initial=0)[:, None]
    assert (np.abs(planes.sum(axis=0)[:count] - exact) <= largest / 60_000 + 1e-40).all()
    norms = np.linalg.norm(exact, axis=1)
    left = np.linalg.norm(exact - planes[0, :count], axis=1)
    assert ((norms <= found.norms[:count]) & (found.norms[:count] <= norms * 1.00001)).all()
    fine = np.linalg.norm(planes[1, :count], axis=1)
    assert (np.maximum(left, fine) <= found.rest[:count]).all()
    assert (found.rest[:count] <= np.maximum(left, fine) * 1.00001 + norms * 2e-5).all()
    for padding in (found.sums, found.scales, found.norms[None], found.rest[None]):
        assert not padding[:, count:].any()


def test_a_lane_does_not_depend_on_its_company():
    queries = ragged(np.random.default_rng(0), [3, 0, 30], 10)
    together, alone = lanes(queries), lanes(queries.take([2]))
    np.testing.assert_array_equal(unpacked(together.packed, 10)[:, 3:33], unpacked(alone.packed, 10)[:, :30])
    np.testing.assert_array_equal(together.rest[3:33], alone.rest[:30])


def test_arrays_are_read_only_and_zeros_stay_zeros():
    found = lanes(TokenEmbeddings(np.zeros((2, 5), np.float32), np.array([0, 2])))
    assert not any(array.flags.writeable for array in found)
    assert not found.packed.any()
    assert not found.rest.any()


def test_vectors_without_dimensions_are_refused():
    with pytest.raises(InvalidEmbeddingsError, match="dimension"):
        lanes(TokenEmbeddings(np.empty((0, 0), np.float32), np.array([0])))
