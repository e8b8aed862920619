"""The route that searches."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.responses import Response

from ...encoders.errors import InvalidInputError
from ...retrieval.cur.options import Spent
from ...retrieval.types import Hit
from ..engine import Engine, Query, RerankQuery, Results
from ..snippet import snippet
from .api import BODY, Name, Serving, errors, router
from .schemas import (
    BatchAnswer,
    HitBody,
    QueryResult,
    RerankBody,
    RerankRequest,
    SearchAnswer,
    SearchRequest,
    SnippetBody,
    SpanBody,
)

QUERIES_OF_WHOLE_BUDGET = 10
"""Queries of one request that may each spend all that the server allows for one; more must spend less."""

searching = router("/v1/collections/{name}", "search")


@searching.post("/search", response_model=SearchAnswer | BatchAnswer, responses=errors(*BODY))
async def search(name: Name, body: SearchRequest, service: Serving) -> Response:
    """Find the documents that match best; a list of queries is answered with a list of results."""
    return await service.read(lambda: _search(service.engine, name, body, service.max_budget))


def _rerank(body: SearchRequest, asked: RerankRequest, most: int) -> RerankQuery:
    """The checked wish. Raises `InvalidInputError` on budgets that are too small for `k` or beyond what is allowed."""
    budget = min(RerankQuery.budget, most) if asked.budget is None else asked.budget
    if budget > most:
        raise InvalidInputError(f"rerank.budget is {budget}; this server allows {most} calls a query")
    if budget < body.k:
        raise InvalidInputError(f"k is {body.k}, more than rerank.budget, {budget}: all results are scored documents")
    if body.count * budget > QUERIES_OF_WHOLE_BUDGET * most:
        raise InvalidInputError(
            f"{body.count} queries of {budget} calls are more than {QUERIES_OF_WHOLE_BUDGET * most} calls, the most of "
            "one request; ask for fewer queries or a smaller rerank.budget"
        )
    return RerankQuery(asked.name, budget, asked.method)


def _search(engine: Engine, name: str, body: SearchRequest, max_budget: int) -> SearchAnswer | BatchAnswer:
    rerank = None if body.rerank is None else _rerank(body, body.rerank, max_budget)
    query = Query(body.texts, body.embeddings(), body.k, body.mode, body.filter, rerank, body.collapse)
    began = time.perf_counter()
    found = engine.search(name, query)
    took_ms = round((time.perf_counter() - began) * 1000, 2)
    results = _results(body, query, found)
    if body.single:
        (result,) = results
        return SearchAnswer(query=result.query, took_ms=took_ms, hits=result.hits, rerank=result.rerank)
    return BatchAnswer(took_ms=took_ms, results=results)


def _results(body: SearchRequest, query: Query, found: Results) -> list[QueryResult]:
    texts: Sequence[str | None] = body.texts or [None] * len(found.hits)
    spent: Sequence[RerankBody | None] = [None] * len(found.hits)
    if query.rerank is not None:
        spent = [_spent(query.rerank, own) for own in found.spent]
    return [
        QueryResult(query=text, hits=[_hit(hit, text if body.snippets else None) for hit in hits], rerank=cost)
        for text, hits, cost in zip(texts, found.hits, spent, strict=True)
    ]


def _spent(asked: RerankQuery, cost: Spent) -> RerankBody:
    return RerankBody(name=asked.name, method=asked.method, calls=cost.calls, rounds=cost.rounds)


def _hit(hit: Hit, query: str | None) -> HitBody:
    return HitBody(
        id=hit.id,
        score=hit.score,
        title=hit.title,
        text=hit.text,
        metadata=dict(hit.metadata),
        source=hit.source,
        snippet=None if query is None else _snippet(hit.text, query),
    )


def _snippet(text: str, query: str) -> SnippetBody:
    found = snippet(text, query)
    spans = [SpanBody(start=start, end=end) for start, end in found.matches]
    return SnippetBody(text=found.text, matches=spans, before=found.before, after=found.after)
