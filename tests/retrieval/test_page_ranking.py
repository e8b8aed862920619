"""Pages as results: the best window of each, judged with its neighbours and with BM25, against plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold import Document, Index, IndexConfig, TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.retrieval.page_ranking import LEXICAL, NEIGHBOURS

DIM = 8
WORDS = "tea coffee oven kettle garden frost".split()


def unit(rng, count):
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def windows(rng, sources, pages, per_page, loose=0):
    """Documents: windows of pages, a page missing here and there, and some that are on no page."""
    found = []
    for s in range(sources):
        for p in range(1, pages + 1):
            if p % 5 == 4:
                continue
            for w in range(int(rng.integers(1, per_page + 1))):
                text = " ".join(rng.choice(WORDS, 3))
                found.append(Document(f"{s}-{p}-{w}", text, metadata={"source": f"s{s}", "page": p}))
    found += [Document(f"loose-{i}", " ".join(rng.choice(WORDS, 3))) for i in range(loose)]
    order = rng.permutation(len(found))
    return [found[i] for i in order]


def filled(path, documents, rng, **config):
    vectors = TokenEmbeddings.from_list([unit(rng, int(rng.integers(1, 5))) for _ in documents])
    index = Index.create(path, dim=DIM, config=IndexConfig(codec="fp16", **config))
    half = len(documents) // 2
    index.add(documents[:half], embeddings=vectors.take(range(half)))
    index.add(documents[half:], embeddings=vectors.take(range(half, len(documents))))
    return index, vectors


def expected(documents, vectors, query, lexical=None):
    """Page to its best document and score, by the formula of the docstring and nothing else."""
    scores = {d.id: float((vectors[i] @ query.T).max(0).sum()) for i, d in enumerate(documents)}
    page = {d.id: (d.metadata["source"], d.metadata["page"]) if d.metadata else (d.id, 0) for d in documents}
    best = {}
    for name, score in scores.items():
        if page[name] not in best or score > scores[best[page[name]]]:
            best[page[name]] = name
    own = {key: scores[name] for key, name in best.items()}
    total = {}
    for (source, number), score in own.items():
        beside = (own.get((source, number - 1), score) + own.get((source, number + 1), score)) / 2
        total[source, number] = (score + NEIGHBOURS * beside) / (1 + NEIGHBOURS)
    if lexical is not None:
        words = dict.fromkeys(own, 0.0)
        for name, score in lexical.items():
            words[page[name]] = max(words[page[name]], score)
        standard = [(np.array(list(v.values())).mean(), np.array(list(v.values())).std() or 1) for v in (total, words)]
        total = {
            key: (total[key] - standard[0][0]) / standard[0][1]
            + LEXICAL * (words[key] - standard[1][0]) / standard[1][1]
            for key in total
        }
    return {best[key]: score for key, score in total.items()}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), mode=st.sampled_from(["exact", "ann", "hybrid"]))
def test_pages_are_ranked_by_the_formula(tmp_path_factory, seed, mode):
    rng = np.random.default_rng(seed)
    documents = windows(rng, 2, 9, 3, loose=3)
    index, vectors = filled(tmp_path_factory.mktemp("i") / "index", documents, rng)
    query = unit(rng, 4)
    text = "tea kettle"
    with index:
        lexical = {hit.id: hit.score for hit in index.search(text, 100, mode="lexical")} if mode == "hybrid" else None
        query_vectors = TokenEmbeddings.from_list([query])
        hits = index.search([text], 12, embeddings=query_vectors, mode=mode, collapse="page")[0]
    want = expected(documents, vectors, query, lexical)
    best = sorted(want.values(), reverse=True)[:12]
    np.testing.assert_allclose([hit.score for hit in hits], best, atol=5e-3)
    for hit in hits:
        assert abs(want[hit.id] - hit.score) < 5e-3


def test_every_page_comes_once_and_as_many_as_there_are(tmp_path):
    rng = np.random.default_rng(1)
    documents = windows(rng, 3, 12, 6)
    index, _ = filled(tmp_path / "index", documents, rng)
    with index:
        for mode in ("exact", "ann", "lexical", "hybrid"):
            query = TokenEmbeddings.from_list([unit(rng, 3)])
            hits = index.search(["tea coffee oven"], 1000, embeddings=query, mode=mode, collapse="page")[0]
            places = [(hit.source, hit.page) for hit in hits]
            assert len(places) == len(set(places))
            if mode != "lexical":
                assert len(places) == 3 * 10
            few = index.search(["tea coffee oven"], 4, embeddings=query, mode=mode, collapse="page")[0]
            assert len(few) == 4
            if mode != "hybrid":  # whose scores are distances from the mean of the pages that are looked at
                assert [hit.id for hit in few] == [hit.id for hit in hits[:4]]


def test_sources_collapse_to_their_best_document(tmp_path):
    rng = np.random.default_rng(2)
    documents = windows(rng, 30, 3, 4)
    index, _ = filled(tmp_path / "index", documents, rng)
    query = TokenEmbeddings.from_list([unit(rng, 3)])
    with index:
        every = index.search(embeddings=query, k=1000, mode="exact")[0]
        hits = index.search(embeddings=query, k=25, mode="exact", collapse="source")[0]
    first = {}
    for hit in every:
        first.setdefault(hit.source, hit.id)
    assert [hit.id for hit in hits] == list(first.values())[:25]


def test_a_filter_leaves_no_window_of_another_page_in(tmp_path):
    rng = np.random.default_rng(3)
    index, _ = filled(tmp_path / "index", windows(rng, 2, 9, 4), rng)
    query = TokenEmbeddings.from_list([unit(rng, 3)])
    with index:
        hits = index.search(embeddings=query, k=50, collapse="page", filter={"page": {"$lte": 2}})[0]
        assert index.search(embeddings=query, k=5, collapse="page", filter={"page": 99})[0] == []
    assert sorted((hit.source, hit.page) for hit in hits) == [("s0", 1), ("s0", 2), ("s1", 1), ("s1", 2)]


def test_deleted_windows_and_new_ones_are_noticed(tmp_path):
    rng = np.random.default_rng(4)
    documents = windows(rng, 1, 3, 1)
    index, vectors = filled(tmp_path / "index", documents, rng)
    query = TokenEmbeddings.from_list([vectors[0]])
    with index:
        top = index.search(embeddings=query, k=1, collapse="page")[0][0].id
        assert top == documents[0].id
        index.delete(top)
        assert top not in [hit.id for hit in index.search(embeddings=query, k=9, collapse="page")[0]]
        index.add([Document("new", "x", metadata={"source": "s0", "page": 50})], embeddings=query)
        assert index.search(embeddings=query, k=1, collapse="page")[0][0].id == "new"


def test_what_cannot_be_collapsed_to_is_refused(tmp_path):
    with Index.create(tmp_path / "index") as index, pytest.raises(InvalidInputError, match="one a page or a source"):
        index.search("tea", collapse="chapter")  # type: ignore[arg-type]


def test_an_empty_index_has_no_pages(tmp_path):
    with Index.create(tmp_path / "index") as index:
        assert index.search("tea", collapse="page") == []
