"""The writing side of an index: each function turns a caller's wish into durable commits.

Every function expects the caller to hold `session.writing()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..encoders.base import Progress
from ..encoders.embeddings import TokenEmbeddings
from ..encoders.errors import DuplicateDocumentError, InvalidEmbeddingsError
from . import calibrate as calibration
from . import writer
from .documents import as_document, batches, first_duplicate, not_found
from .session import Session
from .sync import Synchronizer
from .types import Document, SyncReport

DocumentLike = Document | Mapping[str, Any]


def add(
    session: Session, documents: Iterable[DocumentLike], embeddings: TokenEmbeddings | None, progress: Progress | None
) -> int:
    """See `Index.add`."""
    total = len(documents) if isinstance(documents, Sequence) else None
    if total is not None or embeddings is not None:
        checked = [as_document(value) for value in documents]
        _refuse_known(session, checked)
        documents, total = checked, len(checked)
    _check_embeddings(session, embeddings, total)
    done = 0
    for batch in batches(documents, session.snapshot.config.batch_documents):
        if embeddings is None:
            _refuse_known(session, batch)
            vectors = session.encode(batch, progress, done, total)
        else:
            vectors = embeddings.take(np.arange(done, done + len(batch)))
        session.commit(writer.Change(documents=batch, embeddings=vectors))
        done += len(batch)
    return done


def upsert(
    session: Session, documents: Iterable[DocumentLike], embeddings: TokenEmbeddings | None, progress: Progress | None
) -> SyncReport:
    """See `Index.upsert`."""
    if embeddings is not None:
        return _replace(session, [as_document(value) for value in documents], embeddings)
    total = len(documents) if isinstance(documents, Sequence) else None
    collector = synchronizer(session, progress, total)
    for batch in batches(documents, session.snapshot.config.batch_documents):
        for document in batch:
            collector.put(document)
    collector.flush()
    return collector.report


def _replace(session: Session, documents: Sequence[Document], embeddings: TokenEmbeddings) -> SyncReport:
    _check_embeddings(session, embeddings, len(documents))
    _refuse_twice(documents)
    updated = 0
    size = session.snapshot.config.batch_documents
    for start in range(0, len(documents), size):
        batch = documents[start : start + size]
        known = session.catalog.records_by_id([document.id for document in batch])
        vectors = embeddings.take(np.arange(start, start + len(batch)))
        session.commit(writer.Change(documents=batch, embeddings=vectors, delete=list(known)))
        updated += len(known)
    return SyncReport(added=len(documents) - updated, updated=updated)


def synchronizer(session: Session, progress: Progress | None, total: int | None) -> Synchronizer:
    """A collector that encodes and commits through the session."""

    def encode(documents: Sequence[Document]) -> TokenEmbeddings:
        report = collector.report
        return session.encode(documents, progress, report.added + report.updated + report.unchanged, total)

    collector = Synchronizer(
        size=session.snapshot.config.batch_documents,
        view=lambda: session.catalog,
        encode=encode,
        commit=session.commit,
    )
    return collector


def remove_sources(session: Session, names: Sequence[str]) -> int:
    """See `Index.remove_sources`."""
    ids = sorted({name for source in names for name in session.catalog.ids_of_source(source)})
    if names:
        session.commit(writer.Change(delete=ids, dropped=names))
    return len(ids)


def delete(session: Session, ids: Iterable[str]) -> int:
    """See `Index.delete`."""
    chosen = list(dict.fromkeys(ids))
    known = session.catalog.records_by_id(chosen)
    missing = [name for name in chosen if name not in known]
    if missing:
        raise not_found(missing)
    if chosen:
        session.commit(writer.Change(delete=chosen))
    return len(chosen)


def optimize(session: Session, progress: Progress | None) -> None:
    """See `Index.optimize`."""
    snapshot = session.snapshot
    if len(snapshot.segments) > 1 or any(mask is not None for mask in snapshot.live):
        total = snapshot.tokens
        report = None if progress is None else lambda done: progress("merge", done, total)
        writer.merge(session.path, snapshot, 0, len(snapshot.segments), report)
        session.refresh()
    session.compact()


def calibrate(session: Session, progress: Progress | None) -> calibration.Calibration | None:
    """See `Index.calibrate`."""
    snapshot = session.snapshot
    if snapshot.fitted is None:
        return None
    measured = calibration.calibrate(snapshot, snapshot.fitted, session.encoder.get(), progress)
    if measured is not None:
        session.commit(writer.Change(settings={"calibration": measured.to_dict()}))
    return measured


def _check_embeddings(session: Session, embeddings: TokenEmbeddings | None, documents: int | None) -> None:
    if embeddings is None:
        return
    dim = session.snapshot.dim
    if embeddings.dim != dim:
        raise InvalidEmbeddingsError(f"the embeddings have {embeddings.dim} dimensions, the index {dim}")
    if len(embeddings) != documents:
        raise InvalidEmbeddingsError(f"{documents} documents were given with {len(embeddings)} embeddings")


def _refuse_twice(documents: Sequence[Document]) -> None:
    duplicate = first_duplicate([document.id for document in documents])
    if duplicate is not None:
        raise DuplicateDocumentError(f"document {duplicate!r:.80} is given twice: keep one")


def _refuse_known(session: Session, documents: Sequence[Document]) -> None:
    _refuse_twice(documents)
    known = session.catalog.records_by_id([document.id for document in documents])
    if known:
        raise DuplicateDocumentError(
            f"document {next(iter(known))!r:.80} is already in the index "
            f"({len(known)} of {len(documents)} are): use upsert to replace it"
        )
