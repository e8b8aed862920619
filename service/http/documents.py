"""Routes that read and change documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from ...retrieval.config import MAX_ID_CHARACTERS
from .api import ALWAYS, WRITE, Name, Serving, errors, router
from .schemas import (
    AddAnswer,
    DeleteAnswer,
    DeleteRequest,
    DocumentAnswer,
    DocumentsRequest,
    UpsertAnswer,
)

documents = router("/v1/collections/{name}/documents", "documents")

Id = Annotated[str, Path(alias="id", min_length=1, max_length=MAX_ID_CHARACTERS, description="percent-encoded")]


@documents.post("", response_model=AddAnswer, status_code=201, responses=errors(*WRITE))
async def add_documents(name: Name, body: DocumentsRequest, service: Serving) -> Response:
    """Add new documents, all or none; 409 when an id is already present."""

    def work() -> AddAnswer:
        return AddAnswer(added=service.engine.add(name, *body.parts()))

    return await service.write(work, status=201)


@documents.put("", response_model=UpsertAnswer, responses=errors(*WRITE))
async def upsert_documents(name: Name, body: DocumentsRequest, service: Serving) -> Response:
    """Add documents and replace those whose id is already present."""

    def work() -> UpsertAnswer:
        report = service.engine.upsert(name, *body.parts())
        return UpsertAnswer(added=report.added, updated=report.updated, unchanged=report.unchanged)

    return await service.write(work)


@documents.post("/delete", response_model=DeleteAnswer, responses=errors(*WRITE))
async def delete_documents(name: Name, body: DeleteRequest, service: Serving) -> Response:
    """Delete documents by id (404 and nothing deleted if one is unknown) or by filter."""
    return await service.write(
        lambda: DeleteAnswer(deleted=service.engine.delete(name, ids=body.ids, filter=body.filter))
    )


@documents.get("/{id:path}", response_model=DocumentAnswer, responses=errors(*ALWAYS, 504))
async def get_document(name: Name, document: Id, service: Serving) -> Response:
    """Read one document."""

    def work() -> DocumentAnswer:
        found = service.engine.get(name, document)
        return DocumentAnswer(id=found.id, title=found.title, text=found.text, metadata=dict(found.metadata))

    return await service.read(work)


@documents.delete("/{id:path}", response_model=DeleteAnswer, responses=errors(*ALWAYS, 504, 507))
async def delete_document(name: Name, document: Id, service: Serving) -> Response:
    """Delete one document."""
    return await service.write(lambda: DeleteAnswer(deleted=service.engine.delete(name, ids=[document])))
