"""The single vector per document as one part: fold, codes, and what is stored of it."""

from __future__ import annotations

import numpy as np
import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.index.encodings.fde import FDE, FDEConfig
from latefold.index.encodings.learned import Learned, LearnedConfig
from latefold.index.leanvec import sphering
from latefold.index.lvq import LVQ
from latefold.index.moments import Moments
from latefold.index.single import SingleVectors, blocks

DIM = 16


@pytest.fixture(params=["fde", "learned", "learned reduced"])
def single(request, make_embeddings):
    documents, queries = make_embeddings(120), make_embeddings(60)
    if request.param == "fde":
        fde = FDE(FDEConfig(repetitions=3, simhash_bits=2, projected_dim=8), DIM)
        return SingleVectors(fde, None, LVQ(np.zeros(fde.output_dim, np.float32)))
    learned = Learned.fit(LearnedConfig(width=64, learn_tokens=256), documents, queries)
    folded = learned.encode_documents(documents)
    if request.param == "learned":
        return SingleVectors(learned, None, LVQ(folded.mean(axis=0)))
    moments = Moments(learned.output_dim), Moments(learned.output_dim)
    moments[0].add(learned.encode_queries(queries))
    moments[1].add(folded)
    reduction = sphering(moments[0].matrix, moments[1].matrix, 32).rotated(3)
    return SingleVectors(learned, reduction, LVQ(reduction.reduce_documents(folded).mean(axis=0), bits=4))


def test_rows_rank_as_their_decoded_vectors_do(single, make_embeddings):
    rows = single.encode_documents(make_embeddings(90))
    queries = single.encode_queries(make_embeddings(7))
    assert rows.shape == (90, single.width)
    wanted = queries @ single.lvq.decode(rows).T
    positions, scores = single.top(queries, rows, 90)
    np.testing.assert_allclose(scores, np.take_along_axis(wanted, positions, axis=1), atol=0.02 * np.abs(wanted).max())
    allowed = np.arange(90) % 3 == 0
    positions, _ = single.top(queries, rows, 40, allowed=allowed)
    assert (np.sort(positions, axis=1)[:, -30:] == np.flatnonzero(allowed)).all()


def test_stored_parameters_give_equal_bytes(single, make_embeddings):
    again = SingleVectors.from_params(single.spec(), DIM, single.params())
    documents, queries = make_embeddings(40), make_embeddings(5)
    assert again.name == single.name
    np.testing.assert_array_equal(again.encode_documents(documents), single.encode_documents(documents))
    np.testing.assert_array_equal(again.encode_queries(queries), single.encode_queries(queries))


def test_a_document_is_folded_alone_as_in_company(single, make_embeddings):
    documents = make_embeddings(30)
    together = single.fold_documents(documents)
    for i in (0, 13, 29):
        np.testing.assert_allclose(single.fold_documents(documents.take([i]))[0], together[i], atol=1e-4)


def test_parts_that_do_not_fit_are_refused(single):
    with pytest.raises(InvalidInputError, match="dimensions"):
        SingleVectors(single.encoding, single.reduction, LVQ(np.zeros(single.lvq.dim + 1, np.float32)))


@pytest.mark.parametrize("lengths", [[], [0, 0], [3, 4, 5], [100, 1, 1], [1, 100, 0, 1], [5] * 40])
def test_blocks_cover_all_items_within_their_size(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    parts = list(blocks(offsets, tokens=10))
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(len(lengths)))
    assert all(offsets[stop] - offsets[start] <= 10 or stop == start + 1 for start, stop in parts)
