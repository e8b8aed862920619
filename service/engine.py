"""What the service asks of whatever holds the indexes, and the implementation that holds them in this process."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from ..encoders.embeddings import TokenEmbeddings
from ..encoders.errors import DocumentNotFoundError, IndexNotFoundError, InvalidInputError
from ..encoders.scorers.base import Scorer
from ..index.kernels.warmup import warm_up
from ..retrieval.cur.options import CrossEncoderSearch, Method, Spent
from ..retrieval.index import Index
from ..retrieval.page_boxes import page_of
from ..retrieval.types import Document, Explanation, Hit, Mode, SyncReport, Unit
from .page_picture import Picture, draw, thumbnail_of

MAX_NAME_CHARACTERS = 64
PICTURES = 2
"""Pictures of pages drawn at a time."""


@dataclass(frozen=True)
class RerankQuery:
    """How a search ends with a scorer of the engine: its name there, its calls for each query, how they are spent."""

    name: str
    budget: int = CrossEncoderSearch.budget
    method: Method = CrossEncoderSearch.method


@dataclass(frozen=True)
class Query:
    """One search over one collection: either texts or the token vectors of as many queries; rerank needs the texts."""

    texts: Sequence[str] | None = None
    embeddings: TokenEmbeddings | None = None
    k: int = 10
    mode: Mode = "auto"
    filter: Mapping[str, Any] | None = None
    rerank: RerankQuery | None = None
    collapse: Unit | None = None


@dataclass(frozen=True)
class Results:
    """The best `k` documents of each query, best first; spent: what the scorer cost each, empty without rerank."""

    hits: list[list[Hit]]
    spent: list[Spent]


class Engine(Protocol):
    """Collections by name. Methods block, may be called from several threads, and raise `LatefoldError`.

    An unknown collection is an `IndexNotFoundError`. A read sees every change committed before it began, by whichever
    process.
    """

    def collections(self) -> Mapping[str, int]:
        """Names of the collections, sorted, with their numbers of documents."""
        ...

    def scorers(self) -> Sequence[str]:
        """Names of the scorers that a search may end with, sorted."""
        ...

    def stats(self, collection: str) -> Mapping[str, Any]:
        """JSON-ready figures of one collection."""
        ...

    def search(self, collection: str, query: Query) -> Results:
        """Best `k` documents of each query. An unknown scorer is an `InvalidInputError` that lists the known ones."""
        ...

    def explain(self, collection: str, query: str, document: str, token: int | None = None) -> Explanation:
        """Which tokens of the document made its score, and where on its page; token: heat of that query token alone."""
        ...

    def picture(self, collection: str, explanation: Explanation, longest: int) -> Picture:
        """The page of an explanation with its heat. A document from no page is an `InvalidInputError`."""
        ...

    def thumbnail(self, collection: str, document: str) -> bytes:
        """A small WebP picture of the page of a document; where there is none, `DocumentNotFoundError`."""
        ...

    def get(self, collection: str, document: str) -> Document:
        """One document by id."""
        ...

    def add(self, collection: str, documents: Sequence[Document], embeddings: TokenEmbeddings | None = None) -> int:
        """Add new documents, all or none; returns their number."""
        ...

    def upsert(
        self, collection: str, documents: Sequence[Document], embeddings: TokenEmbeddings | None = None
    ) -> SyncReport:
        """Add documents, replacing those whose id exists."""
        ...

    def delete(
        self,
        collection: str,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the field's word
    ) -> int:
        """Delete by ids (all must exist) or by filter; returns the number deleted."""
        ...

    def warm(self) -> None:
        """Load what the first request would otherwise wait for."""
        ...


class LocalEngine:
    """`Engine` over indexes opened in this process; a context manager that closes them.

    scorers: by the name that queries give them; they are called from several threads.
    """

    def __init__(self, indexes: Mapping[str, Index], scorers: Mapping[str, Scorer] | None = None) -> None:
        self._indexes = {name: indexes[name] for name in sorted(indexes)}
        self._scorers = dict(sorted((scorers or {}).items()))
        self._drawing = threading.BoundedSemaphore(PICTURES)

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        *,
        scorers: Mapping[str, Scorer] | None = None,
        threads: int | None = None,
        offline: bool = False,
    ) -> Self:
        """Open the index of each folder under the name `collection_names` gives it; equal encoders are shared.

        Raises `InvalidInputError` on folders without distinct names and the errors of `Index.open`.
        """
        indexes: dict[str, Index] = {}
        owners: dict[str, Index] = {}
        try:
            for name, path in collection_names(paths).items():
                index = indexes[name] = Index.open(path, threads=threads, offline=offline)
                fingerprint = index.stats().fingerprint
                if fingerprint in owners:
                    index.close()
                    indexes[name] = Index.open(path, encoder=owners[fingerprint].encoder)
                elif fingerprint is not None:
                    owners[fingerprint] = index
        except BaseException:
            for index in indexes.values():
                index.close()
            raise
        return cls(indexes, scorers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every index."""
        for index in self._indexes.values():
            index.close()

    def collections(self) -> Mapping[str, int]:
        """Names of the collections, sorted, with their numbers of documents."""
        return {name: len(self._fresh(name)) for name in self._indexes}

    def scorers(self) -> Sequence[str]:
        """Names of the scorers, sorted."""
        return list(self._scorers)

    def stats(self, collection: str) -> Mapping[str, Any]:
        """Figures of `Index.stats`."""
        return self._fresh(collection).stats().to_dict()

    def search(self, collection: str, query: Query) -> Results:
        """`Index.search_timed` over the newest generation."""
        index = self._fresh(collection)
        found = index.search_timed(
            None if query.texts is None else list(query.texts),
            query.k,
            embeddings=query.embeddings,
            mode=query.mode,
            collapse=query.collapse,
            filter=query.filter,
            rerank=None if query.rerank is None else self._rerank(query.rerank),
        )
        return Results(found.hits, list(found.spent))

    def explain(self, collection: str, query: str, document: str, token: int | None = None) -> Explanation:
        """`Index.explain` over the newest generation."""
        return self._fresh(collection).explain(query, document, token=token)

    def picture(self, collection: str, explanation: Explanation, longest: int) -> Picture:
        """`page_picture.draw`; a few at a time, since each may start a process that reads a file."""
        with self._drawing:
            return draw(self._index(collection).pages, explanation, longest=longest)

    def thumbnail(self, collection: str, document: str) -> bytes:
        """`page_picture.thumbnail_of`."""
        index = self._fresh(collection)
        named = page_of(index.get(document))
        found = None if named is None else thumbnail_of(index.pages, *named)
        if found is None:
            raise DocumentNotFoundError(f"document {document!r:.80} has no thumbnail of a page")
        return found

    def get(self, collection: str, document: str) -> Document:
        """`Index.get` from the newest generation."""
        return self._fresh(collection).get(document)

    def add(self, collection: str, documents: Sequence[Document], embeddings: TokenEmbeddings | None = None) -> int:
        """`Index.add`."""
        return self._index(collection).add(documents, embeddings=embeddings)

    def upsert(
        self, collection: str, documents: Sequence[Document], embeddings: TokenEmbeddings | None = None
    ) -> SyncReport:
        """`Index.upsert`."""
        return self._index(collection).upsert(documents, embeddings=embeddings)

    def delete(
        self,
        collection: str,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the field's word
    ) -> int:
        """`Index.delete`."""
        return self._index(collection).delete(ids, filter=filter)

    def warm(self) -> None:
        """Compile every kernel, run one search in each collection, which loads its encoder, and ask each scorer."""
        warm_up()
        for index in self._indexes.values():
            if len(index) and index.encoder is not None:
                index.search("warm up", 1)
        for scorer in self._scorers.values():
            scorer.score([("warm up", "warm up")])

    def _rerank(self, asked: RerankQuery) -> CrossEncoderSearch:
        scorer = self._scorers.get(asked.name)
        if scorer is None:
            known = ", ".join(self._scorers) or "none: the server was started without any"
            raise InvalidInputError(f"no scorer {asked.name!r:.80}; there are: {known}")
        return CrossEncoderSearch(scorer, asked.budget, asked.method)

    def _index(self, collection: str) -> Index:
        try:
            return self._indexes[collection]
        except KeyError:
            raise IndexNotFoundError(f"no collection {collection!r}; there are: {', '.join(self._indexes)}") from None

    def _fresh(self, collection: str) -> Index:
        """The index, showing what other processes have committed."""
        index = self._index(collection)
        index.refresh()
        return index


def collection_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each index folder for use in a URL: `My Docs.index` is `my-docs`.

    Raises `InvalidInputError` where nothing usable is left of a name, or where two folders would get the same one.
    """
    names: dict[str, Path] = {}
    for path in paths:
        folder = path.resolve().name
        name = re.sub(r"[^a-z0-9_-]+", "-", folder.removesuffix(".index").lower()).lstrip("-_")
        name = name[:MAX_NAME_CHARACTERS].rstrip("-")
        if not name:
            raise InvalidInputError(
                f"no collection name can be made of the folder {path}; rename it (a-z, 0-9, _ and -)"
            )
        if name in names:
            raise InvalidInputError(
                f"{names[name]} and {path} would both be the collection {name!r}; rename one of the folders"
            )
        names[name] = path
    return names
