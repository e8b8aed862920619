"""`search` and `explain`: asking an index."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ...retrieval.types import Explanation, Hit
from .arguments import FilterText, IndexPath, Offline, QueryText, SearchMode, Threads, read_filter, read_query
from .console import Output, count, duration

K = Annotated[int, typer.Option("-k", "--top", help="Number of results.")]


def search(
    output: Output,
    path: IndexPath,
    query: QueryText,
    k: K = 10,
    mode: SearchMode = "auto",
    filter_json: FilterText = None,
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Search an index.

    --json: {"query", "took_ms", "hits": [{"id", "score", "title", "text", "metadata", "source"}]}, best first.
    Scores are MaxSim (exact, ann), BM25 (lexical) or reciprocal rank fusion (hybrid); compare them within one search.
    """
    from ...retrieval.index import Index

    text = read_query(query)
    conditions = read_filter(filter_json)
    with Index.open(path, threads=threads, offline=offline) as index:
        started = time.perf_counter()
        hits = index.search(text, k, mode=mode, filter=conditions)
        seconds = time.perf_counter() - started
    if output.as_json:
        output.json(search_json(text, seconds, hits))
        return
    from .render import show_hits

    show_hits(output, text, hits)
    output.note(f"{count(len(hits), 'result')} in {duration(seconds)}")


def search_json(query: str, seconds: float, hits: list[Hit]) -> dict[str, Any]:
    """The JSON shape of a search."""
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
