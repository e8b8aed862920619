"""The search pipeline against exact MaxSim in plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold import Document, Index, IndexConfig, TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.retrieval.rerank import top_k


def maxsim(queries, documents):
    return np.array([[(q @ d.T).max(axis=1).sum() if len(d) else -np.inf for d in documents] for q in queries])


@pytest.fixture
def corpus(tmp_path, make_embeddings):
    """An index of 120 documents in several segments, with its embeddings."""
    embeddings = make_embeddings(120)
    index = Index.create(tmp_path / "i", dim=16, config=IndexConfig(codec="fp16"))
    for start in range(0, 120, 40):
        documents = [Document(f"d{i}", f"word{i} common", metadata={"n": i}) for i in range(start, start + 40)]
        index.add(documents, embeddings=embeddings.take(np.arange(start, start + 40)))
    yield index, embeddings
    index.close()


def test_exact_search_is_maxsim(corpus, make_embeddings):
    index, embeddings = corpus
    queries = make_embeddings(5)
    expected = maxsim(queries, embeddings)
    for hits, scores in zip(index.search(embeddings=queries, k=7, mode="exact"), expected, strict=True):
        assert [hit.id for hit in hits] == [f"d{i}" for i in np.argsort(-scores, kind="stable")[:7]]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:7], atol=5e-3)


def test_candidates_that_cover_the_corpus_give_the_exact_result(corpus, make_embeddings):
    index, _ = corpus
    queries = make_embeddings(4)
    exact = index.search(embeddings=queries, k=9, mode="exact")
    fde = index.search(embeddings=queries, k=9, mode="ann")
    for left, right in zip(exact, fde, strict=True):
        assert [hit.id for hit in left] == [hit.id for hit in right]
        np.testing.assert_allclose([hit.score for hit in left], [hit.score for hit in right], rtol=1e-5)


def test_a_batch_equals_single_queries(corpus, make_embeddings):
    index, _ = corpus
    queries = make_embeddings(6)
    batch = index.search(embeddings=queries, k=5, mode="exact")
    for i, hits in enumerate(batch):
        (alone,) = index.search(embeddings=queries.take([i]), k=5, mode="exact")
        assert [hit.id for hit in hits] == [hit.id for hit in alone]
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in alone], rtol=1e-5)


@pytest.mark.parametrize("mode", ["exact", "ann"])
def test_filters_apply_before_scoring(corpus, make_embeddings, mode):
    index, embeddings = corpus
    queries = make_embeddings(3)
    allowed = np.arange(50, 58)
    scores = maxsim(queries, embeddings)[:, allowed]
    found = index.search(embeddings=queries, k=5, mode=mode, filter={"n": {"$gte": 50, "$lt": 58}})
    for hits, row in zip(found, scores, strict=True):
        assert [hit.id for hit in hits] == [f"d{allowed[i]}" for i in np.argsort(-row, kind="stable")[:5]]


def test_lexical_filters_apply_before_ranking(corpus):
    index, _ = corpus
    hits = index.search("common", 200, mode="lexical", filter={"n": {"$lt": 10}})
    assert sorted(hit.id for hit in hits) == sorted(f"d{i}" for i in range(10))
    assert [hit.id for hit in index.search("word77", mode="lexical")] == ["d77"]


def test_hybrid_fuses_both_rankings(corpus):
    index, embeddings = corpus
    query = embeddings.take([33])
    hits = index.search("word99", 3, embeddings=query, mode="hybrid")
    assert {hits[0].id, hits[1].id} == {"d33", "d99"}
    assert {hit.id: hit.score for hit in hits}["d33"] >= 1 / 61


def test_auto_without_an_encoder_uses_what_there_is(corpus):
    index, embeddings = corpus
    assert index.search("word3")[0].id == "d3"
    assert index.search(embeddings=embeddings.take([8]))[0][0].id == "d8"
    assert index.search("word3", embeddings=embeddings.take([3]))[0].id == "d3"
    assert index.search(["word3", "word4"])[1][0].id == "d4"
    with pytest.raises(InvalidInputError, match="no encoder"):
        index.search("word3", mode="exact")
    with pytest.raises(InvalidInputError, match="text"):
        index.search(embeddings=embeddings.take([8]), mode="lexical")


def test_deleted_documents_are_never_found(corpus):
    index, embeddings = corpus
    index.delete([f"d{i}" for i in range(0, 120, 2)])
    for mode in ("exact", "ann"):
        (hits,) = index.search(embeddings=embeddings.take([4]), k=200, mode=mode)
        assert len(hits) == 60
        assert all(int(hit.id[1:]) % 2 for hit in hits)
    assert len(index.search("common", 200, mode="lexical")) == 60


def test_documents_without_tokens_are_stored_but_not_found(tmp_path):
    with Index.create(tmp_path / "i", dim=2) as index:
        embeddings = TokenEmbeddings(np.array([[1, 0]], np.float32), np.array([0, 0, 1]))
        index.add([Document("empty", ""), Document("full", "x")], embeddings=embeddings)
        (hits,) = index.search(embeddings=TokenEmbeddings.from_list([[[1.0, 0.0]]]), mode="exact")
        assert [hit.id for hit in hits] == ["full"]
        assert len(index) == 2


@pytest.mark.parametrize("k", [0, -1, 10**9, 2.5, True, None])
def test_k_out_of_range_is_refused(corpus, k):
    with pytest.raises(InvalidInputError, match="k is a whole number"):
        corpus[0].search("x", k)


@pytest.mark.parametrize("query", ["", "  \n", "a\0b", "x" * 4097, "\ud800", 3, b"x"])
def test_unusable_queries_are_refused(corpus, query):
    with pytest.raises(InvalidInputError, match="query"):
        corpus[0].search([query])


def test_unusable_embeddings_are_refused(corpus, make_embeddings):
    index, _ = corpus
    with pytest.raises(InvalidEmbeddingsError, match="8 dimensions, the index 16"):
        index.search(embeddings=make_embeddings(1, dim=8))
    with pytest.raises(InvalidEmbeddingsError, match="1 to 512"):
        index.search(embeddings=make_embeddings(1, low=513, high=514))
    with pytest.raises(InvalidEmbeddingsError, match="1 to 512"):
        index.search(embeddings=TokenEmbeddings.from_list([np.empty((0, 16))]))
    with pytest.raises(InvalidEmbeddingsError, match="2 queries"):
        index.search(["a", "b"], embeddings=make_embeddings(1))
    with pytest.raises(InvalidInputError, match="mode"):
        index.search("x", mode="magic")
    with pytest.raises(InvalidInputError, match="nothing to search"):
        index.search()


def test_an_empty_index_answers_with_nothing(tmp_path, make_embeddings):
    with Index.create(tmp_path / "i", dim=16) as index:
        assert index.search("x") == []
        assert index.search(embeddings=make_embeddings(2)) == [[], []]


@given(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), max_size=30), st.integers(1, 12))
@settings(deadline=None)
def test_top_k_is_a_stable_sort(scores, k):
    rows = np.arange(len(scores), dtype=np.int64) * 3
    values = np.array(scores, np.float32)
    expected = [(row, s) for row, s in sorted(zip(rows.tolist(), scores, strict=True), key=lambda x: (-x[1], x[0]))]
    assert top_k(rows, values, k) == [item for item in expected[:k] if np.isfinite(item[1])]


@pytest.mark.parametrize(
    ("options", "ranked"),
    [({}, 400), ({"k": 90}, 720), ({"candidates": 30}, 100), ({"candidates": 130}, 130), ({"mode": "ann"}, 40)],
)
def test_candidates_follow_the_length_of_the_ranking_they_are_for(tmp_path, make_embeddings, options, ranked):
    embeddings = make_embeddings(800)
    config = IndexConfig(codec="fp16", encoding="fde", candidates=10, exact_below=0)
    with Index.create(tmp_path / "i", dim=16, config=config) as index:
        index.add([Document(f"d{i}", f"word{i}") for i in range(800)], embeddings=embeddings)
        wanted = {"k": 10, "mode": "hybrid"} | options
        found = index.search_timed("word3", embeddings=embeddings.take([3]), **wanted)
        assert found.work.scored + found.work.estimated == ranked


@pytest.mark.parametrize(("options", "ranked"), [({}, 200), ({"refined": 20}, 100), ({"refined": 300}, 300)])
def test_the_second_level_follows_the_length_of_the_ranking_too(tmp_path, make_embeddings, options, ranked):
    embeddings = make_embeddings(800)
    config = IndexConfig(codec="lvq8+fp16", encoding="fde", exact_below=0)
    with Index.create(tmp_path / "i", dim=16, config=config) as index:
        index.add([Document(f"d{i}", f"word{i}") for i in range(800)], embeddings=embeddings)
        assert index.calibrate().refined <= 200
        found = index.search_timed("word3", 10, embeddings=embeddings.take([3]), mode="hybrid", **options)
        assert found.work.scored == ranked
