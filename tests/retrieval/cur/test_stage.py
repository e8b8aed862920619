"""Searches that end with a scorer: budgets, filters, deletes, merged answers, and factors made before any search."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from latefold import Document, Index, IndexConfig, TokenEmbeddings
from latefold.encoders.errors import InvalidInputError, ScorerError
from latefold.encoders.scorers.base import CallableScorer
from latefold.encoders.scorers.counted import CountedScorer
from latefold.retrieval import writer
from latefold.retrieval.cur.options import CrossEncoderSearch, Spent
from latefold.retrieval.cur.rounds import Plan

METHODS = ["rerank", "axn", "adacur", "anncur"]
TRAINED = [f"query {i}" for i in range(40)]


class World:
    """120 documents in three segments whose scores a function knows; every pair it is asked is written down."""

    def __init__(self, path: Path) -> None:
        """Open the index at `path`, or make it."""
        rng = np.random.default_rng(7)
        self.embeddings = random_embeddings(rng, 150, low=1)
        self.asked: list[tuple[str, str]] = []
        means = np.array([item.mean(axis=0) for item in self.embeddings])
        self.table = {i: means @ rng.standard_normal(16) * 5 - 3 for i in range(60)}
        self.table[99] = self.table[0]
        self.queries = random_embeddings(rng, 60, low=4)
        if path.exists():
            self.index = Index.open(path)
            return
        self.index = Index.create(path, dim=16, config=IndexConfig(codec="fp16"))
        for start in range(0, 120, 40):
            self.add(start, start + 40)

    def add(self, start: int, stop: int) -> None:
        documents = [Document(f"d{i}", f"text {i}", metadata={"n": i}) for i in range(start, stop)]
        self.index.add(documents, embeddings=self.embeddings.take(np.arange(start, stop)))

    def score(self, pairs):
        self.asked += pairs
        return [self.table[int(query.split()[1])][int(text.split()[1])] for query, text in pairs]

    @property
    def scorer(self) -> CallableScorer:
        return CallableScorer(self.score, "world")

    def search(self, number: int, k: int, options: CrossEncoderSearch, **more):
        self.asked.clear()
        embeddings = self.queries.take([number])
        found = self.index.search_timed(f"query {number}", k, embeddings=embeddings, rerank=options, **more)
        return found.hits[0], found.spent[0]

    def true(self, number: int, rows) -> list[str]:
        scores = self.table[number]
        return [f"d{i}" for i in sorted(rows, key=lambda i: -scores[i])]


def random_embeddings(rng: np.random.Generator, items: int, low: int) -> TokenEmbeddings:
    vectors = [rng.standard_normal((count, 16)).astype(np.float32) for count in rng.integers(low, 9, items)]
    return TokenEmbeddings.from_list([item / np.linalg.norm(item, axis=1, keepdims=True) for item in vectors], dim=16)


@pytest.fixture(scope="module")
def plain_path(tmp_path_factory) -> Path:
    """An index without factors, which nothing changes."""
    path = tmp_path_factory.mktemp("plain") / "i"
    World(path).index.close()
    return path


@pytest.fixture(scope="module")
def factored_path(tmp_path_factory, plain_path) -> Path:
    """An index with dense factors, which nothing changes."""
    path = Path(shutil.copytree(plain_path, tmp_path_factory.mktemp("factored") / "i"))
    made = World(path)
    made.index.factorize(made.scorer, TRAINED, 40 * 120)
    made.index.close()
    return path


@pytest.fixture(scope="module")
def world(plain_path):
    """For tests that only read."""
    made = World(plain_path)
    yield made
    made.index.close()


@pytest.fixture(scope="module")
def factored(factored_path):
    """For tests that only read."""
    made = World(factored_path)
    yield made
    made.index.close()


@pytest.fixture
def changing(factored_path, tmp_path):
    """A copy with factors, for tests that write."""
    made = World(Path(shutil.copytree(factored_path, tmp_path / "i")))
    yield made
    made.index.close()


@pytest.mark.parametrize("mode", ["exact", "ann", "hybrid", "lexical"])
@pytest.mark.parametrize("method", METHODS)
def test_calls_are_counted_and_hits_are_exact(factored, method: str, mode: str) -> None:
    hits, spent = factored.search(45, 7, CrossEncoderSearch(factored.scorer, 30, method), mode=mode)
    texts = [text for _, text in factored.asked]
    assert spent.calls == len(texts) == len(set(texts)) <= 30
    if method != "rerank":
        assert spent.calls == 30
    rows = [int(text.split()[1]) for text in texts]
    assert [hit.id for hit in hits] == factored.true(45, rows)[:7]
    np.testing.assert_allclose(
        [hit.score for hit in hits], [factored.table[45][int(hit.id[1:])] for hit in hits], rtol=1e-6
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_for_everything_gives_the_true_ranking(factored, method: str) -> None:
    hits, spent = factored.search(46, 20, CrossEncoderSearch(factored.scorer, 500, method))
    assert [hit.id for hit in hits] == factored.true(46, range(120))[:20]
    assert spent.calls == 120


@pytest.mark.parametrize("method", ["axn", "adacur"])
def test_it_is_never_worse_than_reranking_the_candidates_of_its_opening(factored, method: str) -> None:
    for number in range(40, 50):
        plan = Plan(rounds=4, first=12)
        adaptive, _ = factored.search(number, 5, CrossEncoderSearch(factored.scorer, 40, method, plan), mode="exact")
        plain, _ = factored.search(number, 5, CrossEncoderSearch(factored.scorer, 12, "rerank"), mode="exact")
        assert all(a.score >= b.score for a, b in zip(adaptive, plain, strict=True))


def test_cur_finds_the_best_of_a_matrix_of_low_rank_with_few_calls(factored) -> None:
    for method in ("anncur", "adacur"):
        found = 0
        for number in range(40, 60):
            hits, _ = factored.search(number, 10, CrossEncoderSearch(factored.scorer, 40, method))
            found += len({hit.id for hit in hits} & set(factored.true(number, range(120))[:10]))
        assert found >= 0.9 * 200


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("low", "size"), [(0, 0), (0, 3), (35, 10), (70, 40), (100, 119)])
def test_filters_are_honoured_before_anything_is_scored(factored, method, low, size) -> None:
    condition = {"n": {"$gte": low, "$lt": low + size}}
    hits, spent = factored.search(
        47, 5, CrossEncoderSearch(factored.scorer, 25, method), filter=condition, mode="exact"
    )
    allowed = range(low, min(120, low + size))
    assert all(int(text.split()[1]) in allowed for _, text in factored.asked)
    assert spent.calls == min(25, len(allowed))
    assert len(hits) == min(5, len(allowed))


@pytest.mark.parametrize("method", METHODS)
def test_deleted_documents_are_not_scored_and_new_ones_are_found(changing, method: str) -> None:
    best = changing.true(48, range(120))[:30]
    changing.index.delete(best)
    changing.add(120, 150)
    hits, spent = changing.search(48, 150, CrossEncoderSearch(changing.scorer, 500, method))
    left = [i for i in range(150) if f"d{i}" not in best]
    assert [hit.id for hit in hits] == changing.true(48, left)
    assert spent.calls == len(left) == 120


@pytest.mark.parametrize("method", ["anncur", "adacur"])
def test_documents_added_later_are_estimated_without_having_been_scored(changing, method: str) -> None:
    changing.asked.clear()
    changing.add(120, 150)
    assert changing.asked == []
    found = wanted = 0
    for number in range(40, 60):
        best = set(changing.true(number, range(150))[:20])
        hits, _ = changing.search(number, 20, CrossEncoderSearch(changing.scorer, 60, method))
        late = {name for name in best if int(name[1:]) >= 120}
        found, wanted = found + len(late & {hit.id for hit in hits}), wanted + len(late)
    assert wanted > 20
    assert found >= 0.45 * wanted  # at random, a quarter of the documents that are no anchors are scored


def test_factors_survive_merges_and_reopening(changing, tmp_path) -> None:
    options = CrossEncoderSearch(changing.scorer, 30, "anncur")
    before = changing.search(49, 10, options)
    changing.index.optimize()
    assert changing.search(49, 10, options) == before
    with Index.open(tmp_path / "i") as again:
        found = again.search_timed("query 49", 10, embeddings=changing.queries.take([49]), rerank=options)
        assert (found.hits[0], found.spent[0]) == before


def test_several_queries_each_have_their_budget(world) -> None:
    options = CrossEncoderSearch(world.scorer, 25)
    texts = [f"query {i}" for i in range(3)]
    found = world.index.search_timed(texts, 4, embeddings=world.queries.take([0, 1, 2]), rerank=options)
    assert [spent.calls for spent in found.spent] == [25, 25, 25]
    for number, hits in enumerate(found.hits):
        assert hits == world.search(number, 4, options)[0]
    assert "score" in found.timing


def test_a_lexical_search_that_matches_nothing_is_filled_up(world) -> None:
    found = world.index.search_timed("zzz 99", 3, mode="lexical", rerank=CrossEncoderSearch(world.scorer, 20))
    assert (len(found.hits[0]), found.spent[0].calls) == (3, 20)


def test_an_index_without_documents_answers_nothing(tmp_path, make_embeddings) -> None:
    with Index.create(tmp_path / "empty", dim=16) as index:
        options = CrossEncoderSearch(lambda pairs: [0.0] * len(pairs), 20, "anncur")
        found = index.search_timed("query 0", 3, embeddings=make_embeddings(1), rerank=options)
        assert (found.hits, found.spent) == ([[]], [Spent(0, 0)])
        with pytest.raises(InvalidInputError, match="no documents"):
            index.factorize(lambda pairs: [0.0] * len(pairs), ["a query"], 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 4}, "cannot score 5 results"),
        ({"method": "anncur"}, "needs factors, and the index has none"),
        ({"method": "adacur"}, "latefold factorize"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_scored(world, options, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        world.search(0, 5, CrossEncoderSearch(world.scorer, **{"budget": 30, **options}))
    assert world.asked == []


def test_a_search_by_vectors_alone_has_nothing_to_show_a_scorer(world) -> None:
    with pytest.raises(InvalidInputError, match="give the query's text"):
        world.index.search(embeddings=world.queries.take([0]), rerank=CrossEncoderSearch(world.scorer))


def test_factors_of_another_scorer_are_refused_by_name(factored) -> None:
    other = CallableScorer(factored.score, "other")
    with pytest.raises(InvalidInputError, match="callable:world, the scorer is callable:other"):
        factored.search(0, 5, CrossEncoderSearch(other, 30, "anncur"))
    assert factored.search(0, 5, CrossEncoderSearch(other, 30, "axn"))[1].calls == 30


@pytest.mark.parametrize("method", METHODS)
def test_a_scorer_that_fails_stops_the_search(factored, method: str) -> None:
    def broken(pairs):
        return [float("nan")] * len(pairs)

    with pytest.raises(ScorerError, match="expected a number"):
        factored.search(0, 5, CrossEncoderSearch(CallableScorer(broken, "world"), 30, method))


@pytest.mark.parametrize(
    "values", [{"budget": 0}, {"budget": True}, {"budget": 2.5}, {"budget": 10**9}, {"method": "best"}, {"scorer": 3}]
)
def test_options_that_mean_nothing_are_refused(values: dict) -> None:
    with pytest.raises(InvalidInputError):
        CrossEncoderSearch(**{"scorer": len, **values})


def test_titles_are_shown_to_the_scorer(tmp_path, make_embeddings) -> None:
    seen = []

    def score(pairs):
        seen.extend(pairs)
        return [0.0] * len(pairs)

    with Index.create(tmp_path / "titles", dim=16) as index:
        index.add([Document("a", "body", "Title"), Document("b", "alone")], embeddings=make_embeddings(2))
        index.search("asked", 2, embeddings=make_embeddings(1), rerank=CrossEncoderSearch(score, 2))
    assert set(seen) == {("asked", "Title\nbody"), ("asked", "alone")}


@pytest.mark.parametrize("method", METHODS)
def test_an_index_whose_documents_are_all_deleted_answers_nothing(changing, method: str) -> None:
    options = CrossEncoderSearch(changing.scorer, 30, method)
    changing.index.delete(changing.index.ids())
    assert changing.search(40, 5, options) == ([], Spent(0, 0))
    changing.index.optimize()
    assert changing.search(40, 5, options) == ([], Spent(0, 0))
    changing.add(120, 150)
    hits, spent = changing.search(40, 5, options)
    assert ([hit.id for hit in hits], spent.calls) == (changing.true(40, range(120, 150))[:5], 30)


@pytest.mark.parametrize("method", METHODS)
def test_more_results_than_documents_are_all_documents(factored, method: str) -> None:
    hits, spent = factored.search(41, 200, CrossEncoderSearch(factored.scorer, 200, method))
    assert ([hit.id for hit in hits], spent.calls) == (factored.true(41, range(120)), 120)


@pytest.mark.parametrize("method", METHODS)
def test_a_scorer_that_is_counted_itself_is_asked_no_more_than_it_has_left(factored, method: str) -> None:
    counted = CountedScorer(factored.scorer, 37)
    calls = [factored.search(number, 5, CrossEncoderSearch(counted, 25, method))[1].calls for number in (42, 43, 44)]
    assert (calls, counted.calls) == ([25, 12, 0], 37)


@pytest.mark.parametrize("method", METHODS)
def test_threads_that_share_an_index_and_a_scorer_find_what_one_finds(factored, method: str) -> None:
    options = CrossEncoderSearch(factored.scorer, 30, method)
    alone = [factored.search(number, 8, options) for number in range(40, 52)]
    together: dict[int, object] = {}

    def work(numbers: range) -> None:
        for number in numbers:
            together[number] = factored.search(number, 8, options)

    threads = [threading.Thread(target=work, args=(range(40 + i, 52, 4),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(40, 52)] == alone


def test_what_a_method_does_not_read_is_not_computed(factored) -> None:
    embeddings = factored.queries.take([45])
    options = CrossEncoderSearch(factored.scorer, 30, "anncur")
    found = factored.index.search_timed("query 45", 5, embeddings=embeddings, rerank=options, mode="hybrid")
    assert set(found.timing) == {"score", "fetch"}
    assert found.hits[0] == factored.index.search("query 45", 5, rerank=options)


def test_the_identity_of_a_scorer_is_asked_once_a_search(factored) -> None:
    class Slow:
        asked = 0

        @property
        def fingerprint(self) -> str:
            self.asked += 1
            return factored.scorer.fingerprint

        def score(self, pairs):
            return factored.score(pairs)

    slow = Slow()
    texts = [f"query {i}" for i in range(5)]
    factored.index.search(texts, 5, embeddings=factored.queries.take(range(5)), rerank=CrossEncoderSearch(slow, 20))
    assert slow.asked == 1


def test_factors_that_do_not_say_how_they_were_made_are_nobody_s(changing) -> None:
    session = changing.index._session
    bare = dataclasses.replace(session.snapshot.factors, facts={})
    rows = np.concatenate([segment.factors for segment in session.snapshot.segments])
    with session.writing():
        writer.store_factors(session.path, session.snapshot, bare, rows)
        session.refresh()
    assert changing.search(45, 5, CrossEncoderSearch(changing.scorer, 30))[1].calls == 30
    with pytest.raises(InvalidInputError, match="of kind dense"):
        changing.search(45, 5, CrossEncoderSearch(changing.scorer, 30, "anncur"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("config", [{"codec": "lvq4+lvq8"}, {"codec": "lvq8", "graph_above": 20}])
def test_two_levels_of_codes_and_graphs_change_nothing_that_is_promised(tmp_path, world, method, config) -> None:
    with Index.create(tmp_path / "i", dim=16, config=IndexConfig(**config)) as index:
        documents = [Document(f"d{i}", f"text {i}", metadata={"n": i}) for i in range(120)]
        index.add(documents, embeddings=world.embeddings.take(np.arange(120)))
        index.optimize()
        assert (index._session.snapshot.graphs[0] is not None) == ("graph_above" in config)
        index.factorize(world.scorer, TRAINED[:10], 1_200)
        options = CrossEncoderSearch(world.scorer, 40, method)
        world.asked.clear()
        query, condition = world.queries.take([45]), {"n": {"$gte": 30}}
        hits = index.search("query 45", 7, embeddings=query, mode="ann", filter=condition, rerank=options)
        asked = {int(text.split()[1]) for _, text in world.asked}
        assert (len(world.asked), len(asked), min(asked) >= 30) == (40, 40, True)
        assert [hit.id for hit in hits] == world.true(45, asked)[:7]
