"""A file to its passages, whatever its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..encoders.errors import InvalidInputError
from .charset import WIDE_MARKS, decode, wide_encoding
from .extractor import Extractor
from .fields import record_passage
from .ledger import Ledger
from .options import IngestOptions, Kind, Passage
from .page_passages import PageReader
from .records import Broken, Record, read_csv, read_jsonl, read_parquet
from .sniff import Unsupported

_NOT_PROSE = re.compile(r"\A---\n.*?\n---$|^ {0,3}(```|~~~).*?(^ {0,3}\1|\Z)", re.M | re.S)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(\S.*?)[ \t#]*$|^(\S.*)\n {0,3}(?:=+|-{3,})[ \t]*$", re.M)
_HEADING_WITHIN = 20_000
_LISTED_RECORDS = 20
_TITLE_CHARACTERS = 300


class Reader:
    """Reads files into passages; tells the ledger of records and pages that cannot be read."""

    def __init__(self, options: IngestOptions, extractor: Extractor, ledger: Ledger, pages: PageReader) -> None:
        self._options = options
        self._extractor = extractor
        self._ledger = ledger
        self._pages = pages

    def passages(self, path: Path, kind: Kind, source: str, file: str) -> Iterator[Passage]:
        """The passages of a file. file: the hash of its bytes.

        Raises `InvalidInputError` when the file as a whole cannot be read.
        """
        try:
            if kind.streamed:
                yield from self._records(path, kind, source)
            elif kind.paged:
                yield from self._pages.passages(path, kind, source, file)
            elif kind is Kind.HTML:
                yield from self._html(path, source)
            else:
                yield from self._text(path, kind, source)
        except InvalidInputError:
            raise
        except OSError as error:
            raise InvalidInputError(f"the file cannot be read: {error.strerror or error}") from error

    def _text(self, path: Path, kind: Kind, source: str) -> Iterator[Passage]:
        data = path.read_bytes()
        if data.count(0) > len(data) // 100 and wide_encoding(data) is None and not data.startswith(WIDE_MARKS):
            self._ledger.skip(source, "unsupported type: binary file")
            return
        text = decode(data)
        if not text.strip():
            self._ledger.skip(source, "no text: only white space")
            return
        title = first_heading(text) if kind is Kind.MARKDOWN else ""
        yield Passage(text, title or _file_title(source), markdown=kind is Kind.MARKDOWN)

    def _html(self, path: Path, source: str) -> Iterator[Passage]:
        extracted = self._extractor.read(path, Kind.HTML.value)
        if not any(page.text.strip() for page in extracted.pages):
            self._ledger.skip(source, "no text on the page")
            return
        for page in extracted.pages:
            yield Passage(page.text, extracted.title[:_TITLE_CHARACTERS] or _file_title(source))

    def _records(self, path: Path, kind: Kind, source: str) -> Iterator[Passage]:
        broken = good = empty = 0
        for number, record in self._rows(path, kind):
            if isinstance(record, Unsupported):
                self._ledger.skip(source, record.reason)
                return
            try:
                passage = record_passage(_readable(record), f"{source}#{number}", whole=kind is Kind.BEIR)
                self._ledger.claim(passage.id or "", source)
            except InvalidInputError as error:
                broken += 1
                if broken <= _LISTED_RECORDS:
                    self._ledger.fail(f"{source}:{number}", str(error))
                continue
            if not (passage.text.strip() or passage.title):
                empty += 1
                if empty <= _LISTED_RECORDS:
                    self._ledger.skip(f"{source}:{number}", "a record with neither text nor title")
                continue
            good += 1
            yield passage
        if broken > _LISTED_RECORDS:
            self._ledger.fail(source, f"{broken - _LISTED_RECORDS} more records cannot be read")
        if empty > _LISTED_RECORDS:
            self._ledger.skip(source, f"{empty - _LISTED_RECORDS} more records have neither text nor title")
        if not good:
            self._ledger.skip(source, "no records that can be read")

    def _rows(self, path: Path, kind: Kind) -> Iterator[Record]:
        if kind is Kind.PARQUET:
            return read_parquet(path)
        read = read_csv if kind is Kind.CSV else read_jsonl
        return read(path, self._options.max_record_characters)


def _readable(record: object) -> object:
    if isinstance(record, Broken):
        raise InvalidInputError(record.reason)
    return record


def first_heading(text: str) -> str:
    """The first heading of a Markdown text (outside code blocks and front matter), or an empty string."""
    match = _HEADING.search(_NOT_PROSE.sub("", text[:_HEADING_WITHIN]))
    return "" if match is None else " ".join((match[1] or match[2]).split())[:_TITLE_CHARACTERS]


def _file_title(source: str) -> str:
    return PurePosixPath(source).name
