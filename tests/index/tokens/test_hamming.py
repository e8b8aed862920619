"""Sign codes: what the suite over all codecs does not ask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.tokens.hamming import SignCodec


def ragged(rng, sizes, dim):
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    vectors = rng.standard_normal((offsets[-1], dim))
    return TokenEmbeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), offsets)


def signs(rows):
    return np.unpackbits(rows, axis=1, bitorder="little") * 2.0 - 1


@pytest.mark.parametrize(("dim", "size"), [(1, 4), (32, 4), (48, 8), (128, 16), (384, 48)])
def test_a_row_is_a_bit_a_dimension_in_whole_words(dim, size):
    chosen = SignCodec.fit(np.zeros((0, dim), np.float32))
    assert chosen.bytes_per_token == size
    np.testing.assert_allclose(chosen.rotation.T @ chosen.rotation, np.eye(dim), atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 20), max_size=3), st.lists(st.integers(0, 9), max_size=5), st.integers(0, 2**32 - 1))
def test_hamming_scores_are_maxsim_of_signs(query_lengths, document_lengths, seed):
    rng = np.random.default_rng(seed)
    queries, documents = ragged(rng, query_lengths, 40), ragged(rng, document_lengths, 40)
    chosen = SignCodec.fit(documents.vectors)
    codes = chosen.encode(documents.vectors)
    scores = chosen.coarse(queries, codes, documents.offsets)
    asked, stored = signs(chosen.encode(queries.vectors)), signs(codes)
    for i in range(len(queries)):
        for j in range(len(documents)):
            start, stop = documents.offsets[j : j + 2]
            part = asked[queries.offsets[i] : queries.offsets[i + 1]]
            expected = (part @ stored[start:stop].T).max(axis=1).sum() if stop > start else -np.inf
            assert scores[i, j] == expected


def test_products_with_signs_follow_products_with_vectors():
    """On average over random directions a sign vector of the right length loses nothing but precision."""
    rng = np.random.default_rng(2)
    vectors = ragged(rng, [2000], 128).vectors
    near = vectors + 0.05 * rng.standard_normal(vectors.shape).astype(np.float32)
    chosen = SignCodec.fit(vectors)
    exact = np.einsum("ij,ij->i", near, vectors)
    found = np.einsum("ij,ij->i", near, chosen.decode(chosen.encode(vectors)))
    assert found.mean() == pytest.approx(exact.mean() * 2 / np.pi, rel=0.01)
    random = vectors[::-1]
    exact, found = (np.einsum("ij,ij->i", random, x) for x in (vectors, chosen.decode(chosen.encode(vectors))))
    assert np.corrcoef(exact, found)[0, 1] > 0.75


def test_hamming_ranks_the_nearest_document_first():
    rng = np.random.default_rng(3)
    documents = ragged(rng, [20] * 100, 128)
    chosen = SignCodec.fit(documents.vectors)
    codes = chosen.encode(documents.vectors)
    noisy = documents.take([17]).vectors + 0.05 * rng.standard_normal((20, 128)).astype(np.float32)
    query = TokenEmbeddings(noisy, np.array([0, 20]))
    assert chosen.coarse(query, codes, documents.offsets).argmax() == 17
    np.testing.assert_array_equal(
        chosen.coarse(query, codes, documents.offsets, np.array([3, 17]))[0],
        chosen.coarse(query, codes, documents.offsets)[0, [3, 17]],
    )


def test_rotations_that_are_none_are_refused():
    good = SignCodec.fit(np.zeros((0, 40), np.float32)).params()["rotation"]
    bad = {
        "parameter rotation": {},
        "got \\['rotation', 'surplus'\\]": {"rotation": good, "surplus": good},
        r"\(64, 40\)": {"rotation": good[:32]},
        "float64": {"rotation": good.astype(np.float64)},
        "orthonormal": {"rotation": good * np.float32(1.1)},
        "not orthonormal": {"rotation": np.full_like(good, np.nan)},
    }
    for message, params in bad.items():
        with pytest.raises(InvalidInputError, match=message):
            SignCodec.from_params(40, params)
    again = SignCodec.from_params(40, {"rotation": good})
    vectors = ragged(np.random.default_rng(0), [9], 40).vectors
    np.testing.assert_array_equal(again.encode(vectors), SignCodec.fit(vectors).encode(vectors))
