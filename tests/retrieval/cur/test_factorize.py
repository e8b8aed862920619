"""Scores gathered before any search: what is asked and paid for, what is stored, and what others may do meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import estimates

from latefold import Document, Index, IndexConfig, TokenEmbeddings
from latefold.encoders.base import Fingerprint
from latefold.encoders.errors import InvalidInputError, ScorerError
from latefold.index.encodings.fde import FDEConfig
from latefold.retrieval.cur import factorize as module
from latefold.retrieval.cur.collect import AT_ONCE
from latefold.retrieval.cur.factorize import MIN_DENSE, first_stage, planned
from latefold.retrieval.cur.options import CrossEncoderSearch
from latefold.retrieval.cur.regression import Regression
from latefold.retrieval.cur.stored import StoredItems

DIM, DOCUMENTS, RANK = 16, 90, 6
DEAD = ("d3", "d4", "d40", "d89")
LIVE = [i for i in range(DOCUMENTS) if f"d{i}" not in DEAD]
TRAINED = [f"query {i}" for i in range(24)]


class HashEncoder:
    """Unit vectors that are a function of each word: fast, and the same every time."""

    name, dim = "hash", DIM
    fingerprint = Fingerprint("hash", "hash", DIM)

    def encode_documents(self, texts: Sequence[str], progress=None) -> TokenEmbeddings:  # noqa: ARG002
        return TokenEmbeddings.from_list([np.stack([self._word(w) for w in text.split()]) for text in texts], dim=DIM)

    def encode_queries(self, texts: Sequence[str], progress=None) -> TokenEmbeddings:  # noqa: ARG002
        return self.encode_documents(texts)

    @staticmethod
    def _word(word: str) -> np.ndarray:
        vector = np.random.default_rng(list(word.encode())).standard_normal(DIM).astype(np.float32)
        return vector / np.linalg.norm(vector)


class Table:
    """A scorer of low rank; texts end with their numbers. Notes every pair."""

    fingerprint = "table"

    def __init__(self, scale: float = 1.0, offset: float = 0.0) -> None:
        rng = np.random.default_rng(3)
        left, right = rng.standard_normal((200, RANK)), rng.standard_normal((200, RANK))
        self.table = scale * (left @ right.T) + offset
        self.pairs: list[tuple[str, str]] = []
        self.hook: Callable[[], None] = lambda: None

    def score(self, pairs) -> np.ndarray:
        self.hook()
        self.pairs += pairs
        return np.array([self.table[int(q.split()[-1]), int(d.split()[-1])] for q, d in pairs], np.float32)

    def best(self, query: int, rows: Sequence[int], k: int) -> set[str]:
        return {f"d{i}" for i in sorted(rows, key=lambda i: -self.table[query, i])[:k]}


def text(number: int) -> str:
    return f"alpha{number % 7} beta{number % 11} gamma{number % 13} {number}"


def documents(numbers) -> list[Document]:
    return [Document(f"d{i}", text(i)) for i in numbers]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Three segments with deleted documents in each, and an encoder; nothing changes it."""
    path = tmp_path_factory.mktemp("base") / "i"
    config = IndexConfig(codec="fp16", fde=FDEConfig(repetitions=6, simhash_bits=2, projected_dim=8))
    with Index.create(path, encoder=HashEncoder(), config=config) as index:
        for start in range(0, DOCUMENTS, 30):
            index.add(documents(range(start, start + 30)))
        index.delete(DEAD)
    return path


@pytest.fixture
def index(base, tmp_path):
    with Index.open(shutil.copytree(base, tmp_path / "i"), encoder=HashEncoder()) as opened:
        yield opened


@pytest.fixture
def scorer() -> Table:
    return Table()


