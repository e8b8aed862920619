"""Patch codes: what the suite over all codecs does not ask."""

import numpy as np
import pytest
from correlation import order_quality
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.tokens.patch import (
    Patch256Codec,
    Patch256R1Codec,
    Patch256R2Codec,
    Patch512Codec,
    unique_codes,
)

KINDS = [Patch256Codec, Patch512Codec, Patch256R1Codec, Patch256R2Codec]
DIM = 24

each_kind = pytest.mark.parametrize("kind", KINDS)
lengths = st.lists(st.integers(0, 9), min_size=1, max_size=6)


def ragged(rng, sizes, dim=DIM):
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    vectors = rng.standard_normal((offsets[-1], dim))
    return TokenEmbeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), offsets)


@pytest.fixture(scope="module")
def fitted():
    sample = ragged(np.random.default_rng(3), [3000]).vectors
    return {kind: kind.fit(sample) for kind in KINDS}


@each_kind
@settings(deadline=None, max_examples=20)
@given(lengths, lengths, st.integers(0, 2**32 - 1))
def test_as_many_entries_as_different_vectors_score_exactly(kind, query_lengths, document_lengths, seed):
    rng = np.random.default_rng(seed)
    queries, documents = ragged(rng, query_lengths), ragged(rng, document_lengths)
    repeated = documents.take(np.arange(len(documents)).repeat(2))
    chosen = kind.fit(repeated.vectors)
    codes = chosen.encode(repeated.vectors)
    np.testing.assert_array_equal(chosen.decode(codes), repeated.vectors)
    scores = chosen.score(queries, codes, repeated.offsets)
    for i, query in enumerate(queries):
        for j, document in enumerate(repeated):
            exact = (query @ document.T).max(axis=1).sum() if len(document) else -np.inf
            assert scores[i, j] == pytest.approx(exact, rel=1e-5, abs=1e-5)


@each_kind
def test_rows_take_the_bytes_they_are_said_to(kind, fitted):
    chosen = fitted[kind]
    codes = chosen.encode(ragged(np.random.default_rng(0), [50]).vectors)
    assert codes.shape == (50, {"patch256": 1, "patch512": 2, "patch256r1": 2, "patch256r2": 3}[kind.name])
    assert chosen.bytes_per_token == codes.shape[1]
    assert chosen.ids(codes).max() < chosen.entries
    again = kind.from_params(DIM, chosen.params())
    np.testing.assert_array_equal(again.decode(codes), chosen.decode(codes))


def test_more_bytes_are_nearer(fitted):
    vectors = ragged(np.random.default_rng(5), [2000]).vectors
    errors = {}
    for kind, chosen in fitted.items():
        errors[kind.name] = np.linalg.norm(chosen.decode(chosen.encode(vectors)) - vectors, axis=1).mean()
    assert errors["patch512"] < errors["patch256"]
    assert errors["patch256r2"] < errors["patch256r1"] < errors["patch256"]


