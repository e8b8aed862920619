"""Searches that end with a scorer of the server: what it is asked, what a client may wish, and what it learns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from cross_encoders import save_cross_encoder

from latefold import CrossEncoderSearch, Index
from latefold.encoders.errors import ScorerError
from latefold.encoders.scorers.base import CallableScorer, Pair, Scorer
from latefold.encoders.scorers.onnx_pairs import OnnxCrossEncoder
from latefold.service.engine import LocalEngine

URL = "/v1/collections/my-texts/search"


class Noting:
    """A scorer that notes what it is asked."""

    fingerprint = "noting"

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.asked: list[Pair] = []

    def score(self, pairs: Sequence[Pair]) -> Any:
        self.asked += pairs
        return self.scorer.score(pairs)


def fail(pairs: Sequence[Pair]) -> Any:
    raise ScorerError(f"/srv/secret/model cannot score {len(pairs)}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Noting:
    """A tiny cross-encoder."""
    return Noting(OnnxCrossEncoder(save_cross_encoder(tmp_path_factory.mktemp("scorers") / "ce"), threads=1))


@pytest.fixture
def engine(text_index: Path, encoder: Any, model: Noting, vector_engine: LocalEngine) -> Iterator[LocalEngine]:
    """The collections `my-texts` and `vectors`, which has no encoder, with three scorers."""
    with Index.open(text_index, encoder=encoder) as texts:
        indexes = {"my-texts": texts, "vectors": vector_engine._indexes["vectors"]}
        yield LocalEngine(indexes, {"tiny": model, "length": CallableScorer(lengths), "broken": CallableScorer(fail)})


def lengths(pairs: Sequence[Pair]) -> list[float]:
    return [float(len(document)) for _, document in pairs]


@pytest.fixture
def client(engine: LocalEngine, connect: Callable[..., httpx.Client]) -> httpx.Client:
    return connect(engine, max_budget=20)


@pytest.mark.parametrize("method", ["axn", "rerank"])
def test_a_reranked_search_equals_the_library(
    client: httpx.Client, text_index: Path, encoder: Any, model: Noting, method: Any
) -> None:
    asked = {"name": "tiny", "budget": 4, "method": method}
    before = len(model.asked)
    found = client.post(URL, json={"query": "green tea", "k": 3, "rerank": asked}).json()
    assert found["rerank"] == {"name": "tiny", "method": method, "calls": 4, "rounds": found["rerank"]["rounds"]}
    assert len(model.asked) - before == 4
    assert {query for query, _ in model.asked[before:]} == {"green tea"}
    with Index.open(text_index, encoder=encoder) as index:
        wanted = index.search_timed("green tea", 3, rerank=CrossEncoderSearch(model, 4, method))
    assert [(hit["id"], hit["score"]) for hit in found["hits"]] == [(hit.id, hit.score) for hit in wanted.hits[0]]
    assert found["rerank"]["rounds"] == wanted.spent[0].rounds >= 1


def test_a_list_of_queries_tells_the_cost_of_each(client: httpx.Client) -> None:
    body = {"query": ["tea", "search"], "k": 2, "rerank": {"name": "length", "budget": 5}}
    found = client.post(URL, json=body).json()
    assert [result["query"] for result in found["results"]] == ["tea", "search"]
    for result in found["results"]:
        assert result["rerank"].keys() == {"name", "method", "calls", "rounds"}
        assert result["rerank"]["method"] == "axn"
        assert 2 <= result["rerank"]["calls"] <= 5
        assert [hit["score"] for hit in result["hits"]] == [
            len(f"{hit['title']}\n{hit['text']}") for hit in result["hits"]
        ]
    single = client.post(URL, json=body | {"query": ["tea"]}).json()
    assert single["results"][0]["rerank"]["calls"] <= 5


def test_without_rerank_there_is_no_cost(client: httpx.Client) -> None:
    assert client.post(URL, json={"query": "tea"}).json()["rerank"] is None
    assert client.post(URL, json={"query": ["tea"], "rerank": None}).json()["results"][0]["rerank"] is None


def test_a_collection_without_an_encoder_is_reranked(client: httpx.Client) -> None:
    body = {"query": "word3", "mode": "lexical", "k": 1, "rerank": {"name": "length", "method": "rerank"}}
    found = client.post("/v1/collections/vectors/search", json=body).json()
    assert found["hits"][0]["id"] == "d3"


def test_filters_and_snippets_stay(client: httpx.Client) -> None:
    body = {"query": "sun", "k": 2, "filter": {"n": {"$gte": 4}}, "snippets": True, "rerank": {"name": "length"}}
    hits = client.post(URL, json=body).json()["hits"]
    assert {hit["id"] for hit in hits} == {"sun", "bread"}
    assert all(hit["snippet"]["text"] for hit in hits)


def test_an_empty_collection_costs_nothing(tmp_path: Path, connect: Callable[..., httpx.Client]) -> None:
    with Index.create(tmp_path / "empty") as index:
        client = connect(LocalEngine({"empty": index}, {"length": CallableScorer(lengths)}))
        found = client.post("/v1/collections/empty/search", json={"query": "x", "rerank": {"name": "length"}}).json()
    assert found["hits"] == []
    assert (found["rerank"]["calls"], found["rerank"]["rounds"]) == (0, 0)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rerank": {"name": "other"}}, "no scorer 'other'; there are: broken, length, tiny"),
        ({"rerank": {"name": "/etc/passwd"}}, "no scorer '/etc/passwd'; there are: broken, length, tiny"),
        ({"rerank": {"name": "maxsim:minilm"}}, "no scorer 'maxsim:minilm'; there are: broken, length, tiny"),
        ({"rerank": {"name": ""}}, "at least 1 character"),
        ({"rerank": {}}, "rerank.name"),
        ({"rerank": "tiny"}, "rerank"),
        ({"rerank": {"name": "tiny", "budget": 21}}, "rerank.budget is 21; this server allows 20 calls a query"),
        ({"rerank": {"name": "tiny", "budget": 0}}, "greater than or equal to 1"),
        ({"rerank": {"name": "tiny", "budget": "5"}}, "valid integer"),
        ({"rerank": {"name": "tiny", "budget": 5}}, "k is 10, more than rerank.budget, 5"),
        ({"rerank": {"name": "tiny"}, "k": 21}, "k is 21, more than rerank.budget, 20"),
        ({"rerank": {"name": "tiny", "method": "best"}}, "rerank.method"),
        ({"rerank": {"name": "tiny", "method": "adacur"}}, "factorize"),
        ({"rerank": {"name": "tiny", "model": "evil/model"}}, "not permitted"),
        ({"rerank": {"name": "tiny"}, "query": ["tea"] * 11}, "11 queries of 20 calls are more than 200 calls"),
        ({"rerank": {"name": "tiny"}, "query": None, "vectors": [[1.0]]}, "give query instead of vectors"),
    ],
)
def test_wishes_that_are_refused_say_why(client: httpx.Client, change: dict[str, Any], part: str) -> None:
    answer = client.post(URL, json={"query": "tea", **change})
    assert answer.status_code == 422, answer.text
    assert part in answer.json()["error"]["message"]


def test_limits_at_their_last_accepted_value(client: httpx.Client) -> None:
    for query, k, budget in (("tea", 20, 20), (["tea"] * 10, 10, 20), (["tea"] * 20, 10, 10)):
        body = {"query": query, "k": k, "rerank": {"name": "length", "budget": budget}}
        assert client.post(URL, json=body).status_code == 200


def test_a_budget_that_is_not_given_is_200_or_what_the_server_allows(
    engine: LocalEngine, connect: Callable[..., httpx.Client]
) -> None:
    body = {"query": "tea", "k": 200, "rerank": {"name": "length"}}
    assert connect(engine, max_budget=500).post(URL, json=body).status_code == 200
    assert "rerank.budget, 200" in connect(engine, max_budget=500).post(URL, json=body | {"k": 201}).text
    assert "rerank.budget, 199" in connect(engine, max_budget=199).post(URL, json=body).text


def test_a_server_without_scorers_says_so(reader: httpx.Client) -> None:
    answer = reader.post(URL, json={"query": "tea", "rerank": {"name": "tiny"}})
    assert answer.status_code == 422
    assert "no scorer 'tiny'; there are: none" in answer.json()["error"]["message"]
    assert reader.get("/v1/collections").json()["scorers"] == []


def test_the_scorers_are_listed_by_name(client: httpx.Client) -> None:
    assert client.get("/v1/collections").json()["scorers"] == ["broken", "length", "tiny"]


def test_a_scorer_that_fails_keeps_its_secrets(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "latefold.http"):
        answer = client.post(URL, json={"query": "tea", "rerank": {"name": "broken"}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "scorer")
    assert "secret" not in answer.text
    assert "/srv/secret/model" in caplog.text


def test_warming_asks_every_scorer(text_index: Path, encoder: Any, model: Noting) -> None:
    before = len(model.asked)
    with Index.open(text_index, encoder=encoder) as texts:
        LocalEngine({"my-texts": texts}, {"tiny": model}).warm()
        assert len(model.asked) == before + 1
        with pytest.raises(ScorerError):
            LocalEngine({}, {"broken": CallableScorer(fail)}).warm()
