"""Bringing an index up to date with files and folders."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..encoders.base import Progress
from ..encoders.errors import InvalidInputError, LatefoldError
from ..retrieval.types import Source, SyncReport
from .naming import NamedFile, name_sources, split_hash
from .options import IngestOptions, Note
from .sources import SourceReader, as_source
from .walk import scan

if TYPE_CHECKING:
    from ..retrieval.index import Index


@dataclass(frozen=True)
class IngestReport:
    """What a run did.

    files: sources read and indexed. unchanged_files: sources left alone, since their bytes are those indexed.
    added, updated, unchanged, deleted: documents; unchanged ones were read again, but not encoded again.
    vanished: sources of the scanned folders whose files are gone; removed with their documents when `pruned`.
    skipped: what holds nothing to index. failed: files, records and pages that could not be read. bytes: of all files
    found, read or not. seconds: wall time.
    """

    files: int
    unchanged_files: int
    added: int
    updated: int
    unchanged: int
    deleted: int
    vanished: tuple[str, ...]
    pruned: bool
    skipped: tuple[Note, ...]
    failed: tuple[Note, ...]
    bytes: int
    seconds: float
    dry_run: bool

    @property
    def ok(self) -> bool:
        """Whether everything that should be readable was read."""
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, with `ok`."""
        return {**asdict(self), "ok": self.ok}


def ingest(
    index: Index | None,
    paths: Iterable[str | Path],
    options: IngestOptions | None = None,
    progress: Progress | None = None,
    *,
    prune: bool = False,
    dry_run: bool = False,
) -> IngestReport:
    """Index new and changed files below `paths`; every batch is durable, so an interrupted run continues where it was.

    A file that cannot be read is reported and keeps the documents it had. Sources that vanished are reported, and
    removed only with `prune`; they count only if they belong to a folder in `paths` (see `naming`).
    dry_run: read everything, write nothing; then `index` may be None. progress: phase `files` counts files read,
    `encode` documents, `ocr` pages without a text layer. A dry run leaves OCR out.

    Raises `InvalidInputError` when a path does not exist, and what writing to the index raises.
    """
    started = time.monotonic()
    if index is None and not dry_run:
        raise InvalidInputError("an index is needed, except for a dry run")
    options = options or IngestOptions()
    if index is not None:
        options = replace(options, page_images=index.reads_images)
    found = scan(paths, options)
    known = {} if index is None else index.sources()
    living: set[str] = set()  # known once sources have names, which takes the reader's hashes
    store = None if index is None else index.pages
    with SourceReader(
        options, owner_of=_owner_in(index), living=living, store=store, dry=dry_run, progress=progress
    ) as reader:
        sources = name_sources(found, known, reader.digests.of)
        living |= known.keys() - set(sources.vanished)
        refill = store is not None and not store.exists and not dry_run
        changes = _Changes(sources.files, reader, known, progress, refill=refill)
        if index is None or dry_run:  # noqa: SIM108 - the type checker follows this form only
            synced = _rehearse(changes, index)
        else:
            synced = index.sync(changes, progress=progress)
    removed = _remove(index, sources.vanished, dry_run=dry_run) if prune else 0
    broken = [Note(name, reason) for name, reason in synced.failed.items()]
    return IngestReport(
        files=synced.sources,
        unchanged_files=changes.unchanged,
        added=synced.added,
        updated=synced.updated,
        unchanged=synced.unchanged,
        deleted=synced.deleted + removed,
        vanished=sources.vanished,
        pruned=prune,
        skipped=(*(left.note() for left in found.skipped), *reader.skipped),
        failed=(*(left.note() for left in found.failed), *reader.failed, *broken),
        bytes=found.bytes,
        seconds=time.monotonic() - started,
        dry_run=dry_run,
    )


class _Changes:
    """The sources whose content the index does not have, made one by one as they are asked for.

    A file with pages whose bytes are those of another one is left out, as long as the other is there. refill: files
    with pages are read in any case, for the index has lost its page store.
    """

    def __init__(
        self,
        files: Sequence[NamedFile],
        reader: SourceReader,
        known: Mapping[str, str],
        progress: Progress | None,
        *,
        refill: bool,
    ) -> None:
        self._files = files
        self._refill = refill
        self._reader = reader
        self._known = known
        self._progress = progress
        self._twins = {split_hash(known[file.name])[0]: file.name for file in files if file.name in known}
        self.unchanged = 0

    def __iter__(self) -> Iterator[Source]:
        for done, named in enumerate(self._files):
            if self._progress is not None:
                self._progress("files", done, len(self._files))
            source = as_source(named, self._reader)
            if self._known.get(source.name) == source.content_hash and not (self._refill and named.file.kind.paged):
                self.unchanged += 1
            elif (twin := self._twin(named, source)) is not None:
                self._reader.skip(source.name, f"the same content as {twin}")
            else:
                yield source
        if self._progress is not None:
            self._progress("files", len(self._files), len(self._files))

    def _twin(self, named: NamedFile, source: Source) -> str | None:
        """Another source of the same content, for a file with pages that the index does not know yet."""
        if not named.file.kind.paged or source.name in self._known:
            return None
        twin = self._twins.setdefault(split_hash(source.content_hash)[0], source.name)
        return None if twin == source.name else twin


def _owner_in(index: Index | None) -> Callable[[str], str | None]:
    def owner(name: str) -> str | None:
        if index is None or name not in index:
            return None
        source = index.get(name).metadata.get("source")
        return None if source is None else str(source)

    return owner


def _rehearse(sources: Iterable[Source], index: Index | None) -> SyncReport:
    """What `Index.sync` would report, found by reading everything and writing nothing."""
    counts = Counter[str]()
    failed: dict[str, str] = {}
    for source in sources:
        stale = set() if index is None else set(index.ids(filter={"source": source.name}))
        try:
            for document in source.documents:
                stale.discard(document.id)
                old = index.get(document.id) if index is not None and document.id in index else None
                counts["added" if old is None else "unchanged" if old == document else "updated"] += 1
        except LatefoldError as error:
            failed[source.name] = str(error)
        else:
            counts["sources"] += 1
            counts["deleted"] += len(stale)
    return SyncReport(**counts, failed=failed)


def _remove(index: Index | None, names: Sequence[str], *, dry_run: bool) -> int:
    if index is None or not names:
        return 0
    if not dry_run:
        return index.remove_sources(names)
    return sum(len(index.ids(filter={"source": name})) for name in names)