def test_a_vector_gets_the_entry_with_the_largest_cosine(fitted):
    vectors = ragged(np.random.default_rng(6), [200]).vectors
    chosen = fitted[Patch256Codec]
    entries = chosen.params()["codebook0"]
    np.testing.assert_allclose(np.linalg.norm(entries, axis=1), 1, atol=1e-5)
    similarities = vectors @ entries.T
    taken = np.take_along_axis(similarities, chosen.ids(chosen.encode(vectors))[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(taken, similarities.max(axis=1), atol=1e-6)


@each_kind
def test_rows_do_not_depend_on_the_vectors_beside_them(kind, fitted):
    vectors = ragged(np.random.default_rng(7), [300]).vectors
    codes = fitted[kind].encode(vectors)
    alone = [fitted[kind].encode(vectors[i : i + 1]) for i in range(40)]
    np.testing.assert_array_equal(np.concatenate(alone), codes[:40])
    np.testing.assert_array_equal(fitted[kind].encode(vectors[::-1]), codes[::-1])


@each_kind
@settings(deadline=None, max_examples=25)
@given(lengths, st.integers(0, 2**32 - 1))
def test_unique_codes_score_exactly_like_all_codes(kind, fitted, document_lengths, seed):
    rng = np.random.default_rng(seed)
    chosen, queries = fitted[kind], ragged(rng, [3, 0, 18])
    sizes = np.array(document_lengths)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    codes = rng.integers(0, 3, (offsets[-1], chosen.bytes_per_token), np.uint8)
    rows, starts, counts = unique_codes(codes, offsets)
    assert counts.sum() == len(codes)
    for j in range(len(sizes)):
        part = rows[starts[j] : starts[j + 1]]
        expected, often = np.unique(codes[offsets[j] : offsets[j + 1], ::-1], axis=0, return_counts=True)
        np.testing.assert_array_equal(part, expected[:, ::-1])
        np.testing.assert_array_equal(counts[starts[j] : starts[j + 1]], often)
    scores = chosen.score(queries, codes, offsets)
    np.testing.assert_array_equal(chosen.score(queries, rows, starts), scores)


def test_the_order_of_tokens_is_irrelevant(fitted):
    rng = np.random.default_rng(8)
    document, queries = ragged(rng, [30]), ragged(rng, [5])
    for chosen in fitted.values():
        codes = chosen.encode(document.vectors)
        mixed = codes[rng.permutation(30)]
        offsets = document.offsets
        np.testing.assert_array_equal(chosen.score(queries, mixed, offsets), chosen.score(queries, codes, offsets))


def test_ids_near_in_bits_are_near_in_space(fitted):
    entries = fitted[Patch256Codec].params()["codebook0"]
    arbitrary = entries[np.random.default_rng(0).permutation(256)]
    assert order_quality(entries) > 0.2 > 0.1 > abs(order_quality(arbitrary))


@each_kind
def test_no_code_reads_outside_whatever_the_rows_hold(kind):
    """A codebook of one entry, and rows that nobody wrote."""
    chosen = kind.fit(np.ones((4, DIM), np.float32))
    assert len(chosen.params()["codebook0"]) == 1
    rows = np.random.default_rng(0).integers(0, 256, (500, chosen.bytes_per_token), np.uint8)
    offsets, queries = np.array([0, 200, 500]), ragged(np.random.default_rng(1), [4])
    vectors = chosen.decode(rows)
    scores = chosen.score(queries, rows, offsets)
    for j in range(2):
        best = (queries.vectors @ vectors[offsets[j] : offsets[j + 1]].T).max(axis=1)
        assert scores[0, j] == pytest.approx(best.sum(), rel=1e-5, abs=1e-6)


@each_kind
def test_parameters_that_do_not_fit_are_refused(kind, fitted):
    good = fitted[kind].params()
    bad = {
        "got \\[\\]": {},
        "surplus": {**good, "surplus": np.zeros(1)},
        "float64": {**good, "codebook0": good["codebook0"].astype(np.float64)},
        r"expected float32 \(1 to": {**good, "codebook0": good["codebook0"][:, 1:]},
        f"1 to {kind.entries}": {**good, "codebook0": np.zeros((kind.entries + 1, DIM), np.float32)},
        "1 to": {**good, "codebook0": good["codebook0"][:0]},
        "NaN": {**good, "codebook0": np.full((3, DIM), np.nan, np.float32)},
    }
    for message, params in bad.items():
        with pytest.raises(InvalidInputError, match=message):
            kind.from_params(DIM, params)
    with pytest.raises(InvalidInputError, match="dimension"):
        kind.from_params(0, good)


def test_samples_that_cannot_be_fitted_are_refused():
    with pytest.raises(InvalidEmbeddingsError, match="NaN"):
        Patch256Codec.fit(np.full((300, DIM), np.inf, np.float32))
    assert Patch256Codec.fit(np.zeros((0, DIM), np.float32)).decode(np.zeros((1, 1), np.uint8)).tolist() == [[0] * DIM]


def test_offsets_that_do_not_cover_the_rows_are_refused():
    with pytest.raises(InvalidInputError, match="4 token rows"):
        unique_codes(np.zeros((4, 1), np.uint8), np.array([0, 3]))
