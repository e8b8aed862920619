import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.tokens.base import codec
from latefold.index.tokens.saliency import (
    Frequencies,
    document_frequencies,
    keep_top,
    prune_documents,
    prune_queries,
    saliency,
)

DIM = 12
lengths = st.lists(st.integers(0, 12), max_size=6)
shares = st.floats(0.01, 1)


def ragged(rng, sizes):
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return TokenEmbeddings(rng.standard_normal((offsets[-1], DIM)).astype(np.float32), offsets)


@given(lengths, shares, st.integers(0, 2**32 - 1))
def test_the_largest_share_of_each_document_is_kept(sizes, share, seed):
    rng = np.random.default_rng(seed)
    documents = ragged(rng, sizes)
    weights = rng.integers(0, 4, len(documents.vectors)).astype(np.float32)  # many ties
    positions, offsets = keep_top(weights, documents.offsets, share)
    assert (np.diff(positions) > 0).all()
    for j, size in enumerate(sizes):
        start, stop = documents.offsets[j : j + 2]
        kept = positions[offsets[j] : offsets[j + 1]]
        count = min(size, max(1, math.ceil(share * size - 1e-9)))
        order = sorted(range(start, stop), key=lambda t: (-weights[t], t))
        assert kept.tolist() == sorted(order[:count])


@given(lengths, st.integers(0, 2**32 - 1))
def test_all_of_a_document_is_itself(sizes, seed):
    documents = ragged(np.random.default_rng(seed), sizes)
    positions, offsets = keep_top(saliency(documents, "norm"), documents.offsets, 1.0)
    np.testing.assert_array_equal(positions, np.arange(len(documents.vectors)))
    np.testing.assert_array_equal(offsets, documents.offsets)


def test_shares_that_are_not_exact_in_binary_round_as_written():
    for share, size, kept in ((0.8, 5, 4), (0.6, 5, 3), (0.4, 5, 2), (0.1, 30, 3), (0.7, 10, 7), (0.55, 20, 11)):
        assert keep_top(np.zeros(size, np.float32), np.array([0, size]), share)[1][1] == kept


@settings(deadline=None, max_examples=40)
@given(lengths, st.tuples(shares, shares), st.sampled_from(["norm", "distance"]), st.integers(0, 2**32 - 1))
def test_scores_never_rise_when_documents_are_pruned(sizes, both, by, seed):
    rng = np.random.default_rng(seed)
    queries, documents = ragged(rng, [3, 7]), ragged(rng, sizes)
    weights = saliency(documents, by)
    chosen = codec("fp16").fit(documents.vectors)
    small, large = (prune_documents(documents, weights, share) for share in sorted(both))
    scores = [chosen.score(queries, chosen.encode(part.vectors), part.offsets) for part in (small, large, documents)]
    assert (scores[0] <= scores[1]).all()
    assert (scores[1] <= scores[2]).all()


def test_measures_are_what_they_are_named_for():
    vectors = np.array([[3, 4], [1, 0], [1, 0], [0, 1], [0, 0]], np.float32)
    documents = TokenEmbeddings(vectors, np.array([0, 1, 4, 5]))
    np.testing.assert_allclose(saliency(documents, "norm"), [5, 1, 1, 1, 0])
    near, far = 1 - 2 / math.sqrt(5), 1 - 1 / math.sqrt(5)
    np.testing.assert_allclose(saliency(documents, "distance"), [0, near, near, far, 0], atol=1e-6)
    codes = np.array([2, 0, 0, 2, 1])
    frequencies = document_frequencies(codes, documents.offsets, 4)
    assert frequencies.counts.tolist() == [1, 1, 2, 0]
    assert frequencies.documents == 3
    rare, common = math.log(4 / 2), math.log(4 / 3)
    found = saliency(documents, "rarity", codes=codes, frequencies=frequencies)
    np.testing.assert_allclose(found, [common, rare, rare, common, rare], rtol=1e-6)
    attention = np.array([0.1, 0.2, 0.3, 0.4, 0], np.float32)
    np.testing.assert_array_equal(saliency(documents, "attention", attention=attention), attention)


def test_queries_are_pruned_by_their_own_function():
    rng = np.random.default_rng(0)
    queries = ragged(rng, [10, 0, 1])
    weights = saliency(queries, "norm")
    pruned = prune_queries(queries, weights, 0.5)
    assert pruned.lengths.tolist() == [5, 0, 1]
    kept = np.sort(np.linalg.norm(pruned[0], axis=1))
    np.testing.assert_allclose(kept, np.sort(weights[:10])[5:])


def test_a_long_document_keeps_its_tokens_in_any_company():
    rng = np.random.default_rng(1)
    documents = ragged(rng, [40, 7, 0, 25])
    together = prune_documents(documents, saliency(documents, "distance"), 0.4)
    for j in range(len(documents)):
        alone = documents.take([j])
        np.testing.assert_array_equal(prune_documents(alone, saliency(alone, "distance"), 0.4)[0], together[j])


def test_what_does_not_fit_is_refused():
    documents = ragged(np.random.default_rng(0), [2, 3])
    frequencies = Frequencies(np.array([1, 2]), 2)
    for bad in (0.0, -1.0, 1.1, float("nan")):
        with pytest.raises(InvalidInputError, match="share"):
            keep_top(np.zeros(5, np.float32), documents.offsets, bad)
    with pytest.raises(InvalidInputError, match="4 tokens"):
        keep_top(np.zeros(4, np.float32), documents.offsets, 0.5)
    with pytest.raises(InvalidInputError, match="finite"):
        keep_top(np.full(5, np.nan, np.float32), documents.offsets, 0.5)
    with pytest.raises(InvalidInputError, match="needs the codes"):
        saliency(documents, "rarity", frequencies=frequencies)
    with pytest.raises(InvalidInputError, match="0 to 1"):
        saliency(documents, "rarity", codes=np.array([0, 1, 0, 1, 2]), frequencies=frequencies)
    with pytest.raises(InvalidInputError, match="attention"):
        saliency(documents, "attention")
    with pytest.raises(InvalidInputError, match=r"\(5,\)"):
        saliency(documents, "attention", attention=np.zeros(4, np.float32))
