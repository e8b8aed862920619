import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.kernels import maxsim as module
from latefold.index.kernels.maxsim import TILE, maxsim
from latefold.index.kernels.rows import FP16


def ragged(rng, lengths, dim):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenEmbeddings(rng.standard_normal((offsets[-1], dim)).astype(np.float16), offsets)


def rows(tokens):
    return tokens.vectors.astype("<f2").view(np.uint8)


def maxsim_twin(queries, documents):
    scores = np.full((len(queries), len(documents)), -np.inf)
    for i, query in enumerate(queries):
        for j, document in enumerate(documents):
            if len(document):
                scores[i, j] = (query.astype(np.float64) @ document.T).max(axis=1).sum()
    return scores


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 9), max_size=5),
    st.lists(st.one_of(st.integers(0, 5), st.integers(TILE - 1, 2 * TILE + 1)), max_size=6),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_kernel_equals_its_twin(query_lengths, document_lengths, dim, seed):
    rng = np.random.default_rng(seed)
    queries, documents = ragged(rng, query_lengths, dim), ragged(rng, document_lengths, dim)
    scores = maxsim(queries, rows(documents), FP16, documents.offsets)
    assert scores.shape == (len(queries), len(documents))
    np.testing.assert_allclose(scores, maxsim_twin(queries, documents), rtol=1e-5, atol=1e-4)


def test_passes_over_groups_of_queries_equal_one_pass(monkeypatch):
    rng = np.random.default_rng(0)
    queries, documents = ragged(rng, rng.integers(0, 9, 30), 16), ragged(rng, rng.integers(0, 9, 20), 16)
    whole = maxsim(queries, rows(documents), FP16, documents.offsets)
    monkeypatch.setattr(module, "QUERY_BYTES", 1000)
    np.testing.assert_array_equal(maxsim(queries, rows(documents), FP16, documents.offsets), whole)


def test_score_of_a_pair_does_not_depend_on_its_company():
    rng = np.random.default_rng(1)
    queries, documents = ragged(rng, [5, 8, 1, 32], 128), ragged(rng, [3, 80, 1, 64, 65], 128)
    together = maxsim(queries, rows(documents), FP16, documents.offsets)
    for i in range(len(queries)):
        for j in range(len(documents)):
            alone = documents.take([j])
            score = maxsim(queries.take([i]), rows(alone), FP16, alone.offsets)
            assert score[0, 0] == together[i, j]


def test_several_threads_score_the_same(three_threads):
    rng = np.random.default_rng(2)
    queries, documents = ragged(rng, [5, 9], 64), ragged(rng, rng.integers(0, 90, 40), 64)
    scores = maxsim(queries, rows(documents), FP16, documents.offsets)
    np.testing.assert_allclose(scores, maxsim_twin(queries, documents), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("positions", [[-1], [3], [0, 2**40]])
def test_positions_outside_are_refused(positions):
    documents = ragged(np.random.default_rng(0), [2, 0, 3], 4)
    with pytest.raises(InvalidInputError, match="0 to 2"):
        maxsim(documents, rows(documents), FP16, documents.offsets, np.array(positions))


@pytest.mark.parametrize("offsets", [[0, 6], [-1, 3], [3, 1], [0, 2**62]])
def test_offsets_outside_the_rows_are_refused(offsets):
    documents = ragged(np.random.default_rng(0), [2, 0, 3], 4)
    with pytest.raises(InvalidInputError, match="within the 5 token rows"):
        maxsim(documents, rows(documents), FP16, np.array(offsets))
