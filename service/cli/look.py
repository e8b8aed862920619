"""`search` and `explain`: asking an index."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...encoders.errors import InvalidInputError
from ...retrieval.types import Explanation, Hit
from .arguments import (
    Budget,
    FilterText,
    IndexPath,
    Method,
    Offline,
    QueryText,
    RerankMethod,
    ScorerName,
    SearchMode,
    Threads,
    read_filter,
    read_query,
)
from .console import Output, count, duration

if TYPE_CHECKING:
    from ...retrieval.cur.options import CrossEncoderSearch

K = Annotated[int, typer.Option("-k", "--top", help="Number of results.")]


def search(
    output: Output,
    path: IndexPath,
    query: QueryText,
    k: K = 10,
    mode: SearchMode = "auto",
    filter_json: FilterText = None,
    rerank: ScorerName = None,
    budget: Budget = None,
    method: Method = None,
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Search an index, and let an expensive scorer have the last word with --rerank.

    --json: {"query", "took_ms", "hits": [{"id", "score", "title", "text", "metadata", "source"}], "rerank": {"scorer",
    "method", "budget", "calls", "rounds"}}, best first; "rerank" is null without --rerank.
    Scores are MaxSim (exact, ann), BM25 (lexical), reciprocal rank fusion (hybrid) or the scorer's (--rerank); compare
    them within one search.
    """
    from ...retrieval.index import Index

    text = read_query(query)
    conditions = read_filter(filter_json)
    last = last_stage(rerank, budget, method, threads=threads, offline=offline)
    with Index.open(path, threads=threads, offline=offline) as index:
        started = time.perf_counter()
        found = index.search_timed(text, k, mode=mode, filter=conditions, rerank=last)
        seconds = time.perf_counter() - started
    hits = found.hits[0]
    cost = None
    if last is not None:
        cost = {"scorer": rerank, "method": last.method, "budget": last.budget, **asdict(found.spent[0])}
    if output.as_json:
        output.json({**search_json(text, seconds, hits), "rerank": cost})
        return
    from .render import show_hits

    show_hits(output, text, hits)
    output.note(f"{count(len(hits), 'result')} in {duration(seconds)}{describe_cost(cost)}")


def last_stage(
    name: str | None, budget: int | None, method: RerankMethod | None, *, threads: int | None, offline: bool
) -> CrossEncoderSearch | None:
    """The scorer of `--rerank`, loaded, and how it is to be used; None without one.

    Raises `InvalidInputError` where its other options stand alone, and the errors of `load_scorer`.
    """
    if name is None:
        if budget is not None or method is not None:
            raise InvalidInputError("--budget and --method say how to use a scorer: name it by --rerank")
        return None
    from ...encoders.scorers.load import load_scorer
    from ...retrieval.cur.options import CrossEncoderSearch

    return CrossEncoderSearch(
        load_scorer(name, threads=threads, offline=offline),
        CrossEncoderSearch.budget if budget is None else budget,
        method or CrossEncoderSearch.method,
    )


def describe_cost(cost: Mapping[str, Any] | None) -> str:
    """What a scorer was asked, to follow the number of results."""
    if cost is None:
        return ""
    return f"; {count(cost['calls'], 'call')} of {cost['scorer']} in {count(cost['rounds'], 'round')}"


def search_json(query: str, seconds: float, hits: list[Hit]) -> dict[str, Any]:
    """The JSON shape of a search, without what a scorer cost."""
    return {"query": query, "took_ms": round(1000 * seconds, 3), "hits": [hit_json(hit) for hit in hits]}


def hit_json(hit: Hit) -> dict[str, Any]:
    """The JSON shape of one result."""
    return {
        "id": hit.id,
        "score": hit.score,
        "title": hit.title,
        "text": hit.text,
        "metadata": dict(hit.metadata),
        "source": hit.source,
    }


def explain(
    output: Output,
    path: IndexPath,
    query: QueryText,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the document.")],  # noqa: A002
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Show why a document matches a query: the best document token of each query token.

    --json: {"query", "id", "score", "lexical_terms", "matches": [{"query_token", "document_token", "score", "share",
    "query_text", "document_text", "query_span", "document_span", "field"}]}. The scores add up to the MaxSim score.
    """
    from ...retrieval.index import Index

    text = read_query(query)
    with Index.open(path, threads=threads, offline=offline) as index:
        explanation = index.explain(text, id)
        document = index.get(id)
    if output.as_json:
        output.json(explanation_json(text, explanation))
        return
    from .render import show_explanation

    show_explanation(output, explanation, document)


def explanation_json(query: str, explanation: Explanation) -> Mapping[str, Any]:
    """The JSON shape of an explanation."""
    total = explanation.score
    return {
        "query": query,
        "id": explanation.id,
        "score": total,
        "lexical_terms": explanation.lexical_terms,
        "matches": [
            {**asdict(match), "share": match.score / total if total else None} for match in explanation.matches
        ],
    }
