from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.kernels import maxsim as passes
from latefold.index.kernels.hamming import hamming_scores, sign_scores


def spans(lengths):
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def signs(rows):
    return np.unpackbits(rows, axis=1, bitorder="little") * 2.0 - 1


def maxsim_twin(queries, query_offsets, vectors, offsets):
    scores = np.full((len(query_offsets) - 1, len(offsets) - 1), -np.inf)
    for i, (first, last) in enumerate(pairwise(query_offsets)):
        for j, (start, stop) in enumerate(pairwise(offsets)):
            if start < stop:
                scores[i, j] = (queries[first:last].astype(np.float64) @ vectors[start:stop].T).max(axis=1).sum()
    return scores


def case(rng, query_lengths, document_lengths, width):
    query_offsets, offsets = spans(query_lengths), spans(document_lengths)
    rows = rng.integers(0, 256, (offsets[-1], width), np.uint8)
    asked = rng.integers(0, 256, (query_offsets[-1], width), np.uint8)
    queries = TokenEmbeddings(rng.standard_normal((query_offsets[-1], 8 * width)).astype(np.float32), query_offsets)
    return queries, asked, rows, offsets


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 40), max_size=4),
    st.lists(st.integers(0, 11), max_size=6),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_kernels_equal_their_twins(query_lengths, document_lengths, words, seed):
    queries, asked, rows, offsets = case(np.random.default_rng(seed), query_lengths, document_lengths, 4 * words)
    vectors = signs(rows)
    scores = sign_scores(queries, rows, offsets)
    expected = maxsim_twin(queries.vectors, queries.offsets, vectors, offsets)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-3)
    whole = hamming_scores(asked, queries.offsets, rows, offsets)
    np.testing.assert_array_equal(whole, maxsim_twin(signs(asked), queries.offsets, vectors, offsets))


def test_queries_of_fewer_dimensions_than_bits_ignore_the_last_bits():
    rng = np.random.default_rng(0)
    queries, _, rows, offsets = case(rng, [5], [9], 4)
    short = TokenEmbeddings(queries.vectors[:, :27], queries.offsets)
    expected = maxsim_twin(short.vectors, short.offsets, signs(rows)[:, :27], offsets)
    np.testing.assert_allclose(sign_scores(short, rows, offsets), expected, rtol=1e-5)


def test_scores_do_not_depend_on_company_or_threads_or_passes(three_threads, monkeypatch):
    rng = np.random.default_rng(1)
    queries, asked, rows, offsets = case(rng, [5, 0, 17, 32, 1], rng.integers(0, 30, 20), 16)
    first, second = sign_scores(queries, rows, offsets), hamming_scores(asked, queries.offsets, rows, offsets)
    positions = rng.permutation(20)
    np.testing.assert_array_equal(sign_scores(queries, rows, offsets, positions), first[:, positions])
    np.testing.assert_array_equal(
        hamming_scores(asked, queries.offsets, rows, offsets, positions), second[:, positions]
    )
    monkeypatch.setattr(passes, "QUERY_BYTES", 1)
    np.testing.assert_array_equal(sign_scores(queries, rows, offsets), first)
    for i, (start, stop) in enumerate(pairwise(queries.offsets)):
        np.testing.assert_array_equal(sign_scores(queries.take([i]), rows, offsets)[0], first[i])
        alone = hamming_scores(asked[start:stop], np.array([0, stop - start]), rows, offsets)
        np.testing.assert_array_equal(alone[0], second[i])


@pytest.mark.parametrize("positions", [[-1], [3], [0, 2**40]])
def test_positions_outside_are_refused(positions):
    queries, asked, rows, offsets = case(np.random.default_rng(0), [2], [3, 0, 4], 4)
    with pytest.raises(InvalidInputError, match="0 to 2"):
        sign_scores(queries, rows, offsets, np.array(positions))
    with pytest.raises(InvalidInputError, match="0 to 2"):
        hamming_scores(asked, queries.offsets, rows, offsets, np.array(positions))


def test_rows_of_other_widths_are_refused():
    queries, asked, rows, offsets = case(np.random.default_rng(0), [2], [3, 0, 4], 4)
    with pytest.raises(InvalidInputError, match="multiple of 4"):
        sign_scores(queries, rows[:, :3], offsets)
    with pytest.raises(InvalidInputError, match="for 64 bits"):
        sign_scores(case(np.random.default_rng(0), [2], [], 8)[0], rows, offsets)
    with pytest.raises(InvalidInputError, match="documents of 8"):
        hamming_scores(asked, queries.offsets, np.repeat(rows, 2, axis=1), offsets)
