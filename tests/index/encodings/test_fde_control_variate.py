"""The control variate of FDEs: the mean of a document is kept, what is left of its tokens is folded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.index.encodings.fde import FDE, FDEConfig

DIM = 12


def ragged(rng, lengths, dim=DIM, shared=0.0):
    """Unit vectors, which share a direction as those of most encoders do."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    vectors = shared + rng.standard_normal((offsets[-1], dim))
    return TokenEmbeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), offsets)


def maxsim(query, document):
    return (query @ document.T).max(axis=1).sum()


def test_taking_the_mean_away_changes_nothing_but_noise():
    """MaxSim(Q, P) = <sum of Q, c> + MaxSim(Q, P - c): without projection, both encodings are the same estimate."""
    tokens = ragged(np.random.default_rng(12), [8, 20, 1])
    mean = tokens[1].mean(axis=0)
    shifted = tokens[0].sum(axis=0) @ mean + maxsim(tokens[0], tokens[1] - mean)
    assert shifted == pytest.approx(maxsim(tokens[0], tokens[1]), abs=1e-5)
    products = []
    for control_variate in (False, True):
        encoding = FDE(FDEConfig(5, 3, None, True, control_variate=control_variate), DIM)
        products.append(encoding.encode_queries(tokens) @ encoding.encode_documents(tokens).T)
    np.testing.assert_allclose(products[1], products[0], rtol=1e-5, atol=1e-4)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 5), st.integers(0, 1000))
def test_an_empty_partition_of_a_control_variate_is_the_mean_and_bounded_as_well(query_length, length, bits, seed):
    rng = np.random.default_rng(seed)
    query, document = ragged(rng, [query_length]), ragged(rng, [length])
    encoding = FDE(FDEConfig(3, bits, None, fill_empty=False, seed=seed, control_variate=True), DIM)
    estimate = encoding.encode_queries(query)[0] @ encoding.encode_documents(document)[0] / 3
    assert estimate <= maxsim(query[0], document[0]) + 1e-4


@pytest.mark.parametrize("projection", ["sketch", "dense"])
def test_with_a_control_variate_single_token_documents_are_exact_through_any_projection(projection):
    rng = np.random.default_rng(3)
    queries, documents = ragged(rng, [9, 1, 20]), ragged(rng, [1] * 15)
    encoding = FDE(FDEConfig(4, 4, 3, final_dim=70, projection=projection, control_variate=True), DIM)
    estimates = encoding.encode_queries(queries) @ encoding.encode_documents(documents).T
    exact = [[maxsim(q, d) for d in documents] for q in queries]
    np.testing.assert_allclose(estimates, 4 * np.array(exact), atol=1e-4)


def test_a_control_variate_removes_the_noise_of_a_shared_direction():
    tokens = ragged(np.random.default_rng(13), [8, 20], dim=32, shared=2.0)

    def variance(control_variate):
        estimates = []
        for seed in range(150):
            encoding = FDE(FDEConfig(2, 2, 4, seed=seed, control_variate=control_variate), 32)
            estimates.append(encoding.encode_queries(tokens)[0] @ encoding.encode_documents(tokens)[1])
        return np.var(estimates)

    assert variance(True) < variance(False) / 5


def test_means_and_sums_are_appended_unsketched():
    tokens = ragged(np.random.default_rng(5), [7, 0, 1, 30, 12])
    for final_dim in (None, 30):
        encoding = FDE(FDEConfig(3, 2, 4, final_dim=final_dim, control_variate=True), DIM)
        assert encoding.output_dim == (final_dim or 3 * 4 * 4) + DIM
        documents, queries = encoding.encode_documents(tokens), encoding.encode_queries(tokens)
        for i in (0, 2, 3, 4):
            np.testing.assert_allclose(documents[i, -DIM:], tokens[i].mean(axis=0), atol=1e-6)
            np.testing.assert_allclose(queries[i, -DIM:], 3 * tokens[i].sum(axis=0), atol=1e-5)
        plain = FDE(FDEConfig(3, 2, 4, final_dim=final_dim), DIM).encode_queries(tokens)
        np.testing.assert_array_equal(queries[:, :-DIM], plain)
