"""Routes that say why and where a document matches, and show its page."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from fastapi import Query
from starlette.responses import Response

from ...retrieval.config import MAX_ID_CHARACTERS, MAX_QUERY_CHARACTERS
from ...retrieval.heat import best_regions
from ...retrieval.heatmap import heat_grid
from ...retrieval.types import Box, Explanation, PagePlace, TokenMatch
from ..engine import Engine
from ..page_picture import arrays, require_page
from .api import ALWAYS, BODY, Name, Serving, errors, router
from .schemas import (
    BoxBody,
    ExplainAnswer,
    ExplainRequest,
    HeatAnswer,
    MatchBody,
    PageBody,
    ScoredBoxBody,
    SpanBody,
)

_CELLS = 48
"""Cells of the longer side of a page in JSON."""
_MAX_TOKEN = 100_000
_PRIVATE = {"cache-control": "private, max-age=60", "vary": "authorization, x-api-key"}
"""For pictures: a browser may keep them a moment, and nobody between it and the server."""

explaining = router("/v1/collections/{name}", "explain")

_QueryText = Annotated[str, Query(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
_DocumentId = Annotated[str, Query(alias="id", min_length=1, max_length=MAX_ID_CHARACTERS)]
_Token = Annotated[int | None, Query(ge=0, le=_MAX_TOKEN, description="heat of this query token alone, counted from 0")]
_Width = Annotated[int, Query(ge=64, le=2_000, description="pixels of the longer side of the picture")]
_Form = Annotated[Literal["png", "json"], Query(alias="format", description="a picture, or the heat as numbers")]


def _picture(media_type: str, description: str) -> dict[str, Any]:
    return {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}, "description": description}


@explaining.post("/explain", response_model=ExplainAnswer, responses=errors(*BODY))
async def explain(name: Name, body: ExplainRequest, service: Serving) -> Response:
    """Say which tokens of a document matched each token of the query, how much each adds, and where on the page."""
    return await service.read(lambda: _explain(service.engine, name, body.query, body.id, None))


@explaining.get("/explain", response_model=ExplainAnswer, responses=errors(*ALWAYS, 504))
async def explain_by_url(
    name: Name, query: _QueryText, document: _DocumentId, service: Serving, token: _Token = None
) -> Response:
    """The same by a URL."""
    return await service.read(lambda: _explain(service.engine, name, query, document, token))


@explaining.get(
    "/explain/heatmap",
    response_model=None,
    responses={
        200: {**_picture("image/png", "The page, or its heat as numbers"), "model": HeatAnswer},
        **errors(*ALWAYS, 504),
    },
)
async def heatmap(
    name: Name,
    query: _QueryText,
    document: _DocumentId,
    service: Serving,
    token: _Token = None,
    form: _Form = "png",
    width: _Width = 1_000,
) -> Response:
    """Show where on the page of a document the query is answered; 422 for a document that is from no page."""
    engine = service.engine
    if form == "json":
        return await service.read(lambda: _heat(engine.explain(name, query, document, token)))

    def work() -> bytes:
        explanation = engine.explain(name, query, document, token)
        require_page(explanation)
        return engine.picture(name, explanation, width).png

    return await service.read_file(work, "image/png", _PRIVATE)


@explaining.get(
    "/pages/thumbnail",
    response_class=Response,
    responses={200: _picture("image/webp", "A picture of at most 320 pixels a side"), **errors(*ALWAYS, 504)},
)
async def thumbnail(name: Name, document: _DocumentId, service: Serving) -> Response:
    """A small picture of the page that a document is from; 404 where there is none."""
    return await service.read_file(lambda: service.engine.thumbnail(name, document), "image/webp", _PRIVATE)


def _explain(engine: Engine, name: str, query: str, document: str, token: int | None) -> ExplainAnswer:
    found = engine.explain(name, query, document, token)
    return ExplainAnswer(
        id=found.id,
        score=found.score,
        matches=[_match(match) for match in found.matches],
        lexical_terms=found.lexical_terms,
        page=None if found.page is None else _page(found.page),
        boxes=[
            ScoredBoxBody(box=_box(part.box), score=part.score, text=part.text, document=part.document)
            for part in found.boxes
        ],
    )


def _heat(explanation: Explanation) -> HeatAnswer:
    page = require_page(explanation)
    boxes, scores = arrays(explanation.boxes)
    longest = max(page.width, page.height, 1e-6)
    rows, cols = (max(1, round(_CELLS * side / longest)) for side in (page.height, page.width))
    grid = heat_grid(boxes, scores, (rows, cols))
    best, _ = best_regions(boxes, scores)
    return HeatAnswer(
        page=_page(page),
        rows=rows,
        cols=cols,
        heat=grid.round(4).tolist(),
        best=[_box(cast("Box", tuple(box))) for box in best.tolist()],
    )


def _page(page: PagePlace) -> PageBody:
    return PageBody(
        file=page.file,
        number=page.number,
        width=page.width,
        height=page.height,
        origin=cast("Literal['text', 'ocr', 'none']", page.origin),
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
        box=None if match.box is None else _box(match.box),
    )


def _box(box: Box) -> BoxBody:
    left, top, right, bottom = box
    return BoxBody(left=left, top=top, right=right, bottom=bottom)


def _span(span: tuple[int, int] | None) -> SpanBody | None:
    return None if span is None else SpanBody(start=span[0], end=span[1])
