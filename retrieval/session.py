"""The open state of an index: its folder, encoder and current snapshot, and how a change becomes the next one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..encoders.base import Progress
from ..encoders.errors import LatefoldError, StorageError
from ..index.storage.catalog import CatalogReader, current_commit, transaction
from ..index.storage.database import LOG_LIMIT, checkpoint, compact, log_size
from ..index.storage.lock import writer_lock
from ..index.storage.pages import PageStore
from ..index.storage.segments import orphans, remove
from . import writer
from .encoding import Encoded, LazyEncoder, encode_documents
from .snapshot import Snapshot, open_snapshot, params_files
from .types import Document


class Session:
    """Shared by the reading and the writing side of one `Index`. `snapshot` is replaced whole, never changed."""

    def __init__(self, path: Path, encoder: LazyEncoder) -> None:
        self.path = path
        self.encoder = encoder
        self.pages = PageStore(path)
        self.snapshot: Snapshot = open_snapshot(path)
        self._lock = threading.RLock()
        self._refreshing = threading.Lock()

    @property
    def catalog(self) -> CatalogReader:
        """The catalog of the current snapshot."""
        return self.snapshot.catalog

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer lock, on the newest generation, with what a killed or failed writer left behind removed."""
        with self._lock, writer_lock(self.path):
            self._tidy()
            try:
                yield
            except BaseException:
                with suppress(LatefoldError):  # the first error is the one to tell; the next writer tidies again
                    self._tidy()
                raise

    def _tidy(self) -> None:
        self.refresh()
        left = orphans(
            self.path,
            segments=[info.id for info in self.catalog.segments()],
            params=params_files(self.catalog),
        )
        if left:
            # A commit that failed at its very last sync may stand complete in the log, and be revived by a crash, until
            # another one overwrites it: so commit before deleting what it refers to.
            with transaction(self.path):
                pass
            remove(left)

    def refresh(self) -> bool:
        """Move to the newest generation; returns whether there was another one."""
        with self._refreshing:
            if current_commit(self.path) == self.catalog.commit:
                return False
            self.snapshot = open_snapshot(self.path, self.snapshot)
            return True

    def fold_log(self) -> None:
        """Move the write-ahead log into the catalog. The caller holds `writing()`.

        The session's own view reads from the log and so keeps it from being emptied: it is renewed in between.
        """
        checkpoint(self.path)
        with self._refreshing:
            self.snapshot = open_snapshot(self.path, self.snapshot)
        checkpoint(self.path)

    def compact(self) -> None:
        """Make the catalog small. The caller holds `writing()`."""
        compact(self.path)
        self.fold_log()

    def commit(self, change: writer.Change) -> None:
        """Make a change durable and see it; small segments are merged on the way."""
        writer.apply(self.path, self.snapshot, change)
        self.refresh()
        with suppress(StorageError):  # the change is durable: housekeeping that finds no space waits for the next one
            self._keep_house()

    def _keep_house(self) -> None:
        while (due := writer.merge_due(self.snapshot)) is not None:
            writer.merge(self.path, self.snapshot, *due)
            self.refresh()
        if log_size(self.path) > LOG_LIMIT:
            self.fold_log()

    def encode(
        self, documents: Sequence[Document], progress: Progress | None, before: int, total: int | None
    ) -> Encoded:
        """Token embeddings of documents; progress counts on from `before`."""
        encoder = self.encoder.require("add documents without embeddings")
        report = None if progress is None else lambda _phase, done, _total: progress("encode", before + done, total)
        config = self.snapshot.config
        wanted = config.keep < 1 and config.saliency == "attention"
        return encode_documents(encoder, documents, report, attention=wanted)
