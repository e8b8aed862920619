"""Replacing documents by content: only what changed is encoded, in batches that are durable one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..encoders.errors import LatefoldError
from ..index.storage.catalog import CatalogReader
from .documents import as_document
from .encoding import Encoded
from .types import Document, Source, SyncReport
from .writer import Change, content_hash

Commit = Callable[[Change], None]
View = Callable[[], CatalogReader]
Encode = Callable[[Sequence[Document]], Encoded]


@dataclass
class Batch:
    """Documents and decisions collected for the next commit. Putting an id again replaces it."""

    documents: dict[str, tuple[Document, str | None]] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    finished: list[tuple[str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.documents or self.stale or self.finished)


class Synchronizer:
    """Collects documents, and commits a batch whenever it is full.

    view: the catalog as of the last commit. encode: documents to token embeddings. commit: makes a change durable.
    """

    def __init__(self, *, size: int, view: View, encode: Encode, commit: Commit) -> None:
        self._size = size
        self._view = view
        self._encode = encode
        self._commit = commit
        self._batch = Batch()
        self.report = SyncReport()

    def put(self, document: Document, source: str | None = None) -> None:
        """Add or replace one document."""
        self._batch.documents[document.id] = (document, source)
        self._batch.stale.discard(document.id)
        if len(self._batch.documents) >= self._size:
            self.flush()

    def run(self, sources: Iterable[Source]) -> SyncReport:
        """Bring every source up to date; one that cannot be read is reported, and deletes nothing."""
        for source in sources:
            stale = self._view().ids_of_source(source.name)
            if self._read(source, stale):
                self._batch.stale |= stale - set(self._batch.documents)
                self._batch.finished.append((source.name, source.content_hash))
                self.report = replace(self.report, sources=self.report.sources + 1)
            if len(self._batch.finished) >= self._size:
                self.flush()
        self.flush()
        return self.report

    def _read(self, source: Source, stale: set[str]) -> bool:
        """Put the documents of a source, taking their ids out of `stale`. False when reading failed."""
        documents = iter(source.documents)
        while True:
            try:
                value = next(documents, None)
                document = None if value is None else as_document(value)
            except (LatefoldError, OSError, ValueError) as error:
                self.report = replace(self.report, failed={**self.report.failed, source.name: str(error)})
                return False
            if document is None:
                return True
            stale.discard(document.id)
            self.put(document, source.name)

    def flush(self) -> None:
        """Commit what was collected; does nothing when nothing changes."""
        batch, self._batch = self._batch, Batch()
        if not batch:
            return
        stored = self._view().records_by_id(batch.documents)
        changed: list[tuple[Document, str | None]] = []
        moved: list[tuple[str, str]] = []
        for document, source in batch.documents.values():
            old = stored.get(document.id)
            if old is None or old.content_hash != content_hash(document):
                changed.append((document, source))
            elif source is not None and old.source != source:
                moved.append((document.id, source))
        documents = [document for document, _ in changed]
        replaced = [document.id for document in documents if document.id in stored]
        encoded = self._encode(documents) if documents else None
        change = Change(
            documents=documents,
            embeddings=encoded and encoded.embeddings,
            saliency=encoded and encoded.saliency,
            sources=[source for _, source in changed],
            delete=[*replaced, *sorted(batch.stale)],
            reassign=moved,
            finished=batch.finished,
        )
        if change != Change():
            self._commit(change)
        self.report = replace(
            self.report,
            added=self.report.added + len(documents) - len(replaced),
            updated=self.report.updated + len(replaced),
            unchanged=self.report.unchanged + len(batch.documents) - len(documents),
            deleted=self.report.deleted + len(batch.stale),
        )
