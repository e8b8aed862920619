"""What a caller may choose about ingestion, and the small types its parts hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

from ..encoders.errors import InvalidInputError
from ..encoders.pages import PageImage
from .ocr import OCR_SECONDS, EngineName

MIB = 1 << 20
READER_VERSION = 2
"""Part of every content hash: raised when readers change, so that files are read again."""


class Kind(StrEnum):
    """What a readable file holds."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    PDF = "pdf"
    IMAGE = "image"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    BEIR = "beir"

    @property
    def streamed(self) -> bool:
        """Whether it is read record by record, so that its size does not matter."""
        return self in (Kind.JSONL, Kind.CSV, Kind.PARQUET, Kind.BEIR)

    @property
    def paged(self) -> bool:
        """Whether it has pages that can be looked at."""
        return self in (Kind.PDF, Kind.IMAGE)


@dataclass(frozen=True)
class IngestOptions:
    """How folders are walked and files are read.

    include, exclude: globs. One without a slash is matched with the file name (`*.md`), and when excluding also with
    the names of folders; one with a slash is matched with the path below the root (`docs/*.md`, where `*` also
    crosses slashes). Without `include`, every file is read.
    max_file_bytes: larger files that are read whole (text, markdown, html, pdf) are skipped. Files of records are
    streamed, and `max_record_characters` bounds one record instead.
    chunk_tokens: the window of the encoder; texts are cut so that title and chunk fit into it.
    extract_seconds, extract_bytes: time per file (and for each page of one), and address space of the process that
    reads pdf, html and images.
    ocr: what reads pages without a text layer: `auto` (whatever is installed), an engine by name, or `off`;
    ocr_seconds: time for a page of it. thumbnails: whether the index keeps a small picture of every page.
    page_images: index pages of pdf and images by their looks, one document a page, for an encoder that reads images;
    their text is kept beside them, and OCR is not run unless an engine is named. image_pixels: longer side of the
    picture that the encoder gets.

    Raises `InvalidInputError` on values out of range.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    max_file_bytes: int = 64 * MIB
    max_record_characters: int = 8_000_000
    chunk_tokens: int = 256
    extract_seconds: float = 25.0
    extract_bytes: int = 1536 * MIB
    ocr: EngineName = "auto"
    ocr_seconds: float = OCR_SECONDS
    thumbnails: bool = True
    page_images: bool = False
    image_pixels: int = 1536

    def __post_init__(self) -> None:
        if not 32 <= self.chunk_tokens <= 4096:
            raise InvalidInputError(f"chunk_tokens is a number from 32 to 4096, got {self.chunk_tokens}")
        if self.ocr not in get_args(EngineName):
            raise InvalidInputError(f"ocr is one of {', '.join(get_args(EngineName))}; got {self.ocr!r:.40}")
        positive = ("max_file_bytes", "max_record_characters", "extract_seconds", "extract_bytes", "ocr_seconds")
        for name in (*positive, "image_pixels"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("include", "exclude"):
            if isinstance(getattr(self, name), str):
                raise InvalidInputError(f"{name} is a list of globs, not one string")

    @property
    def ocr_wanted(self) -> EngineName:
        """`ocr`, but that pages which an encoder sees for itself are read only by an engine that is named."""
        return "off" if self.page_images and self.ocr == "auto" else self.ocr

    def digest(self, kind: Kind, engine: str | None = None) -> str:
        """What of these options shapes the documents of a file, as text for its content hash. engine: of OCR."""
        shape = f"{kind}:{READER_VERSION}:{self.chunk_tokens}:{self.max_record_characters}"
        if not kind.paged:
            return shape
        return f"{shape}:{engine}:{self.image_pixels if self.page_images else 'text'}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@dataclass(frozen=True)
class Note:
    """Why a source, or a record of it, was skipped or failed."""

    source: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that a scan found and will not read; `relative` is its path below the root."""

    path: Path
    relative: str
    reason: str

    def note(self) -> Note:
        """The same for a report."""
        return Note(self.relative, self.reason)


@dataclass(frozen=True)
class Passage:
    """One text of a file before it is cut: a whole file, a page of a PDF, or a record.

    id: of a record; a text of a file has none, and its chunks are numbered through the file. page: from 1, of a PDF or
    an image. whole: never cut, and without offsets. metadata: the record's other fields, or what is known of the page.
    image: the page's looks, where they are to be indexed.
    """

    text: str
    title: str
    id: str | None = None
    page: int | None = None
    markdown: bool = False
    whole: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    image: PageImage | None = None
