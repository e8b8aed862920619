"""What an index knows of a query's likeliest documents, and that it is worth more to AXN than their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latefold import Document, Index, IndexConfig, TokenEmbeddings
from latefold.index.encodings.fde import FDEConfig
from latefold.retrieval.cur import evidence as module
from latefold.retrieval.cur.evidence import Evidence, Sources, gather, narrowed, standardised
from latefold.retrieval.cur.options import CrossEncoderSearch
from latefold.retrieval.cur.stored import StoredItems
from latefold.retrieval.filters import compile_filter
from latefold.retrieval.rerank import exact

COUNT, DIM = 300, 12
EMPTY = (7, 60, 222)
"""Documents without tokens."""
FIRST = 1
"""Catalog row of document 0."""
WORDS = [f"word{i}" for i in range(60)]


class Corpus:
    """Documents of random words and tokens in three segments, some of them deleted."""

    def __init__(self, path, rng: np.random.Generator) -> None:
        self.bags = [rng.choice(60, size=6, replace=False) for _ in range(COUNT)]
        topics = rng.standard_normal((20, DIM))
        self.tokens = [self._tokens(rng, topics, 0 if i in EMPTY else 5) for i in range(COUNT)]
        self.queries = TokenEmbeddings.from_list([self._tokens(rng, topics, 4) for _ in range(20)], dim=DIM)
        self.texts = [" ".join(WORDS[i] for i in rng.choice(60, size=4, replace=False)) for _ in range(20)]
        fde = FDEConfig(repetitions=6, simhash_bits=2, projected_dim=8)
        self.index = Index.create(path, dim=DIM, config=IndexConfig(codec="fp16", fde=fde))
        for start in range(0, COUNT, 100):
            numbers = range(start, start + 100)
            documents = [
                Document(f"d{i}", " ".join([*(WORDS[w] for w in self.bags[i]), f"number {i}"]), metadata={"n": i})
                for i in numbers
            ]
            own = TokenEmbeddings.from_list([self.tokens[i] for i in numbers], dim=DIM)
            self.index.add(documents, embeddings=own)
        self.dead = {10, 11, 150, 299}
        self.index.delete([f"d{i}" for i in self.dead])

    @staticmethod
    def _tokens(rng: np.random.Generator, topics: np.ndarray, count: int) -> np.ndarray:
        vectors = topics[rng.integers(len(topics), size=count)] + 0.7 * rng.standard_normal((count, DIM))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def sources(self, budget: int = 30, condition=None) -> Sources:
        snapshot = self.index._session.snapshot
        rows = np.concatenate([segment.rows for segment in snapshot.segments])
        options = CrossEncoderSearch(lambda pairs: [0.0] * len(pairs), budget)
        return Sources.of(snapshot, snapshot.fitted, rows, condition, options)

    def gather(
        self, number: int, *, text: str | None = None, vectors: bool = True, condition=None, mode="hybrid"
    ) -> Evidence:
        sources = self.sources(condition=condition)
        single = sources.fitted.single
        query = self.queries.take([number]) if vectors else None
        items = StoredItems([segment.vectors for segment in sources.snapshot.segments], single.lvq)
        own = None if query is None else single.encode_queries(query)[0]
        text = self.texts[number] if text is None else text
        return gather(sources, text, query, mode, [(items, own)])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    made = Corpus(tmp_path_factory.mktemp("evidence") / "i", np.random.default_rng(1))
    yield made
    made.index.close()


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("text", [None, "nothing that is there", "?!", "\N{SNOWMAN} the of"])
@pytest.mark.parametrize("low", [None, 100, 299, 1000])
@pytest.mark.parametrize("pool", [5, 1000])
def test_the_pool_is_distinct_and_allowed_and_all_that_is_known_is_finite(
    corpus, monkeypatch, vectors, text, low, pool
) -> None:
    monkeypatch.setattr(module, "POOL", pool)
    monkeypatch.setattr(module, "PER_CALL", 0)
    condition = None if low is None else compile_filter({"n": {"$gte": low}})
    allowed = {i for i in range(low or 0, COUNT) if i not in corpus.dead}
    found = corpus.gather(3, text=text, vectors=vectors, condition=condition)
    assert (np.diff(found.rows) > 0).all()
    numbers = set((found.rows - FIRST).tolist())
    assert numbers <= allowed
    assert len(set(found.first.tolist())) == len(found.first) <= len(found.rows)
    assert len(found.items) == len(found.rows)
    assert found.items.vectors.dtype == found.own.dtype == np.float32
    assert np.isfinite(found.items.vectors).all()
    assert found.own.shape == (found.items.dim,)
    if pool > COUNT:
        assert numbers == allowed
    elif len(allowed) >= pool:
        assert len(found.rows) >= pool


@pytest.mark.parametrize("number", range(5))
def test_products_with_the_query_s_vector_are_the_sum_of_standardised_scores(corpus, number: int) -> None:
    found = corpus.gather(number)
    sources, query = corpus.sources(), corpus.queries.take([number])
    lexical = sources.lexical(corpus.texts[number])
    maxsim = dict(exact(sources.snapshot, sources.fitted, query, sources.snapshot.live, COUNT)[0])
    single = sources.fitted.single
    vectors = single.lvq.decode(np.concatenate([segment.vectors for segment in sources.snapshot.segments]))
    products = vectors[found.rows - FIRST] @ single.encode_queries(query)[0]
    columns = [
        [lexical.get(row, 0.0) for row in found.rows.tolist()],
        [maxsim.get(row, min(maxsim.values())) for row in found.rows.tolist()],
        products,
    ]
    expected = sum((np.asarray(c) - np.mean(c)) / np.std(c) for c in columns)
    np.testing.assert_allclose(found.items.vectors @ found.own, expected, atol=2e-3)


def test_documents_without_tokens_have_the_lowest_maxsim(corpus) -> None:
    found = corpus.gather(0)
    column = found.items.vectors[:, -2]
    np.testing.assert_array_equal(column[np.isin(found.rows - FIRST, EMPTY)], column.min())


def test_the_penalty_on_a_vector_of_length_1_is_the_same_whatever_else_is_known(corpus) -> None:
    found = corpus.gather(0)
    assert found.regression.ridge * found.items.scale == pytest.approx(module.RIDGE)
    silent = Evidence(found.rows, type(found.items)(found.items.vectors * np.float32(1e4)), found.own, found.first)
    assert silent.regression.ridge > 0


@pytest.mark.parametrize("mode", ["exact", "ann", "lexical", "hybrid"])
def test_the_first_documents_are_those_of_a_search_in_the_same_mode(corpus, mode: str) -> None:
    for number in range(5):
        found = corpus.gather(number, mode=mode)
        query, text = corpus.queries.take([number]), corpus.texts[number]
        usual = corpus.index.search(text, 10, embeddings=query, mode="exact" if mode == "ann" else mode)
        assert [f"d{row - FIRST}" for row in found.rows[found.first[:10]].tolist()] == [hit.id for hit in usual]


def test_narrowed_vectors_keep_their_products(rng) -> None:
    topics = rng.standard_normal((8, 700))
    many = (np.repeat(topics, 5, axis=0) + 0.3 * rng.standard_normal((40, 700))).astype(np.float32)
    assert narrowed(many, 700) is many
    made = narrowed(many, 256)
    assert made.shape == (40, 256)
    np.testing.assert_array_equal(made, narrowed(many, 256))
    assert np.corrcoef((made @ made.T).ravel(), (many @ many.T).ravel())[0, 1] > 0.95


@given(arrays(np.float64, st.integers(0, 30), elements=st.floats(allow_nan=True, allow_infinity=True, width=32)))
def test_standardised_values_keep_their_order_and_lose_their_scale(values: np.ndarray) -> None:
    made = standardised(values)
    assert made.dtype == np.float32
    assert made.shape == values.shape
    assert np.isfinite(made).all()
    finite = np.isfinite(values)
    if made.any():
        assert made.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
        assert made.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)
        order = np.argsort(values[finite], kind="stable")
        assert (np.diff(made[finite][order]) >= 0).all()
    if finite.any():
        np.testing.assert_array_equal(made[~finite], made[finite].min())


def test_standardised_does_not_depend_on_scale_and_level(rng) -> None:
    values = rng.standard_normal(50)
    for other in (values * 1e30, values * 1e-30, values * 3 - 8):
        np.testing.assert_allclose(standardised(other), standardised(values), atol=1e-5)
    assert standardised(np.full(4, 0.1)).tolist() == [0, 0, 0, 0]


def test_axn_finds_more_than_reranking_with_as_many_calls(corpus) -> None:
    """A scorer that agrees with MaxSim and BM25 in part, prefers some documents whatever the query, and is noisy."""
    rng = np.random.default_rng(5)
    sources = corpus.sources()
    maxsim = exact(sources.snapshot, sources.fitted, corpus.queries, sources.snapshot.live, COUNT)
    shared = np.array([item.mean(axis=0) if len(item) else np.zeros(DIM) for item in corpus.tokens])
    bias = standardised(shared @ rng.standard_normal(DIM))
    kept = {"axn": 0, "rerank": 0}
    for number, text in enumerate(corpus.texts):
        table = np.zeros((2, COUNT))
        for row, score in maxsim[number]:
            table[0, row - FIRST] = score
        for row, score in sources.lexical(text).items():
            table[1, row - FIRST] = score
        noise = 0.3 * rng.standard_normal(COUNT)
        truth = standardised(table[0]) + standardised(table[1]) + 1.5 * bias + noise
        alive = [i for i in range(COUNT) if i not in corpus.dead]
        best = {f"d{i}" for i in sorted(alive, key=lambda i, truth=truth: -truth[i])[:10]}

        def score(pairs, truth=truth):
            return [truth[int(document.split()[-1])] for _, document in pairs]

        for method in kept:
            options = CrossEncoderSearch(score, 50, method)
            hits = corpus.index.search(text, 10, embeddings=corpus.queries.take([number]), rerank=options)
            kept[method] += len(best & {hit.id for hit in hits})
    assert kept["axn"] >= kept["rerank"] + 20