def stored_items(index: Index) -> tuple[StoredItems, list[str]]:
    """The stored vectors of all documents, and the id of each ('' where it was deleted)."""
    snapshot = index._session.snapshot
    rows = np.concatenate([segment.rows for segment in snapshot.segments]).tolist()
    names = {record.row: record.id for record in snapshot.catalog.iterate()}
    factors = snapshot.factors
    items = StoredItems([segment.factors for segment in snapshot.segments], factors.lvq, factors.unit)
    return items, [names.get(row, "") for row in rows]


def recall(index: Index, scorer: Table, rows: Sequence[int] = LIVE, budget: int = 35, method: str = "anncur") -> float:
    options, found = CrossEncoderSearch(scorer, budget, method), 0
    for number in range(100, 110):
        hits = index.search(f"query {number}", 10, rerank=options)
        found += len({hit.id for hit in hits} & scorer.best(number, rows, 10))
    return found / 100


@given(
    st.integers(1, 10**6), st.integers(1, 5_000), st.integers(1, 10**8), st.sampled_from(["auto", "dense", "sparse"])
)
def test_a_plan_never_exceeds_its_budget(documents: int, queries: int, budget: int, kind: str) -> None:
    if kind == "dense" and (queries < MIN_DENSE or budget < MIN_DENSE * documents):
        with pytest.raises(InvalidInputError, match=f"takes {MIN_DENSE * documents} calls"):
            planned(documents, queries, budget, kind)
        queries, budget = max(MIN_DENSE, queries), max(budget, MIN_DENSE * documents)  # as the message says
    plan = planned(documents, queries, budget, kind)
    assert 1 <= plan.calls <= budget
    assert 1 <= plan.queries <= queries
    assert 1 <= plan.each <= documents
    assert plan.kind == kind or kind == "auto"
    assert plan.kind == "sparse" or (plan.each == documents and plan.queries >= MIN_DENSE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 5, 5), "0 documents"),
        ((5, 0, 5), "0 queries"),
        ((5, 5, 0), "budget of 0"),
        ((5, 5, 1e6), "whole number"),
        ((5, 5, True), "whole number"),
        ((5, 5, 5, "best"), "auto, dense, sparse"),
    ],
)
def test_plans_that_mean_nothing_are_refused(values, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        planned(*values)


def test_dense_asks_every_pair_once_and_says_so(index, scorer) -> None:
    noted: list[tuple[str, int, int]] = []
    made = index.factorize(scorer, TRAINED, 10 * len(LIVE) + 5, kind="dense", progress=lambda *note: noted.append(note))
    plan = planned(len(LIVE), len(TRAINED), 10 * len(LIVE) + 5, "dense")
    assert len(scorer.pairs) == len(set(scorer.pairs)) == plan.calls == made.calls == 10 * len(LIVE)
    assert {document for _, document in scorer.pairs} == {text(i) for i in LIVE}
    assert (made.remembered, made.queries, made.documents, made.kind) == (0, 10, len(LIVE), "dense")
    assert noted[-1] == ("score", made.calls, made.calls)


def test_stored_rows_reproduce_scores_of_low_rank_from_a_few_anchors(index, scorer) -> None:
    index.factorize(scorer, TRAINED, 10**6, kind="dense")
    items, names = stored_items(index)
    places = np.array([place for place, name in enumerate(names) if name])
    numbers = [int(names[place][1:]) for place in places]
    anchors = places[:: len(places) // 20]
    for query in range(100, 110):
        scores = np.zeros(len(names), np.float32)
        scores[places] = scorer.table[query, numbers]
        guesses = estimates(items, anchors, scores[anchors], Regression(ridge=1e-4))
        error = np.abs(guesses[places] - scores[places]).max()
        assert error < 0.05 * scores[places].std()
    assert recall(index, scorer) >= 0.99
    assert recall(index, scorer, method="adacur") >= 0.99


def test_sparse_asks_about_candidates_alone_and_counts(index, scorer) -> None:
    made = index.factorize(scorer, TRAINED, 24 * 12, kind="sparse")
    assert (made.kind, made.queries, made.fit, made.anchors) == ("sparse", 24, None, 0)
    assert len(scorer.pairs) == len(set(scorer.pairs)) == made.calls == 24 * 12
    snapshot, encoder = index._session.snapshot, HashEncoder()
    texts = {record.row: record.text for record in snapshot.catalog.iterate()}
    found = module.candidates(snapshot, snapshot.fitted, encoder.encode_queries(TRAINED), snapshot.live, 12)
    for query, rows in zip(TRAINED, found, strict=True):
        assert {d for q, d in scorer.pairs if q == query} == {texts[row] for row in rows.tolist()}


def test_sparse_leaves_documents_without_scores_where_they_were(index, scorer) -> None:
    index.factorize(scorer, TRAINED[:2], 16, kind="sparse")
    items, names = stored_items(index)
    before = first_stage(index._session.snapshot, index._session.snapshot.fitted)
    places = np.array([place for place, name in enumerate(names) if name])
    vectors, means = items.take(places)
    scored = {document for _, document in scorer.pairs}
    moved = np.array([text(int(names[place][1:])) in scored for place in places])
    step = np.ptp(before, axis=1, keepdims=True) / 255 + np.abs(before).max() / 200
    assert (np.abs(vectors - before) <= step)[~moved].all()
    assert (np.abs(vectors - before) > step).any()
    assert 0 < moved.sum() < len(places)
    assert not means.any()


def test_searches_keep_their_budgets_over_sparse_factors(index, scorer) -> None:
    index.factorize(scorer, TRAINED, 300, kind="sparse")
    scorer.pairs.clear()
    found = index.search_timed(["query 100", "query 101"], 5, rerank=CrossEncoderSearch(scorer, 30))
    assert [spent.calls for spent in found.spent] == [30, 30]
    assert len(set(scorer.pairs)) == len(scorer.pairs) == 60
    with pytest.raises(InvalidInputError, match="of the index are sparse"):
        index.search("query 100", 5, rerank=CrossEncoderSearch(scorer, 30, "anncur"))


@pytest.mark.parametrize(("kind", "budget"), [("dense", 10 * len(LIVE)), ("sparse", 24 * 30)])
def test_an_interrupted_run_loses_little_and_leaves_the_index_alone(index, scorer, tmp_path, kind, budget) -> None:
    cache = tmp_path / "scores"

    def stop() -> None:
        if len(scorer.pairs) > 300:
            raise ScorerError("the power is gone")

    scorer.hook = stop
    before = (index.generation, sorted(str(path) for path in index.path.rglob("*")))
    with pytest.raises(ScorerError, match="the power is gone"):
        index.factorize(scorer, TRAINED, budget, kind=kind, cache=cache)
    assert (index.generation, index.stats().factors) == (before[0], None)
    assert sorted(str(path) for path in index.path.rglob("*")) == before[1]
    paid = set(scorer.pairs)
    scorer.hook = lambda: None
    scorer.pairs.clear()
    made = index.factorize(scorer, TRAINED, budget, kind=kind, cache=cache)
    assert not paid & set(scorer.pairs)
    assert (made.calls, made.calls + made.remembered) == (len(scorer.pairs), budget)
    assert made.remembered == len(paid) > 300 - AT_ONCE
    scorer.pairs.clear()
    again = index.factorize(scorer, TRAINED, budget, kind=kind, cache=cache)
    assert (again.calls, again.remembered, scorer.pairs) == (0, budget, [])


def test_a_scorer_without_a_name_cannot_be_remembered(index, tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="without a fingerprint cannot be cached"):
        index.factorize(Table().score, TRAINED, 10**5, cache=tmp_path / "scores")


def test_a_function_without_a_name_may_make_factors_and_use_them(index, scorer) -> None:
    assert index.factorize(scorer.score, TRAINED, 10**5, kind="dense").scorer == ""
    hits = index.search("query 100", 10, rerank=CrossEncoderSearch(scorer.score, 35, "anncur"))
    assert {hit.id for hit in hits} == scorer.best(100, LIVE, 10)
    with pytest.raises(InvalidInputError, match="of a function without a name, the scorer is table"):
        index.search("query 100", 10, rerank=CrossEncoderSearch(scorer, 35, "anncur"))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_documents_that_others_change_while_they_are_scored(index, scorer, kind: str) -> None:
    """Another writer adds, replaces, deletes and merges before the factors are stored."""
    done: list[bool] = []

    def meddle() -> None:
        if not done:
            done.append(True)
            with Index.open(index.path, encoder=HashEncoder()) as other:
                other.add(documents(range(90, 100)))
                other.upsert([Document("d7", f"new words {107}")])
                other.delete(["d8", "d9"])
                other.optimize()

    scorer.hook = meddle
    made = index.factorize(scorer, TRAINED, 9 * len(LIVE), kind=kind)
    assert (made.documents, len(index)) == (len(LIVE), len(LIVE) + 10 - 2)
    snapshot = index._session.snapshot
    ((segment,), (live,)) = snapshot.segments, snapshot.live
    assert live is None
    mapped = snapshot.factors.encode_stored(snapshot.fitted.finest, segment.finest, segment.offsets)
    names = {record.row: record.id for record in snapshot.catalog.iterate()}
    late = np.array([names[row] == "d7" or int(names[row][1:]) >= 90 for row in segment.rows.tolist()])
    assert late.sum() == 11
    np.testing.assert_array_equal(segment.factors[late], mapped[late])
    assert (segment.factors[~late] != mapped[~late]).any()
    scorer.pairs.clear()
    found = index.search_timed("query 100", 20, rerank=CrossEncoderSearch(scorer, 500, "axn"))
    assert found.spent[0].calls == len(index)
    assert not {hit.id for hit in found.hits[0]} & {"d8", "d9", *DEAD}
    index.verify()


def test_documents_that_are_all_deleted_while_they_are_scored(index, scorer) -> None:
    def empty() -> None:
        with Index.open(index.path) as other:
            if len(other):
                other.delete(other.ids())

    scorer.hook = empty
    with pytest.raises(InvalidInputError, match="deleted while they were scored"):
        index.factorize(scorer, TRAINED, 9 * len(LIVE))
    assert (len(index), index.stats().factors) == (0, None)


@pytest.mark.parametrize(("kind", "budget"), [("dense", 10**5), ("sparse", 24 * 60)])
def test_equal_texts_and_queries_are_paid_for_once_and_are_not_taken_for_remembered(
    index, scorer, kind, budget
) -> None:
    index.upsert([Document(f"d{i}", text(60)) for i in range(20)])
    made = index.factorize(scorer, TRAINED + TRAINED, budget, kind=kind)
    assert len(scorer.pairs) == len(set(scorer.pairs)) == made.calls
    assert (made.queries, made.remembered) == (24, 0)
    items, names = stored_items(index)
    if kind == "dense":
        assert made.calls == 24 * len({index.get(name).text for name in index.ids()})
        same = items.take(np.array([names.index("d0"), names.index("d19"), names.index("d60")]))[0]
        np.testing.assert_allclose(same - same[0], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("queries", "message"),
    [("one text", "not one text"), ([], "0 queries"), ([""], "empty"), (["\ud800"], "surrogate")],
)
def test_what_are_no_queries_is_refused_before_anything_is_scored(index, scorer, queries, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        index.factorize(scorer, queries, 10**5)
    assert scorer.pairs == []


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize(("scale", "offset"), [(1e30, 0.0), (1e-30, 0.0), (1.0, 1e4), (0.0, 0.1), (0.0, 1e30)])
def test_scores_of_any_scale_are_stored(index, kind: str, scale: float, offset: float) -> None:
    scorer = Table(scale, offset)
    budget = 24 * len(LIVE) if kind == "dense" else 24 * 12
    made = index.factorize(scorer, TRAINED, budget, kind=kind)
    assert made.calls == budget
    for method in ("axn", "anncur") if kind == "dense" else ("axn",):
        found = index.search_timed("query 100", 10, rerank=CrossEncoderSearch(scorer, 35, method))
        assert (len(found.hits[0]), found.spent[0].calls) == (10, 35)
    if kind == "dense" and scale:
        assert recall(index, scorer) >= 0.97
        scorer.table[:, 50] *= 1e7  # one document far from all others
        assert index.factorize(scorer, TRAINED, budget, kind=kind).calls == budget


def test_an_index_of_the_caller_s_own_vectors_has_dense_factors_alone(tmp_path, scorer) -> None:
    vectors = HashEncoder().encode_documents([text(i) for i in LIVE])
    with Index.create(tmp_path / "own", dim=DIM, config=IndexConfig(codec="fp16")) as index:
        index.add(documents(LIVE), embeddings=vectors)
        with pytest.raises(InvalidInputError, match="no encoder: use kind dense"):
            index.factorize(scorer, TRAINED, 300, kind="sparse")
        with pytest.raises(InvalidInputError, match=f"takes {8 * len(LIVE)} calls"):
            index.factorize(scorer, TRAINED, 300)
        assert scorer.pairs == []
        assert index.factorize(scorer, TRAINED, 10 * len(LIVE)).kind == "dense"
        assert recall(index, scorer) >= 0.97


def test_a_single_document_has_factors(tmp_path, scorer) -> None:
    with Index.create(tmp_path / "one", encoder=HashEncoder()) as index:
        index.add(documents([5]))
        for kind in ("dense", "sparse"):
            assert index.factorize(scorer, TRAINED, 100, kind=kind).documents == 1
            assert len(index.search("query 100", 1, rerank=CrossEncoderSearch(scorer, 3))) == 1


def test_facts_are_told_replaced_and_dropped(index, scorer, tmp_path) -> None:
    assert (index.stats().factors, index.drop_factors()) == (None, False)
    first = index.factorize(scorer, TRAINED, 300, kind="sparse")
    told = dict(index.stats().factors)
    assert told.pop("bytes_per_document") == first.bytes
    assert told == {key: value for key, value in first.to_dict().items() if key != "bytes"}
    other = Table()
    other.fingerprint = "other"
    second = index.factorize(other, TRAINED, 10**5, kind="dense")
    assert (index.stats().factors["kind"], index.stats().factors["scorer"]) == ("dense", "other")
    assert second.bytes != first.bytes
    assert recall(index, scorer, method="rerank") < recall(index, other)
    index.verify()
    assert index.drop_factors()
    assert (index.stats().factors, index.drop_factors()) == (None, False)
    index.verify()


def test_replaced_documents_have_the_row_that_the_map_makes(index, scorer) -> None:
    index.factorize(scorer, TRAINED, 10**5, kind="dense")
    scorer.pairs.clear()
    index.upsert([Document("d5", text(115)), Document("d95", text(95))])
    assert scorer.pairs == []
    segment = index._session.snapshot.segments[-1]
    factors, fitted = index._session.snapshot.factors, index._session.snapshot.fitted
    np.testing.assert_array_equal(
        segment.factors, factors.encode_stored(fitted.finest, segment.finest, segment.offsets)
    )
    hits = index.search("query 100", 100, rerank=CrossEncoderSearch(scorer, 200, "anncur"))
    assert {hit.id for hit in hits} == {f"d{i}" for i in LIVE} | {"d95"}


def test_queries_are_encoded_only_where_their_vectors_are_read(index, scorer) -> None:
    index.factorize(scorer, TRAINED, 10**5, kind="dense")

    def encodes(mode: str, method: str) -> bool:
        found = index.search_timed("query 100", 5, mode=mode, rerank=CrossEncoderSearch(scorer, 20, method))
        return "encode" in found.timing

    assert [encodes("lexical", method) for method in ("axn", "rerank", "adacur")] == [True, False, False]
    assert [encodes("hybrid", method) for method in ("rerank", "anncur")] == [True, False]
