"""Figures of variants on real vectors, against plain numpy."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.encoders.pooling.base import Pooling
from latefold.eval.encoders import folding, ranking
from latefold.eval.encoders.collection import open_collection, unpooled
from latefold.eval.encoders.plan import SIZES, Plan, Variant
from latefold.eval.encoders.speed import speed

VARIANTS = [Variant(128), Variant(64), Variant(128, "k-means", "c33%"), Variant(128, "ward", "c33%")]


def ndcg(scores, collection):
    """By the definition, gains as they are judged."""
    ids = [document.id for document in collection.dataset.documents]
    found = []
    for row, query in zip(scores, collection.dataset.queries, strict=True):
        gains = collection.dataset.qrels[query]
        got = [
            gains.get(ids[place], 0) / np.log2(2 + i) for i, place in enumerate(np.argsort(-row, kind="stable")[:10])
        ]
        best = [gain / np.log2(2 + i) for i, gain in enumerate(sorted(gains.values(), reverse=True)[:10])]
        found.append(sum(got) / sum(best))
    return np.mean(found)


def maxsim(queries, documents):
    return np.array([[(q @ d.T).max(axis=1).sum() for d in documents] for q in queries])


@pytest.fixture(scope="module")
def ranked(tiny, encoded):
    rows = ranking.rank(tiny, encoded, [*VARIANTS, Variant(128, "mean")])["rows"]
    assert json.loads(json.dumps(rows)) == rows
    return {row["variant"]: row for row in rows}


def test_ranking_is_that_of_maxsim(tiny, encoded, ranked):
    for dim in (128, 64):
        documents, queries = encoded.at(dim)
        np.testing.assert_allclose(np.linalg.norm(documents.vectors, axis=1), 1, atol=1e-3)
        expected = ndcg(maxsim(queries, documents), tiny)
        assert ranked[str(Variant(dim))]["ndcg"] == pytest.approx(expected, abs=0.02)
    checked = ranking.exact(tiny, encoded, [Variant(128)])["rows"][0]
    documents, queries = encoded.at(128)
    assert checked["exact"] == pytest.approx(ndcg(maxsim(queries, documents), tiny), abs=1e-6)
    assert checked["ndcg"] == ranked[str(Variant(128))]["ndcg"]
    assert checked["agreement"] > 0.95


def test_one_mean_vector_is_ranked_by_cosine(tiny, encoded, ranked):
    queries, documents = (
        np.array([v.mean(axis=0) for v in part.read()]) for part in (encoded.queries, encoded.documents)
    )
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    row = ranked[str(Variant(128, "mean"))]
    assert row["ndcg"] == pytest.approx(ndcg(queries @ documents.T, tiny), abs=1e-6)
    assert (row["vectors"], row["bytes"]) == (1, 132)


def test_clusters_are_as_many_as_they_say(encoded, ranked):
    lengths = encoded.documents.read().lengths
    kept = np.mean([Pooling.parse("c33%").kept(int(length)) for length in lengths])
    for variant in VARIANTS[2:]:
        row = ranked[str(variant)]
        assert row["vectors"] == pytest.approx(kept, rel=0.02)  # cutting a tree may give fewer
        assert row["bytes"] == pytest.approx(132 * row["vectors"])
    assert ranked[str(VARIANTS[2])]["vectors"] == kept
    assert ranked[str(Variant(64))]["bytes"] == pytest.approx(68 * lengths.mean())


@pytest.mark.parametrize("pooling", ["c1", "c8", "c100", "c33%"])
def test_wards_clusters_are_as_many_and_as_long_as_others(encoded, pooling):
    documents = encoded.documents.read(0, 20)
    made = [ranking.pooled(documents, Variant(128, method, pooling)) for method in ("k-means", "ward")]
    assert (made[1].lengths <= made[0].lengths).all()
    assert len(made[1].vectors) >= 0.95 * len(made[0].vectors)
    np.testing.assert_allclose(np.linalg.norm(made[1].vectors, axis=1), 1, atol=1e-3)


def test_bm25_finds_documents_by_their_own_words(tiny):
    documents = tiny.dataset.documents[:50]
    queries = {document.id: document.text for document in documents}
    own = replace(tiny.dataset, documents=documents, queries=queries, qrels={id_: {id_: 1} for id_ in queries})
    assert ranking.bm25(replace(tiny, dataset=own))["ndcg"] == pytest.approx(1)


def test_isotropy_is_what_pairs_say(make_embeddings):
    tokens = make_embeddings(30, dim=8)
    found = folding.isotropy(tokens)
    vectors = tokens.vectors
    pairs = (vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)]
    assert found["cosine"] == pytest.approx(pairs.mean(), abs=1e-6)
    values = np.linalg.svd(vectors, compute_uv=False) ** 2
    assert found["rank"] == pytest.approx(values.sum() / values[0], rel=1e-5)
    several = [v for v in tokens if len(v) > 1]
    inside = [(v @ v.T)[~np.eye(len(v), dtype=bool)].mean() for v in several]
    assert found["cosine_within"] == pytest.approx(np.mean(inside), abs=1e-6)


def test_isotropy_of_the_extremes():
    same = TokenEmbeddings.from_list([np.eye(4)[[0, 0]], np.eye(4)[[0]]])
    assert folding.isotropy(same) == pytest.approx({"cosine": 1, "rank": 1, "cosine_within": 1, "rank_within": 1})
    apart = TokenEmbeddings.from_list([np.eye(4)])
    assert folding.isotropy(apart) == pytest.approx({"cosine": 0, "rank": 4, "cosine_within": 0, "rank_within": 4})


def test_folded_vectors_find_most(encoded):
    (row,) = folding.fold(encoded, [Variant(128, "k-means", "c8")])["rows"]
    assert all(0.5 < row[key] <= 1 for key in ("muvera", "muvera_paper", "learned"))
    assert row["learned"] > 0.9


def test_speeds_are_relative_to_the_first(place, tiny):
    result = speed([place.encoder, "minilm:nonsense"], tiny.documents, 2)
    assert list(result["left_out"]) == ["minilm:nonsense"]
    (row,) = result["rows"]
    assert row["document_ratio"] == row["query_ratio"] == 1
    assert row["documents_per_cpu_second"] > 0
    assert result["queries"] == 60
    with pytest.raises(InvalidInputError, match="needs an encoder and 2 documents"):
        speed([place.encoder], [], 2)


def test_variants_are_read_as_written():
    plan = Plan("latefold", "other")
    for name in ("minilm", "latefold", "other"):
        variants = plan.variants(name, 384)
        assert len(set(variants)) == len(variants)
        assert [Variant.parse(str(variant)) for variant in variants] == variants
        assert {Pooling.parse(variant.pooling).kind for variant in variants} >= {"none", "relative", "fixed"}
    assert {v.pooling for v in plan.variants("other", 96) if v.method == "ward"} == set(SIZES.values())
    assert [v.dim for v in plan.variants("latefold", 96) if v.method == "tokens"] == [32, 64, 96]
    for text in ("", "128", "128 tokens", "x tokens none", "128 magic c8"):
        with pytest.raises(InvalidInputError, match="names no variant"):
            Variant.parse(text)


def test_digests_change_with_judgements(tiny):
    data = tiny.dataset
    other = replace(data, qrels={**data.qrels, next(iter(data.qrels)): {}})
    assert replace(tiny, dataset=other).digest != tiny.digest == replace(tiny, dataset=replace(data)).digest


def test_a_quick_run_takes_the_head(place):
    small = replace(place, quick=True, quick_documents=7, quick_queries=3)
    head = open_collection("tiny", small)
    assert (len(head.documents), len(head.queries), len(head.dataset.qrels)) == (7, 3, 3)
    with pytest.raises(InvalidInputError, match="holds no collection 'absent'"):
        open_collection("absent", place)


def test_encoders_keep_all_tokens():
    assert unpooled("minilm").fingerprint.pooling == "none"
