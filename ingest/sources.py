"""Scanned files as sources of documents, read lazily."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import xxhash

from ..retrieval.types import Document, Source
from .chunks import split
from .extractor import Extractor
from .ledger import Ledger
from .naming import NamedFile, name_sources
from .options import MIB, IngestOptions, Note, Passage
from .readers import Reader
from .walk import FoundFile, Scan


class Digests:
    """Hashes of the content of files, each computed once."""

    def __init__(self, options: IngestOptions) -> None:
        self._shape = options.digest()
        self._known: dict[Path, str | None] = {}

    def of(self, file: FoundFile) -> str | None:
        """xxh3-128 (hex) of the bytes of a file and of all that shapes its documents; None when it cannot be read."""
        if file.path not in self._known:
            state = xxhash.xxh3_128(f"{file.kind}:{self._shape}:".encode())
            try:
                with file.path.open("rb") as stream:
                    while block := stream.read(MIB):
                        state.update(block)
                self._known[file.path] = state.hexdigest()
            except OSError:
                self._known[file.path] = None
        return self._known[file.path]


class SourceReader:
    """Reads files into documents. A context manager: PDF and HTML files are opened in a process that it owns.

    owner_of and living: see `Ledger`; they keep records of different files from claiming one id.
    """

    def __init__(
        self,
        options: IngestOptions | None = None,
        *,
        owner_of: Callable[[str], str | None] = lambda _name: None,
        living: Container[str] = (),
    ) -> None:
        self.options = options or IngestOptions()
        self._ledger = Ledger(owner_of, living)
        self._extractor = Extractor(self.options.extract_seconds, self.options.extract_bytes)
        self._reader = Reader(self.options, self._extractor, self._ledger)

    @property
    def skipped(self) -> list[Note]:
        """Files and records that turned out to hold nothing to index."""
        return self._ledger.skipped

    @property
    def failed(self) -> list[Note]:
        """Records, pages and files that could not be read."""
        return self._ledger.failed

    def passages(self, file: FoundFile, name: str) -> Iterator[Passage]:
        """The texts of a file before they are cut. Raises `InvalidInputError` when it cannot be read."""
        return self._reader.passages(file.path, file.kind, name)

    def documents(self, file: FoundFile, name: str) -> Iterator[Document]:
        """The documents of a file; `name` is that of its source. Raises `InvalidInputError` when it cannot be read."""
        return self.cut(self.passages(file, name), name)

    def cut(self, passages: Iterable[Passage], name: str) -> Iterator[Document]:
        """The documents of a source, given its passages.

        Ids are `<source>#<n>`, counted from 0 through the file; those of records are their own (or `<source>#<line>`),
        and `<id>#<n>` where a record was cut. Metadata: `source`, `start` and `end` (characters of the extracted text,
        of the page or of the record's text), `page` (from 1) of a PDF, and the other fields of a record.
        """
        number = 0
        for passage in passages:
            pieces = list(self._pieces(passage))
            for piece, span in enumerate(pieces):
                if passage.id is None:
                    identifier = f"{name}#{number}"
                    number += 1
                else:
                    identifier = passage.id if len(pieces) == 1 else f"{passage.id}#{piece}"
                yield _document(identifier, passage, span, name)

    def _pieces(self, passage: Passage) -> Iterator[slice]:
        if passage.whole:
            yield slice(None)
            return
        if passage.id is not None and not passage.text.strip():
            yield slice(0, 0)  # a record with nothing but a title
            return
        ranges = split(passage.text, title=passage.title, markdown=passage.markdown, window=self.options.chunk_tokens)
        for start, end in ranges:
            yield slice(start, end)

    def close(self) -> None:
        """End the process that reads PDF and HTML files."""
        self._extractor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _document(identifier: str, passage: Passage, span: slice, source: str) -> Document:
    metadata = {**passage.metadata, "source": source}
    if passage.page is not None:
        metadata["page"] = passage.page
    if span.start is not None:
        metadata |= {"start": span.start, "end": span.stop}
    return Document(identifier, passage.text[span], passage.title, metadata)


def read_sources(scan: Scan, reader: SourceReader, *, known: Mapping[str, str] | None = None) -> Iterator[Source]:
    """The sources of a scan, in order, their documents not read yet; those that `known` has unchanged are left out.

    known: name to content hash, as `Index.sources()` gives them. Documents must be consumed while `reader` is open.
    """
    known = known or {}
    digests = Digests(reader.options)
    for named in name_sources(scan, known, digests.of).files:
        source = as_source(named, reader, digests)
        if known.get(source.name) != source.content_hash:
            yield source


def as_source(named: NamedFile, reader: SourceReader, digests: Digests) -> Source:
    """The source that a file is. For a file whose bytes cannot be read, consuming the documents says so."""
    content = digests.of(named.file)
    return Source(named.name, named.content_hash(content or ""), reader.documents(named.file, named.name))
