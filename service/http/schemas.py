"""Bodies of requests and answers. Unknown fields are refused, and values are not converted from other types."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from ...encoders.embeddings import TokenEmbeddings
from ...retrieval.config import MAX_ID_CHARACTERS, MAX_QUERY_CHARACTERS
from ...retrieval.cur.options import MAX_BUDGET, Method
from ...retrieval.types import Document, Mode, Unit
from .vectors import ItemVectors, holds_many, pack

MAX_K = 1_000
MAX_BATCH = 256
"""Queries of one search, documents of one write, ids of one deletion."""
MAX_HITS = 25_600
"""Queries times `k` of one search: 256 queries may ask for 100 results each, 25 for 1,000."""


class Body(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """The body of an answer."""

    model_config = ConfigDict(frozen=True)


def _depth_of_texts(value: object) -> str:
    return "many" if isinstance(value, list) else "one"


def _depth_of_vectors(value: object) -> str:
    return "many" if holds_many(value) else "one"


Text = Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
DocumentId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]
Filter = dict[str, Any]
Score = Annotated[float | None, BeforeValidator(lambda score: score if math.isfinite(score) else None)]
"""null for a document without token vectors, which has no score."""


class RerankRequest(Body):
    """A scorer of the server that a search ends with, within a number of its calls for each query."""

    name: str = Field(min_length=1, max_length=64, description="a scorer; GET /v1/collections lists them")
    budget: int | None = Field(
        None, ge=1, le=MAX_BUDGET, description="calls a query, at least k; 200 or the most allowed"
    )
    method: Method = Field("axn", description="how documents to score are chosen")


class SearchRequest(Body):
    """One query or several of them, as texts or as token vectors."""

    query: (
        Annotated[
            Annotated[Text, Tag("one")] | Annotated[list[Text], Field(min_length=1, max_length=MAX_BATCH), Tag("many")],
            Discriminator(_depth_of_texts),
        ]
        | None
    ) = Field(None, description="a text, or a list of texts")
    vectors: (
        Annotated[
            Annotated[ItemVectors, Tag("one")]
            | Annotated[list[ItemVectors], Field(min_length=1, max_length=MAX_BATCH), Tag("many")],
            Discriminator(_depth_of_vectors),
        ]
        | None
    ) = Field(None, description="token vectors of one query (at most 512), or a list of such")
    k: int = Field(10, ge=1, le=MAX_K, description="results per query")
    mode: Mode = "auto"
    collapse: Unit | None = Field(None, description="page or source: the best document of each alone")
    filter: Filter | None = Field(None, description='metadata filter, such as {"year": {"$gte": 2000}}')
    snippets: bool = Field(False, description="show with each hit the passage that holds most words of the query")
    rerank: RerankRequest | None = Field(None, description="end with a scorer, which reads the query's text")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.query is None) == (self.vectors is None):
            raise ValueError("give either query or vectors")
        if self.rerank is not None and self.query is None:
            raise ValueError("rerank reads texts: give query instead of vectors")
        if self.count * self.k > MAX_HITS:
            raise ValueError(f"{self.count} queries with k = {self.k} ask for more than {MAX_HITS} results together")
        return self

    @property
    def single(self) -> bool:
        """Whether this is one query rather than a list (of maybe one)."""
        if self.query is not None:
            return isinstance(self.query, str)
        return not holds_many(self.vectors)

    @property
    def count(self) -> int:
        """Number of queries."""
        many = self.query if self.vectors is None else self.vectors
        return len(many) if isinstance(many, list) and not self.single else 1

    @property
    def texts(self) -> list[str] | None:
        """Texts of the queries."""
        return [self.query] if isinstance(self.query, str) else self.query

    def embeddings(self) -> TokenEmbeddings | None:
        """Vectors of the queries. Raises `InvalidEmbeddingsError` when they are not of one dimension."""
        if self.vectors is None:
            return None
        vectors: Any = [self.vectors] if self.single else self.vectors
        return pack(vectors)


class ExplainRequest(Body):
    """Which query, and which document."""

    query: Text
    id: DocumentId


class DocumentBody(Body):
    """A document to store."""

    id: DocumentId
    text: str
    title: str = ""
    metadata: dict[str, Any] = {}
    vectors: ItemVectors | None = Field(
        None, description="token vectors, for a collection without an encoder of its own"
    )


class DocumentsRequest(Body):
    """Documents to add or replace, with vectors for all of them or for none."""

    documents: list[DocumentBody] = Field(min_length=1, max_length=MAX_BATCH)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({document.vectors is None for document in self.documents}) > 1:
            raise ValueError("give vectors for all documents or for none")
        return self

    def parts(self) -> tuple[list[Document], TokenEmbeddings | None]:
        """Documents and their vectors. Raises `InvalidEmbeddingsError` when those are not of one dimension."""
        documents = [Document(item.id, item.text, item.title, item.metadata) for item in self.documents]
        vectors = [item.vectors for item in self.documents if item.vectors is not None]
        return documents, pack(vectors) if vectors else None


class DeleteRequest(Body):
    """Documents to delete: by id, or all that match a filter."""

    ids: list[DocumentId] | None = Field(None, min_length=1, max_length=MAX_BATCH)
    filter: Filter | None = Field(None, min_length=1, description="must not be empty: that would match everything")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give either ids or filter")
        return self


class SpanBody(Answer):
    """Characters `start` up to `end` (Unicode code points, not UTF-16 units)."""

    start: int
    end: int


class SnippetBody(Answer):
    """Part of a text with the words that match the query; before, after: whether the text goes on there."""

    text: str
    matches: list[SpanBody]
    before: bool
    after: bool


class HitBody(Answer):
    """One result."""

    id: str
    score: Score
    title: str
    text: str
    metadata: dict[str, Any]
    source: str | None
    snippet: SnippetBody | None = None


class RerankBody(Answer):
    """Which scorer gave the scores of one query, and what it cost: pairs it was asked, and how often it was asked."""

    name: str
    method: Method
    calls: int
    rounds: int


class SearchAnswer(Answer):
    """Results of one query, best first; query is null where vectors were given, rerank where none was asked for."""

    query: str | None
    took_ms: float
    hits: list[HitBody]
    rerank: RerankBody | None = None


class QueryResult(Answer):
    """Results of one query of several."""

    query: str | None
    hits: list[HitBody]
    rerank: RerankBody | None = None


class BatchAnswer(Answer):
    """Results of several queries, in their order."""

    took_ms: float
    results: list[QueryResult]


class BoxBody(Answer):
    """Part of a page, as fractions of its width and height from its top left corner."""

    left: float
    top: float
    right: float
    bottom: float


class ScoredBoxBody(Answer):
    """Part of a page that a stored vector stands for, and how much of the query it answers, from 0 to 1.

    text is empty for a part of a picture; document is the id of whatever document of the page the vector belongs to.
    """

    box: BoxBody
    score: float
    text: str
    document: str


class PageBody(Answer):
    """A page: a hash of its file, its number from 1, its size in points or pixels, and where its text is from."""

    file: str
    number: int
    width: float
    height: float
    origin: Literal["text", "ocr", "none"]


class MatchBody(Answer):
    """What one query token matched best; spans are null for tokens that stand for no characters.

    box is null where it is not known where on a page the document's token is.
    """

    query_token: int
    document_token: int
    score: float
    query_text: str
    document_text: str
    query_span: SpanBody | None
    document_span: SpanBody | None
    field: Literal["title", "text"] | None
    box: BoxBody | None = None


class ExplainAnswer(Answer):
    """The parts of a score, which add up to it, and the query words found in the document.

    page is null for a document that is from no page of a file; boxes show where on the page the query is answered.
    """

    id: str
    score: Score
    matches: list[MatchBody]
    lexical_terms: list[str]
    page: PageBody | None = None
    boxes: list[ScoredBoxBody] = []


class HeatAnswer(Answer):
    """Heat of a page, in rows of equal cells from its top left corner, from 0 to 1; best: the hottest parts of it."""

    page: PageBody
    rows: int
    cols: int
    heat: list[list[float]]
    best: list[BoxBody]


class DocumentAnswer(Answer):
    """A stored document."""

    id: str
    title: str
    text: str
    metadata: dict[str, Any]


class AddAnswer(Answer):
    """Number of documents added."""

    added: int


class UpsertAnswer(Answer):
    """Numbers of documents new, replaced, and left alone because nothing had changed."""

    added: int
    updated: int
    unchanged: int


class DeleteAnswer(Answer):
    """Number of documents deleted."""

    deleted: int


class CollectionBody(Answer):
    """A collection and how many documents it holds."""

    name: str
    documents: int


class CollectionsAnswer(Answer):
    """All collections of this server, and the names of the scorers that a search may end with."""

    collections: list[CollectionBody]
    scorers: list[str]


class StatsAnswer(Answer):
    """Sizes and settings of one collection."""

    name: str
    documents: int
    deleted: int
    tokens: int
    dim: int
    sources: int
    segments: int
    generation: int
    format_version: int
    encoder: str | None
    fingerprint: str | None
    codec: str
    wanted_codec: str
    bytes_per_token: int
    single: str
    bytes_per_vector: int
    fitted_documents: int
    bytes_per_document: float
    bytes: dict[str, int]
    calibration: dict[str, Any] | None
    factors: dict[str, Any] | None


class StatusAnswer(Answer):
    """That the server is there."""

    status: Literal["ok", "ready"]


class ErrorBody(Answer):
    """A stable code, a sentence for people, and the id under which the server's log knows the request."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(Answer):
    """Every answer that is not a success."""

    error: ErrorBody
