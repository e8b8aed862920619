import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.kernels import patches as module
from latefold.index.kernels.patches import patch_scores, tables

FORMS = {"one byte": (1, 1, 256), "nine bits": (2, 1, 512), "two bytes": (2, 2, 256), "three bytes": (3, 3, 256)}


def ragged(rng, lengths, dim):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenEmbeddings(rng.standard_normal((offsets[-1], dim)).astype(np.float32), offsets)


def decoded(rows, codebooks):
    """Sums of entries; of rows of nine bits, the upper seven do not count."""
    if codebooks.shape[1] == 512:
        return codebooks[0][np.ascontiguousarray(rows).view("<u2")[:, 0] % 512]
    return sum(book[rows[:, i]] for i, book in enumerate(codebooks.astype(np.float64)))


def maxsim_twin(queries, vectors, offsets):
    scores = np.full((len(queries), len(offsets) - 1), -np.inf)
    for j in range(len(offsets) - 1):
        if offsets[j] < offsets[j + 1]:
            products = queries.vectors.astype(np.float64) @ vectors[offsets[j] : offsets[j + 1]].T
            best = np.append(products.max(axis=1), 0)
            scores[:, j] = [best[a:b].sum() for a, b in zip(queries.offsets, queries.offsets[1:], strict=False)]
    return scores


def case(rng, form, query_lengths, document_lengths, dim):
    width, books, entries = FORMS[form]
    codebooks = rng.standard_normal((books, entries, dim)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(document_lengths)]).astype(np.int64)
    rows = rng.integers(0, 256, (offsets[-1], width), np.uint8)
    return ragged(rng, query_lengths, dim), codebooks, rows, offsets


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(FORMS)),
    st.lists(st.integers(0, 40), max_size=4),
    st.lists(st.integers(0, 11), max_size=6),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_kernel_equals_its_twin(form, query_lengths, document_lengths, dim, seed):
    queries, codebooks, rows, offsets = case(np.random.default_rng(seed), form, query_lengths, document_lengths, dim)
    scores = patch_scores(queries, codebooks, rows, offsets)
    assert scores.dtype == np.float32
    expected = maxsim_twin(queries, decoded(rows, codebooks), offsets)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("form", FORMS)
def test_scores_do_not_depend_on_company_or_threads_or_passes(form, three_threads, monkeypatch):
    rng = np.random.default_rng(0)
    queries, codebooks, rows, offsets = case(rng, form, [5, 0, 17, 32, 1], rng.integers(0, 30, 20), 24)
    together = patch_scores(queries, codebooks, rows, offsets)
    positions = rng.permutation(20)
    np.testing.assert_array_equal(patch_scores(queries, codebooks, rows, offsets, positions), together[:, positions])
    for i in range(len(queries)):
        np.testing.assert_array_equal(patch_scores(queries.take([i]), codebooks, rows, offsets)[0], together[i])
    monkeypatch.setattr(module, "TABLE_BYTES", 1)
    np.testing.assert_array_equal(patch_scores(queries, codebooks, rows, offsets), together)


def test_a_score_is_read_from_the_table_of_products():
    rng = np.random.default_rng(1)
    queries, codebooks, _, _ = case(rng, "one byte", [3, 20], [], 16)
    made = tables(queries, codebooks)
    assert made.values.shape == (3, 1, 256, 16)
    np.testing.assert_array_equal(made.spans, [[0, 1], [1, 3]])
    np.testing.assert_allclose(made.values[2, 0, :, 3], codebooks[0] @ queries.vectors[22], atol=1e-5)
    assert not made.values[0, :, :, 3:].any()


def test_what_lies_outside_is_refused():
    queries, codebooks, rows, offsets = case(np.random.default_rng(0), "one byte", [2], [3, 0, 4], 4)
    for positions in ([-1], [3], [0, 2**40]):
        with pytest.raises(InvalidInputError, match="0 to 2"):
            patch_scores(queries, codebooks, rows, offsets, np.array(positions))
    with pytest.raises(InvalidInputError, match="within the 7 token rows"):
        patch_scores(queries, codebooks, rows, offsets + 1)
    with pytest.raises(InvalidInputError, match="rows of 1 bytes do not fit 1 codebooks of 128 entries"):
        patch_scores(queries, codebooks[:, :128], rows, offsets)
    with pytest.raises(InvalidInputError, match="2 codebooks"):
        patch_scores(queries, np.repeat(codebooks, 2, axis=0), rows, offsets)
