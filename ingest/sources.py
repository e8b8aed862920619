"""Scanned files as sources of documents, read lazily."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import xxhash

from ..encoders.base import Progress
from ..encoders.onnx_session import cores
from ..index.storage.pages import PageStore
from ..retrieval.types import Document, Source
from .chunks import split
from .extractor import Extractor
from .ledger import Ledger
from .naming import NamedFile, name_sources
from .ocr import find_engine
from .options import MIB, IngestOptions, Note, Passage
from .page_passages import OcrCount, PageReader
from .readers import Reader
from .walk import FoundFile, Scan


class Digests:
    """Hashes of files, each computed once. engine: of OCR, which shapes the documents of files that have pages."""

    def __init__(self, options: IngestOptions, engine: str | None = None) -> None:
        self._options = options
        self._engine = engine
        self._known: dict[Path, str | None] = {}

    def of(self, file: FoundFile) -> str | None:
        """xxh3-128 (hex) of the bytes of a file and of all that shapes its documents; None when it cannot be read."""
        content = self.bytes_of(file)
        if content is None:
            return None
        return xxhash.xxh3_128_hexdigest(f"{self._options.digest(file.kind, self._engine)}:{content}".encode())

    def bytes_of(self, file: FoundFile) -> str | None:
        """xxh3-128 (hex) of the bytes of a file; None when it cannot be read."""
        if file.path not in self._known:
            try:
                self._known[file.path] = file_hash(file.path)
            except OSError:
                self._known[file.path] = None
        return self._known[file.path]


def file_hash(path: Path) -> str:
    """xxh3-128 (hex) of the bytes of a file. Raises `OSError`."""
    state = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(MIB):
            state.update(block)
    return state.hexdigest()


class SourceReader:
    """Reads files into documents. A context manager: files are opened, and pages recognized, in processes that it owns.

    owner_of and living: see `Ledger`; they keep records of different files from claiming one id. store: where pages are
    kept. dry: keep none, and run no OCR. sample: run OCR on one page of a file (see `PageReader`). progress: phase
    `ocr` counts pages that OCR has read.

    Raises `InvalidInputError` or `MissingExtraError` where `options` names an OCR engine that is not installed.
    """

    def __init__(
        self,
        options: IngestOptions | None = None,
        *,
        owner_of: Callable[[str], str | None] = lambda _name: None,
        living: Container[str] = (),
        store: PageStore | None = None,
        dry: bool = False,
        sample: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.options = options or IngestOptions()
        self._ledger = Ledger(owner_of, living)
        self._extractor = Extractor(self.options.extract_seconds, self.options.extract_bytes)
        self._engine = find_engine(self.options.ocr_wanted, seconds=self.options.ocr_seconds)
        self.digests = Digests(self.options, None if self._engine is None else self._engine.name)
        self.ocr = OcrCount()
        pages = PageReader(
            self.options,
            self._extractor,
            self._ledger,
            self._engine,
            cores(),
            store=store,
            dry=dry,
            sample=sample,
            progress=progress,
            count=self.ocr,
        )
        self._reader = Reader(self.options, self._extractor, self._ledger, pages)

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
        return self._reader.passages(file.path, file.kind, name, self.digests.bytes_of(file) or "")

    def skip(self, name: str, reason: str) -> None:
        """Note that a source is left out."""
        self._ledger.skip(name, reason)

    def documents(self, file: FoundFile, name: str) -> Iterator[Document]:
        """The documents of a file; `name` is that of its source. Raises `InvalidInputError` when it cannot be read."""
        return self.cut(self.passages(file, name), name)

    def cut(self, passages: Iterable[Passage], name: str) -> Iterator[Document]:
        """The documents of a source, given its passages.

        Ids are `<source>#<n>`, counted from 0 through the file; those of records are their own (or `<source>#<line>`),
        and `<id>#<n>` where a record was cut. Metadata: `source`, `start` and `end` (characters of the extracted text,
        of the page or of the record's text), `page` (from 1) and `file` (hash of the bytes) of a PDF or an image,
        `page_image` (width and height of the picture that was encoded), and the other fields of a record.
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
        """End the processes that read files and recognize pages."""
        self._extractor.close()
        if self._engine is not None:
            self._engine.close()

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
    return Document(identifier, passage.text[span], passage.title, metadata, passage.image)


def read_sources(scan: Scan, reader: SourceReader, *, known: Mapping[str, str] | None = None) -> Iterator[Source]:
    """The sources of a scan, in order, their documents not read yet; those that `known` has unchanged are left out.

    known: name to content hash, as `Index.sources()` gives them. Documents must be consumed while `reader` is open.
    """
    known = known or {}
    for named in name_sources(scan, known, reader.digests.of).files:
        source = as_source(named, reader)
        if known.get(source.name) != source.content_hash:
            yield source


def as_source(named: NamedFile, reader: SourceReader) -> Source:
    """The source that a file is. For a file whose bytes cannot be read, consuming the documents says so."""
    content = reader.digests.of(named.file)
    return Source(named.name, named.content_hash(content or ""), reader.documents(named.file, named.name))
