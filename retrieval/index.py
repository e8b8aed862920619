"""`Index`: the face of the library. A folder of compressed token embeddings with its documents, safe to kill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

from ..encoders.base import Encoder, Progress
from ..encoders.embeddings import FloatArray, TokenEmbeddings
from ..encoders.errors import InvalidInputError
from ..encoders.scorers.base import ScoreFunction, Scorer
from ..index.storage.pages import PageStore
from . import changes
from . import query as queries
from . import stats as statistics
from .calibrate import Calibration
from .config import IndexConfig, check_target
from .create import create
from .cur import offline
from .cur.factorize import Factorization, Kind
from .cur.options import CrossEncoderSearch
from .documents import check_query, not_found
from .encoding import LazyEncoder, check_item, real_queries
from .explain import explain
from .filters import compile_filter
from .session import Session
from .types import Document, Explanation, Hit, Mode, Source, SyncReport, Unit


class Index:
    """A late-interaction index in a folder.

    Reading methods may be called from several threads and see one generation until `refresh` (or an own write).
    Writing methods are durable when they return, and take the index's single-writer lock while they run. Made by
    `Index.create` or `Index.open`; a context manager.
    """

    def __init__(self, path: Path, encoder: LazyEncoder) -> None:
        self._session = Session(path, encoder)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        encoder: str | Path | Encoder = "default",
        dim: int | None = None,
        config: IndexConfig | None = None,
        threads: int | None = None,
        offline: bool = False,
    ) -> Self:
        """Create an empty index in a new or empty folder.

        encoder: a name for `load_encoder`, or an encoder. dim: instead of an encoder, the dimensions of vectors that
        the caller brings as `TokenEmbeddings`. Raises `IndexExistsError` when the folder holds anything else.
        """
        path = Path(path)
        return cls(path, create(path, encoder, dim, config or IndexConfig(), threads=threads, offline=offline))

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | None = None,
        threads: int | None = None,
        offline: bool = False,
    ) -> Self:
        """Open an index. Its encoder is loaded, and compared with the stored fingerprint, when first needed.

        Raises `IndexNotFoundError`, `FormatVersionError`, `IndexCorruptedError`, or `EncoderMismatchError` when
        `encoder` is not the one that built the index.
        """
        index = cls(Path(path), LazyEncoder(None))
        stored = index._session.catalog.meta("encoder")
        index._session.encoder = LazyEncoder(stored, threads=threads, offline=offline)
        if encoder is not None:
            index._session.encoder.use(encoder)
        return index

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._session.path

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, loaded on first use; None for an index of the caller's own vectors."""
        return self._session.encoder.get()

    @property
    def dim(self) -> int:
        """Dimensions of the token vectors."""
        return self._session.snapshot.dim

    @property
    def config(self) -> IndexConfig:
        """The parameters the index was created with."""
        return self._session.snapshot.config

    @property
    def generation(self) -> int:
        """Number of the commit that reads see."""
        return self._session.catalog.generation

    @property
    def pages(self) -> PageStore:
        """Where words stand on the pages that documents were read from, and thumbnails of these."""
        return self._session.pages

    @property
    def reads_images(self) -> bool:
        """Whether the encoder indexes page images; known without loading it."""
        return self._session.encoder.reads_images

    def __len__(self) -> int:
        return self._session.snapshot.documents

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._session.catalog.records_by_id([name]))

    def get(self, name: str) -> Document:
        """A stored document. Raises `DocumentNotFoundError`."""
        return queries.document_of(queries.find_record(self._session.snapshot, name))

    def ids(self, *, filter: Mapping[str, Any] | None = None) -> list[str]:  # noqa: A002 - the field's word
        """Ids of the live documents (that match a filter), in the order they were added."""
        if filter is None:
            return self._session.catalog.ids_where("1", ())
        compiled = compile_filter(filter)
        return self._session.catalog.ids_where(compiled.where, compiled.parameters)

    def sources(self) -> dict[str, str]:
        """Completely indexed sources: name to content hash."""
        return self._session.catalog.sources()

    def add(
        self,
        documents: Iterable[Document | Mapping[str, Any]],
        *,
        embeddings: TokenEmbeddings | None = None,
        saliency: FloatArray | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Add documents with new ids; returns how many.

        embeddings: their token embeddings, item by item, instead of encoding the texts. saliency: `(T,)`, what the
        model attended to each of their vectors, for an index that keeps the most salient tokens by attention. A list
        is checked whole before anything is written; documents are committed in batches of `config.batch_documents`.
        Raises `DuplicateDocumentError` when an id is taken, `InvalidInputError`, `InvalidEmbeddingsError`.
        """
        with self._session.writing():
            return changes.add(self._session, documents, embeddings, saliency, progress)

    def upsert(
        self,
        documents: Iterable[Document | Mapping[str, Any]],
        *,
        embeddings: TokenEmbeddings | None = None,
        saliency: FloatArray | None = None,
        progress: Progress | None = None,
    ) -> SyncReport:
        """Add or replace documents. Without `embeddings`, documents that did not change are not encoded again."""
        with self._session.writing():
            return changes.upsert(self._session, documents, embeddings, saliency, progress)

    def sync(self, sources: Iterable[Source], *, progress: Progress | None = None) -> SyncReport:
        """Bring the documents of sources up to date: new and changed ones are encoded, vanished ones deleted.

        Commits as it goes: an interrupted run loses nothing that was committed, and the next one continues.
        """
        with self._session.writing():
            return changes.sync(self._session, sources, progress)

    def remove_sources(self, names: Iterable[str]) -> int:
        """Delete the documents of sources and forget them; returns the number of documents deleted."""
        with self._session.writing():
            return changes.remove_sources(self._session, list(names))

    def delete(self, ids: str | Iterable[str] | None = None, *, filter: Mapping[str, Any] | None = None) -> int:  # noqa: A002
        """Delete documents by id or by filter; returns how many.

        Raises `DocumentNotFoundError` naming ids that are not there; then nothing is deleted.
        """
        if (ids is None) == (filter is None):
            raise InvalidInputError("delete takes either ids or a filter")
        with self._session.writing():
            if ids is None:
                ids = self.ids(filter=filter)
            return changes.delete(self._session, [ids] if isinstance(ids, str) else ids)

    def optimize(self, progress: Progress | None = None) -> statistics.IndexStats:
        """Merge all segments, drop deleted documents from disk, compact the catalog; scores do not change."""
        with self._session.writing():
            changes.optimize(self._session, progress)
            return self.stats()

    def calibrate(
        self,
        progress: Progress | None = None,
        *,
        target_recall: float | None = None,
        queries: Sequence[str] | TokenEmbeddings | None = None,
        refit: bool | None = None,
    ) -> Calibration | None:
        """Measure candidate recall against exact MaxSim, and keep in the index what it takes to reach the target.

        Fits the single vectors to the documents when that is due (see `IndexConfig.encoding`) and chooses their form,
        then the number of candidates. target_recall: share of the exact top 10 to be found; when None, that of the
        last calibration, or `config.target_recall`. queries: real ones, as texts or token embeddings, in place of
        passages of the documents; half of them are fitted to, the other half judge. In an index of the caller's own
        vectors, vectors of documents stand in for queries, and are easier than most real ones. refit: fit again, or
        not, whether it is due or not. Returns None for an index of fewer than 20 documents. Exact scores do not change.
        """
        if target_recall is not None:
            check_target(target_recall)
        asked = None if queries is None else real_queries(self._session.encoder, queries, self.dim)
        with self._session.writing():
            encoder = self._session.encoder.get() if asked is None else self._session.encoder.loaded
            return changes.calibrate(self._session, encoder, progress, target=target_recall, queries=asked, refit=refit)

    def factorize(
        self,
        scorer: Scorer | ScoreFunction,
        queries: Sequence[str],
        budget: int,
        *,
        kind: Kind = "auto",
        cache: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Factorization:
        """Spend up to `budget` calls of a scorer on queries like those to come, so that later searches need fewer.

        Stores a vector a document for `CrossEncoderSearch`: kind `dense` scores all documents for some of the queries
        (methods `anncur` and `adacur`), `sparse` the candidates of every query (method `axn`). Documents that are added
        later get theirs without a call. Factors that were there are replaced. cache: a file that remembers scores, so
        that an interrupted run goes on where it stopped. Raises `InvalidInputError` where the budget is too small, and
        what the scorer raises; then the index is as it was.
        """
        remembered = None if cache is None else Path(cache)
        return offline.factorize(self._session, scorer, queries, budget, kind, remembered, progress)

    def drop_factors(self) -> bool:
        """Remove what `factorize` stored; returns whether there was anything."""
        return offline.drop_factors(self._session)

    @overload
    def search(
        self,
        query: str,
        k: int = ...,
        *,
        embeddings: TokenEmbeddings | None = ...,
        mode: Mode = ...,
        filter: Mapping[str, Any] | None = ...,
        candidates: int | None = ...,
        refined: int | None = ...,
        rerank: CrossEncoderSearch | None = ...,
        collapse: Unit | None = ...,
    ) -> list[Hit]: ...

    @overload
    def search(
        self,
        query: list[str] | tuple[str, ...] | None = ...,
        k: int = ...,
        *,
        embeddings: TokenEmbeddings | None = ...,
        mode: Mode = ...,
        filter: Mapping[str, Any] | None = ...,
        candidates: int | None = ...,
        refined: int | None = ...,
        rerank: CrossEncoderSearch | None = ...,
        collapse: Unit | None = ...,
    ) -> list[list[Hit]]: ...

    def search(
        self,
        query: str | list[str] | tuple[str, ...] | None = None,
        k: int = 10,
        *,
        embeddings: TokenEmbeddings | None = None,
        mode: Mode = "auto",
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the field's word
        candidates: int | None = None,
        refined: int | None = None,
        rerank: CrossEncoderSearch | None = None,
        collapse: Unit | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """The `k` best documents for one query (a list of hits) or for several (a list of lists).

        query: a text or a list of texts. embeddings: query token embeddings, instead of or beside the texts. mode:
        `exact` (MaxSim over everything), `ann` (MaxSim over the best candidates), `lexical` (BM25), `hybrid` (fusion
        of vectors and BM25), `auto` (hybrid where there is text, else vectors). filter: see `retrieval.filters`;
        applied before scoring. candidates: how many MaxSim ranks in the modes that choose some, instead of as many as
        calibration found to do; refined: how many of them the second of two levels of codes ranks. rerank: end with a
        scorer of texts, within a budget of its calls; hits then have its scores. collapse: `page` or `source`, to have
        the best document of each page or source alone. Raises `InvalidInputError`, `InvalidEmbeddingsError`,
        `InvalidFilterError`, and what the scorer raises.
        """
        results = self.search_timed(
            query,
            k,
            embeddings=embeddings,
            mode=mode,
            filter=filter,
            candidates=candidates,
            refined=refined,
            rerank=rerank,
            collapse=collapse,
        ).hits
        return results[0] if isinstance(query, str) else results

    def search_timed(
        self,
        query: str | Sequence[str] | None = None,
        k: int = 10,
        *,
        embeddings: TokenEmbeddings | None = None,
        mode: Mode = "auto",
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        candidates: int | None = None,
        refined: int | None = None,
        rerank: CrossEncoderSearch | None = None,
        collapse: Unit | None = None,
    ) -> queries.SearchResult:
        """`search` for several queries, with the milliseconds of each stage, the documents and the calls it took."""
        return queries.search(
            self._session.snapshot,
            self._session.encoder,
            texts=[query] if isinstance(query, str) else query,
            embeddings=embeddings,
            k=k,
            mode=mode,
            condition=filter,
            candidates=candidates,
            refined=refined,
            rerank=rerank,
            collapse=collapse,
        )

    def explain(
        self, query: str | None, name: str, *, embeddings: TokenEmbeddings | None = None, token: int | None = None
    ) -> Explanation:
        """Which token of document `name` each query token matched, and where; the scores add up to the MaxSim score.

        embeddings: the query's token vectors (one item), for an index of the caller's own vectors. token: show on the
        page where this query token alone matches, counted from 0.
        """
        session, snapshot = self._session, self._session.snapshot
        record = queries.find_record(snapshot, name)
        text = check_query(query) if query is not None or embeddings is None else ""
        if embeddings is None:
            embeddings = session.encoder.require("explain a text query").encode_queries([text])
        check_item(embeddings, snapshot.dim, 1)
        if snapshot.fitted is None:
            raise not_found([name])
        return explain(
            snapshot,
            snapshot.fitted,
            query=text,
            embeddings=embeddings,
            row=record.row,
            document=queries.document_of(record),
            encoder=session.encoder.get(),
            pages=session.pages,
            token=token,
        )

    def stats(self) -> statistics.IndexStats:
        """Documents, tokens, bytes by part, generation, fingerprint, codec and measured recall."""
        return statistics.stats(self.path, self._session.snapshot)

    def verify(self, progress: Progress | None = None) -> statistics.VerifyReport:
        """Check every stored byte of the newest generation. Raises `IndexCorruptedError` naming the file."""
        return statistics.verify(self.path, progress)

    def refresh(self) -> bool:
        """See what other processes have committed; returns whether there was anything new."""
        return self._session.refresh()

    def close(self) -> None:
        """Release the files; the index must not be used afterwards."""
        self._session.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
