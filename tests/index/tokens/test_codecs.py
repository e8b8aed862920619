"""One suite over all token codecs: what `TokenCodec` promises."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.tokens.base import codec

NAMES = ["fp16", "lvq8"]
DIM = 48

each_codec = pytest.mark.parametrize("name", NAMES)
lengths = st.lists(st.one_of(st.integers(0, 4), st.integers(60, 70)), max_size=8)


def ragged(rng, sizes, dim=DIM):
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    vectors = rng.standard_normal((offsets[-1], dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12
    return TokenEmbeddings(vectors, offsets)


def maxsim(queries, vectors, offsets):
    """Plain MaxSim: for each query vector its best document vector, summed."""
    scores = np.full((len(queries), len(offsets) - 1), -np.inf)
    for j, (start, stop) in enumerate(pairwise(offsets)):
        if stop > start:
            for i, query in enumerate(queries):
                scores[i, j] = (query.astype(np.float64) @ vectors[start:stop].T).max(axis=1).sum()
    return scores


@pytest.fixture(params=NAMES)
def stored(request):
    """A codec with the rows of a ragged collection that has empty, single-token and long documents."""
    rng = np.random.default_rng(7)
    documents = ragged(rng, [5, 0, 1, 130, 64, 0, 17, 2])
    chosen = codec(request.param).fit(documents.vectors)
    return chosen, chosen.encode(documents.vectors), documents


@each_codec
@settings(deadline=None)
@given(query_lengths=lengths, document_lengths=lengths, seed=st.integers(0, 2**32 - 1))
def test_score_is_maxsim_of_the_decoded_vectors(name, query_lengths, document_lengths, seed):
    rng = np.random.default_rng(seed)
    queries, documents = ragged(rng, query_lengths), ragged(rng, document_lengths)
    chosen = codec(name).fit(documents.vectors)
    codes = chosen.encode(documents.vectors)
    scores = chosen.score(queries, codes, documents.offsets)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, maxsim(queries, chosen.decode(codes), documents.offsets), rtol=1e-5, atol=1e-5)


@each_codec
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("dim", [1, 7, 128, 384])
def test_error_bound_holds_for_the_worst_query(name, scale, shift, dim):
    rng = np.random.default_rng(dim)
    vectors = ((rng.standard_normal((300, dim)) + shift) * scale).astype(np.float32)
    chosen = codec(name).fit(vectors)
    codes = chosen.encode(vectors)
    worst = np.linalg.norm(vectors.astype(np.float64) - chosen.decode(codes), axis=1)
    bound = chosen.error_bound(codes)
    assert bound.shape == (300,)
    assert (worst <= bound).all()
    assert (bound <= np.linalg.norm(vectors, axis=1) * (0.001 if name == "fp16" else 0.05) + 1e-5).all()


@each_codec
def test_real_vectors_of_unit_length_keep_their_scores(name):
    rng = np.random.default_rng(0)
    queries, documents = ragged(rng, [32], 128), ragged(rng, [80] * 50, 128)
    chosen = codec(name).fit(documents.vectors)
    codes = chosen.encode(documents.vectors)
    exact = maxsim(queries, documents.vectors, documents.offsets)
    scores = chosen.score(queries, codes, documents.offsets)
    assert np.abs(scores - exact).max() <= 32 * chosen.error_bound(codes).max()
    assert np.argmax(scores) == np.argmax(exact)


def test_rows_are_bytes_of_the_promised_width(stored):
    chosen, codes, documents = stored
    assert codes.dtype == np.uint8
    assert codes.flags.c_contiguous
    assert codes.shape == (len(documents.vectors), chosen.bytes_per_token)
    assert chosen.decode(codes).shape == documents.vectors.shape


def test_rows_are_independent_and_can_be_sliced_and_concatenated(stored):
    chosen, codes, documents = stored
    apart = [chosen.encode(part) for part in documents]
    np.testing.assert_array_equal(np.concatenate(apart), codes)
    np.testing.assert_array_equal(chosen.encode(documents.vectors[::-1]), codes[::-1])
    np.testing.assert_array_equal(chosen.decode(codes[10:20]), chosen.decode(codes)[10:20])


def test_encoding_decoded_vectors_again_stays_within_the_bound(stored):
    chosen, codes, _ = stored
    once = chosen.decode(codes)
    twice = chosen.decode(chosen.encode(once))
    assert (np.linalg.norm(twice - once, axis=1) <= chosen.error_bound(codes) * 1.01).all()


def test_a_read_only_memory_map_scores_like_memory(stored, tmp_path):
    chosen, codes, documents = stored
    codes.tofile(tmp_path / "codes")
    documents.offsets.tofile(tmp_path / "offsets")
    mapped = np.memmap(tmp_path / "codes", np.uint8, "r", shape=codes.shape)
    offsets = np.memmap(tmp_path / "offsets", np.int64, "r")
    queries = documents.take([3, 0])
    np.testing.assert_array_equal(
        chosen.score(queries, mapped, offsets), chosen.score(queries, codes, documents.offsets)
    )
    np.testing.assert_array_equal(chosen.decode(mapped), chosen.decode(codes))


def test_positions_select_columns_in_their_order(stored):
    chosen, codes, documents = stored
    scores = chosen.score(documents, codes, documents.offsets)
    for positions in ([], [6], [7, 1, 3, 3, 0]):
        np.testing.assert_array_equal(
            chosen.score(documents, codes, documents.offsets, np.array(positions, np.int64)), scores[:, positions]
        )


def test_a_batch_scores_like_its_queries_one_by_one(stored):
    chosen, codes, documents = stored
    queries = ragged(np.random.default_rng(1), [3, 0, 8, 33, 1])
    batch = chosen.score(queries, codes, documents.offsets)
    for i in range(len(queries)):
        np.testing.assert_array_equal(chosen.score(queries.take([i]), codes, documents.offsets)[0], batch[i])


def test_documents_without_tokens_score_minus_infinity(stored):
    chosen, codes, documents = stored
    scores = chosen.score(documents, codes, documents.offsets)
    np.testing.assert_array_equal(np.isneginf(scores), np.tile(documents.lengths == 0, (len(documents), 1)))
    indices, best = chosen.best_tokens(documents[0], codes[:0])
    assert (indices == -1).all()
    assert np.isneginf(best).all()


def test_best_tokens_add_up_to_the_score(stored):
    chosen, codes, documents = stored
    start, stop = documents.offsets[3:5]
    query = documents.take([6])
    indices, best = chosen.best_tokens(query.vectors, codes[start:stop])
    assert indices.dtype == np.int64
    similarities = query.vectors @ chosen.decode(codes[start:stop]).T
    np.testing.assert_array_equal(indices, similarities.argmax(axis=1))
    score = chosen.score(query, codes, documents.offsets, np.array([3]))[0, 0]
    assert best.sum() == pytest.approx(score, rel=1e-5)


def test_parameters_survive_storage(stored):
    chosen, codes, _ = stored
    again = type(chosen).from_params(chosen.dim, chosen.params())
    assert again.bytes_per_token == chosen.bytes_per_token
    np.testing.assert_array_equal(again.decode(codes), chosen.decode(codes))
    with pytest.raises(InvalidInputError, match="surplus"):
        type(chosen).from_params(chosen.dim, {"surplus": np.zeros(1)})


def test_bad_input_is_refused(stored):
    chosen, codes, documents = stored
    narrow = ragged(np.random.default_rng(0), [2], DIM - 1)
    with pytest.raises(InvalidEmbeddingsError, match=f"expected \\(n, {DIM}\\)"):
        chosen.encode(narrow.vectors)
    with pytest.raises(InvalidEmbeddingsError, match="expected"):
        chosen.score(narrow, codes, documents.offsets)
    with pytest.raises(InvalidEmbeddingsError, match="scale them down"):
        chosen.encode(documents.vectors * 1e6)
    with pytest.raises(InvalidEmbeddingsError, match="NaN"):
        chosen.encode(np.full((1, DIM), np.nan, np.float32))
    with pytest.raises(InvalidInputError, match=f"{chosen.bytes_per_token}"):
        chosen.decode(codes[:, 1:])
    with pytest.raises(InvalidInputError, match="positions"):
        chosen.score(documents, codes, documents.offsets, np.array([8]))


def test_unknown_codecs_and_dimensions_are_refused():
    with pytest.raises(InvalidInputError, match="fp16, lvq8"):
        codec("fp17")
    with pytest.raises(InvalidInputError, match="dimension"):
        codec("lvq8").from_params(0, {})
