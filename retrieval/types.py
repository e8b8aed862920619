"""The nouns of the library's face: what goes in (`Document`) and what comes out (`Hit`, `Explanation`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["auto", "exact", "ann", "lexical", "hybrid"]


@dataclass(frozen=True)
class Document:
    """A text to index. `id` is unique in the index; `metadata` is JSON and can be filtered on."""

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


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


@dataclass(frozen=True)
class TokenMatch:
    """The document token that one query token matched best.

    query_span and document_span are character offsets `(start, end)` into the query and into `field` of the
    document; None where the vector stands for no characters (special tokens, vectors brought by the caller).
    """

    query_token: int
    document_token: int
    score: float
    query_text: str
    document_text: str
    query_span: tuple[int, int] | None
    document_span: tuple[int, int] | None
    field: Literal["title", "text"] | None


@dataclass(frozen=True)
class Explanation:
    """Why a document matched: one `TokenMatch` per query token; their scores add up to `score` (MaxSim)."""

    id: str
    score: float
    matches: list[TokenMatch]
    lexical_terms: list[str]
    """Words of the query that BM25 found in the document."""


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
