"""The nouns of the library's face: what goes in (`Document`) and what comes out (`Hit`, `Explanation`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ..encoders.pages import PageImage  # not at run time: `latefold --help` loads this module, and no numpy

Mode = Literal["auto", "exact", "ann", "lexical", "hybrid"]
Unit = Literal["page", "source"]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of a page's width and height."""


@dataclass(frozen=True)
class Document:
    """A text to index. `id` is unique in the index; `metadata` is JSON and can be filtered on.

    image: a page to index by its looks, where the index's encoder reads images. It is not stored, and a changed one is
    noticed only by other metadata.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    image: PageImage | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Hit:
    """One result: `score` is MaxSim, BM25 or the reciprocal rank fusion of both, as the mode says."""

    id: str
    score: float
    text: str
    title: str
    metadata: Mapping[str, Any]

    @property
    def source(self) -> str | None:
        """File or record the document came from, where ingestion recorded one."""
        source = self.metadata.get("source")
        return None if source is None else str(source)

    @property
    def page(self) -> int | None:
        """Page of the source, from 1, where it has pages."""
        page = self.metadata.get("page")
        return page if isinstance(page, int) else None


@dataclass(frozen=True)
class TokenMatch:
    """The document token that one query token matched best.

    query_span and document_span are character offsets `(start, end)` into the query and into `field` of the
    document; None where the vector stands for no characters (special tokens, vectors brought by the caller). box: where
    on its page the document token is; None where that is not known.
    """

    query_token: int
    document_token: int
    score: float
    query_text: str
    document_text: str
    query_span: tuple[int, int] | None
    document_span: tuple[int, int] | None
    field: Literal["title", "text"] | None
    box: Box | None = None


@dataclass(frozen=True)
class PagePlace:
    """The page that a document is (part of).

    file: hex xxh3-128 of the file's bytes. number: from 1. width, height: in points for a PDF, in pixels for an image.
    origin: where its text is from: `text` (the file), `ocr`, or `none` for a page known by its looks.
    """

    file: str
    number: int
    width: float
    height: float
    origin: str


@dataclass(frozen=True)
class ScoredBox:
    """Part of a page that a stored vector stands for. score: from 0 to 1, how much of the query is answered there.

    text: the words there; empty for a part of a picture. document: whose vector it is.
    """

    box: Box
    score: float
    text: str
    document: str


@dataclass(frozen=True)
class Explanation:
    """Why a document matched: one `TokenMatch` per query token; their scores add up to `score` (MaxSim).

    page: where the document is from a page of a file. boxes: heat (see `retrieval.heat`) of the parts of that page that
    vectors stand for, those of all documents that are on it.
    """

    id: str
    score: float
    matches: list[TokenMatch]
    lexical_terms: list[str]
    """Words of the query that BM25 found in the document."""
    page: PagePlace | None = None
    boxes: list[ScoredBox] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A file (or other unit) whose documents are replaced as a whole when its content changes.

    content_hash identifies the content together with everything that shaped the documents (chunking parameters).
    documents is consumed once; it may be a generator that reads the file lazily.
    """

    name: str
    content_hash: str
    documents: Iterable[Document]


@dataclass(frozen=True)
class SyncReport:
    """Counts of one `Index.sync`: documents encoded, left as they were, and deleted; sources finished."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    sources: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    """Source name to reason, for sources whose `documents` raised while being read: nothing of theirs was deleted."""
