"""`search` and `explain`: asking an index."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...encoders.errors import InvalidInputError, StorageError
from ...retrieval.types import Explanation, Hit
from .arguments import (
    Budget,
    Collapse,
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
    from ...retrieval.index import Index

K = Annotated[int, typer.Option("-k", "--top", help="Number of results.")]
PicturePath = Annotated[
    Path | None,
    typer.Option(
        "--picture",
        metavar="FILE.png",
        help="Write a picture of the page, with heat where it answers the query.",
        show_default=False,
    ),
]
Token = Annotated[
    int | None,
    typer.Option(
        "--token", metavar="N", help="Heat of this query token alone, counted from 0.", min=0, show_default=False
    ),
]
PNG = b"\x89PNG\r\n\x1a\n"
"""How every PNG file begins."""


def search(
    output: Output,
    path: IndexPath,
    query: QueryText,
    k: K = 10,
    mode: SearchMode = "auto",
    collapse: Collapse = None,
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
        found = index.search_timed(text, k, mode=mode, filter=conditions, rerank=last, collapse=collapse)
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
    picture: PicturePath = None,
    token: Token = None,
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Show why a document matches a query: the best document token of each query token, and where on its page it is.

    --json: {"query", "id", "score", "lexical_terms", "matches": [{"query_token", "document_token", "score", "share",
    "query_text", "document_text", "query_span", "document_span", "field", "box"}], "page": {"file", "number", "width",
    "height", "origin"}, "boxes": [{"box", "score", "text", "document"}], "picture": {"path", "drawn_from"}}. The scores
    of matches add up to the MaxSim score. A box is left, top, right and bottom as fractions of the page. "page" is null
    for what is from no page, "picture" without --picture.
    """
    from ...retrieval.index import Index

    text = read_query(query)
    if picture is not None:
        check_picture_path(picture)
    with Index.open(path, threads=threads, offline=offline) as index:
        explanation = index.explain(text, id, token=token)
        document = index.get(id)
        drawn = None if picture is None else save_picture(picture, index, explanation)
    if output.as_json:
        output.json({**explanation_json(text, explanation), "picture": drawn})
        return
    from .render import show_explanation, show_page

    show_explanation(output, explanation, document)
    show_page(output, explanation, drawn)


def check_picture_path(path: Path) -> None:
    """Whether a picture may be written there. Raises `InvalidInputError` for other files than PNG, `StorageError`."""
    if path.suffix.lower() != ".png":
        raise InvalidInputError(
            f"--picture writes a PNG file: give it a name that ends in .png, not {str(path)!r:.200}"
        )
    if not path.parent.is_dir():
        raise StorageError(f"there is no folder {path.parent} to write {path.name} to")
    if not path.exists():
        return
    if not path.is_file():
        raise InvalidInputError(f"{path} is there and no file: choose another name for the picture")
    with path.open("rb") as stream:
        start = stream.read(len(PNG))
    if start not in (b"", PNG):
        raise InvalidInputError(f"{path} is there and no PNG file: it is left alone; choose another name")


def save_picture(path: Path, index: Index, explanation: Explanation) -> Mapping[str, str]:
    """Write the picture of an explanation; says where it is and what it was drawn from."""
    from ..page_picture import draw

    drawn = draw(index.pages, explanation)
    path.write_bytes(drawn.png)
    return {"path": str(path), "drawn_from": drawn.drawn_from}


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
        "page": None if explanation.page is None else asdict(explanation.page),
        "boxes": [asdict(box) for box in explanation.boxes],
    }
