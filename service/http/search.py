"""Routes that search and explain."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.responses import Response

from ...retrieval.types import Hit, TokenMatch
from ..engine import Engine, Query
from ..snippet import snippet
from .api import BODY, Name, Serving, errors, router
from .schemas import (
    BatchAnswer,
    ExplainAnswer,
    ExplainRequest,
    HitBody,
    MatchBody,
    QueryResult,
    SearchAnswer,
    SearchRequest,
    SnippetBody,
    SpanBody,
)

searching = router("/v1/collections/{name}", "search")


@searching.post("/search", response_model=SearchAnswer | BatchAnswer, responses=errors(*BODY))
async def search(name: Name, body: SearchRequest, service: Serving) -> Response:
    """Find the documents that match best; a list of queries is answered with a list of results."""
    return await service.read(lambda: _search(service.engine, name, body))


@searching.post("/explain", response_model=ExplainAnswer, responses=errors(*BODY))
async def explain(name: Name, body: ExplainRequest, service: Serving) -> Response:
    """Say which tokens of a document matched each token of the query, and how much each adds to the score."""
    return await service.read(lambda: _explain(service.engine, name, body))


def _search(engine: Engine, name: str, body: SearchRequest) -> SearchAnswer | BatchAnswer:
    query = Query(body.texts, body.embeddings(), body.k, body.mode, body.filter)
    began = time.perf_counter()
    found = engine.search(name, query)
    took_ms = round((time.perf_counter() - began) * 1000, 2)
    texts: Sequence[str | None] = body.texts or [None] * len(found)
    results = [
        QueryResult(query=text, hits=[_hit(hit, text if body.snippets else None) for hit in hits])
        for text, hits in zip(texts, found, strict=True)
    ]
    if body.single:
        return SearchAnswer(query=results[0].query, took_ms=took_ms, hits=results[0].hits)
    return BatchAnswer(took_ms=took_ms, results=results)


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


def _explain(engine: Engine, name: str, body: ExplainRequest) -> ExplainAnswer:
    found = engine.explain(name, body.query, body.id)
    return ExplainAnswer(
        id=found.id,
        score=found.score,
        matches=[_match(match) for match in found.matches],
        lexical_terms=found.lexical_terms,
    )


def _match(match: TokenMatch) -> MatchBody:
    return MatchBody(
        query_token=match.query_token,
        document_token=match.document_token,
        score=match.score,
        query_text=match.query_text,
        document_text=match.document_text,
        query_span=_span(match.query_span),
        document_span=_span(match.document_span),
        field=match.field,
    )


def _span(span: tuple[int, int] | None) -> SpanBody | None:
    return None if span is None else SpanBody(start=span[0], end=span[1])
