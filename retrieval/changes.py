"""The writing side of an index: each function turns a caller's wish into durable commits.

Every function expects the caller to hold `session.writing()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..encoders.base import Encoder, Progress
from ..encoders.embeddings import FloatArray, TokenEmbeddings
from ..encoders.errors import (
    DuplicateDocumentError,
    InvalidEmbeddingsError,
    InvalidInputError,
    LatefoldError,
)
from . import writer
from .calibrate import Calibration, conclude, judge
from .codecs import choose, recode_due
from .documents import as_document, batches, first_duplicate, not_found
from .encoding import Encoded
from .search import scans_exactly
from .session import Session
from .snapshot import Fitted, Snapshot
from .sync import Synchronizer
from .tune import drift, tune
from .types import Document, Source, SyncReport

AUTOMATIC_FIT = 100_000
"""Documents of an index up to which adding some may fit it: from there on it takes minutes, and has to be asked for."""
_IMAGES_A_COMMIT = 16
"""Documents of a commit where they may be page images: one can take a minute, which an interrupted run would lose."""
DocumentLike = Document | Mapping[str, Any]


def add(
    session: Session,
    documents: Iterable[DocumentLike],
    embeddings: TokenEmbeddings | None,
    saliency: FloatArray | None,
    progress: Progress | None,
) -> int:
    """See `Index.add`."""
    total = len(documents) if isinstance(documents, Sequence) else None
    if total is not None or embeddings is not None:
        checked = [as_document(value) for value in documents]
        _refuse_known(session, checked)
        documents, total = checked, len(checked)
    _check_embeddings(session, embeddings, total)
    weights = _check_saliency(session, embeddings, saliency)
    done = 0
    for batch in batches(documents, session.snapshot.config.batch_documents):
        if embeddings is None:
            _refuse_known(session, batch)
            vectors, own = session.encode(batch, progress, done, total)
        else:
            vectors = embeddings.take(np.arange(done, done + len(batch)))
            own = _part(weights, embeddings, done, len(batch))
        session.commit(writer.Change(documents=batch, embeddings=vectors, saliency=own))
        done += len(batch)
    _fit_when_due(session, progress)
    return done


def upsert(
    session: Session,
    documents: Iterable[DocumentLike],
    embeddings: TokenEmbeddings | None,
    saliency: FloatArray | None,
    progress: Progress | None,
) -> SyncReport:
    """See `Index.upsert`."""
    weights = _check_saliency(session, embeddings, saliency)
    if embeddings is not None:
        report = _replace(session, [as_document(value) for value in documents], embeddings, weights)
    else:
        total = len(documents) if isinstance(documents, Sequence) else None
        collector = _synchronizer(session, progress, total)
        for batch in batches(documents, session.snapshot.config.batch_documents):
            for document in batch:
                collector.put(document)
        collector.flush()
        report = collector.report
    _fit_when_due(session, progress)
    return report


def sync(session: Session, sources: Iterable[Source], progress: Progress | None) -> SyncReport:
    """See `Index.sync`."""
    report = _synchronizer(session, progress, None).run(sources)
    _fit_when_due(session, progress)
    return report


def _replace(
    session: Session, documents: Sequence[Document], embeddings: TokenEmbeddings, weights: FloatArray | None
) -> SyncReport:
    _check_embeddings(session, embeddings, len(documents))
    _refuse_twice(documents)
    updated = 0
    size = session.snapshot.config.batch_documents
    for start in range(0, len(documents), size):
        batch = documents[start : start + size]
        known = session.catalog.records_by_id([document.id for document in batch])
        vectors = embeddings.take(np.arange(start, start + len(batch)))
        own = _part(weights, embeddings, start, len(batch))
        session.commit(writer.Change(documents=batch, embeddings=vectors, saliency=own, delete=list(known)))
        updated += len(known)
    return SyncReport(added=len(documents) - updated, updated=updated)


def _synchronizer(session: Session, progress: Progress | None, total: int | None) -> Synchronizer:
    """A collector that encodes and commits through the session."""

    def encode(documents: Sequence[Document]) -> Encoded:
        report = collector.report
        return session.encode(documents, progress, report.added + report.updated + report.unchanged, total)

    size = session.snapshot.config.batch_documents
    collector = Synchronizer(
        size=min(size, _IMAGES_A_COMMIT) if session.encoder.reads_images else size,
        view=lambda: session.catalog,
        encode=encode,
        commit=session.commit,
    )
    return collector


def remove_sources(session: Session, names: Sequence[str]) -> int:
    """See `Index.remove_sources`."""
    ids = sorted({name for source in names for name in session.catalog.ids_of_source(source)})
    if names:
        session.commit(writer.Change(delete=ids, dropped=names))
    return len(ids)


def delete(session: Session, ids: Iterable[str]) -> int:
    """See `Index.delete`."""
    chosen = list(dict.fromkeys(ids))
    known = session.catalog.records_by_id(chosen)
    missing = [name for name in chosen if name not in known]
    if missing:
        raise not_found(missing)
    if chosen:
        session.commit(writer.Change(delete=chosen))
    return len(chosen)


def optimize(session: Session, progress: Progress | None) -> None:
    """See `Index.optimize`."""
    _merge_all(session, progress)
    _grow_graphs(session, progress)
    session.pages.keep(session.catalog.values_of("file"))
    session.compact()


def calibrate(
    session: Session,
    encoder: Encoder | None,
    progress: Progress | None,
    *,
    target: float | None = None,
    queries: TokenEmbeddings | None = None,
    refit: bool | None = None,
) -> Calibration | None:
    """See `Index.calibrate`. encoder: of passages that serve as queries; stored vectors do when None."""
    snapshot, fitted = session.snapshot, session.snapshot.fitted
    if fitted is None:
        return None
    if refit and snapshot.config.encoding == "fde":
        raise InvalidInputError("the index was created with encoding fde, which is fitted to nothing: leave refit out")
    known = snapshot.catalog.meta("target_recall") or snapshot.config.target_recall
    target = known if target is None else target
    again = refit if refit is not None else fit_due(snapshot, fitted, new_target=target != known)
    if again:  # visits every token, and searches are quicker in one segment than in several
        _merge_all(session, progress)
        snapshot = session.snapshot
    to_judge, to_fit = _split(queries)
    judged = judge(snapshot, fitted, encoder, to_judge, progress)
    if judged is None:
        return None
    options = snapshot.calibration.get("options", []) if target == known else []
    codecs = snapshot.calibration.get("codecs", [])
    chosen = fitted
    if again:
        tuned = tune(snapshot, fitted, encoder, judged, target, real=to_fit, progress=progress)
        options = [option.to_dict() for option in tuned.options]
        chosen = tuned.fitted
    if recode_due(snapshot, fitted, again=again):
        chosen, found = choose(snapshot, chosen, judged, progress)
        codecs = [option.to_dict() for option in found]
    if chosen is not fitted:
        _adopt(session, chosen, target, progress)
    _grow_graphs(session, progress)
    snapshot = session.snapshot
    fitted = snapshot.fitted or fitted
    measured = conclude(snapshot, fitted, judged, target, options=options, codecs=codecs, drift=drift(snapshot, fitted))
    session.commit(writer.Change(settings={"calibration": measured.to_dict(), "target_recall": target}))
    return measured


def _adopt(session: Session, fitted: Fitted, target: float, progress: Progress | None) -> None:
    """Put fitted parameters in the place of the present ones; what was measured of those is no longer true."""
    snapshot = session.snapshot
    present = snapshot.fitted
    if present is not None and fitted.single is present.single and fitted.codec is present.codec:
        session.commit(writer.Change(settings={"params": {**(snapshot.params or {}), **fitted.to_dict()}}))
        return
    writer.refit(session.path, snapshot, fitted, {"calibration": None, "target_recall": target}, progress)
    session.refresh()


def _fit_when_due(session: Session, progress: Progress | None) -> None:
    """Fit an index that has outgrown the exact scan, and again when it has doubled since, as long as that is quick.

    What it follows is durable already: where it fails, the vectors stay as they are, and `calibrate` says why.
    """
    snapshot, fitted = session.snapshot, session.snapshot.fitted
    if fitted is not None and snapshot.documents <= AUTOMATIC_FIT and fit_due(snapshot, fitted):
        with suppress(LatefoldError):
            calibrate(session, session.encoder.loaded, progress)


def _split(queries: TokenEmbeddings | None) -> tuple[TokenEmbeddings | None, TokenEmbeddings | None]:
    """Every other query to judge with, the others to fit to: no fit is judged by what it has seen."""
    if queries is None:
        return None, None
    return queries.take(np.arange(0, len(queries), 2)), queries.take(np.arange(1, len(queries), 2))


def fit_due(snapshot: Snapshot, fitted: Fitted, *, new_target: bool = False) -> bool:
    """Whether the single vectors are fitted to nothing, to another target, or to an index half or twice as large."""
    if snapshot.config.encoding == "fde" or scans_exactly(snapshot):
        return False
    return new_target or not 0.5 <= snapshot.documents / max(1, fitted.documents) <= 2


def _merge_all(session: Session, progress: Progress | None) -> None:
    snapshot = session.snapshot
    if len(snapshot.segments) > 1 or any(mask is not None for mask in snapshot.live):
        total = snapshot.tokens
        report = None if progress is None else lambda done: progress("merge", done, total)
        writer.merge(session.path, snapshot, 0, len(snapshot.segments), report)
        session.refresh()


def _grow_graphs(session: Session, progress: Progress | None) -> None:
    large = sum(len(segment) >= session.snapshot.config.graph_above for segment in session.snapshot.segments)
    report = None if progress is None else lambda done: progress("graph", done, large)
    if large and writer.add_graphs(session.path, session.snapshot, report):
        session.refresh()


def _check_embeddings(session: Session, embeddings: TokenEmbeddings | None, documents: int | None) -> None:
    if embeddings is None:
        return
    dim = session.snapshot.dim
    if embeddings.dim != dim:
        raise InvalidEmbeddingsError(f"the embeddings have {embeddings.dim} dimensions, the index {dim}")
    if len(embeddings) != documents:
        raise InvalidEmbeddingsError(f"{documents} documents were given with {len(embeddings)} embeddings")


def _check_saliency(
    session: Session, embeddings: TokenEmbeddings | None, saliency: FloatArray | None
) -> FloatArray | None:
    """What was given, as float32. Raises `InvalidInputError` when it is lacking, does not fit, or has no use."""
    config = session.snapshot.config
    wanted = config.keep < 1 and config.saliency == "attention" and not (embeddings is None and session.encoder.present)
    if wanted != (saliency is not None):
        raise InvalidInputError(
            "the index keeps tokens by attention: give embeddings, and the saliency of each of their vectors"
            if wanted
            else "the index does not keep tokens by attention: leave saliency out"
        )
    if saliency is None:
        return None
    weights = np.asarray(saliency, np.float32)
    if embeddings is None or weights.shape != (len(embeddings.vectors),) or not np.isfinite(weights).all():
        raise InvalidInputError("saliency is one finite number for each token vector of the embeddings")
    return weights


def _part(weights: FloatArray | None, embeddings: TokenEmbeddings | None, start: int, count: int) -> FloatArray | None:
    """The weights of the tokens of `count` documents from `start` on."""
    if weights is None or embeddings is None:
        return None
    return weights[embeddings.offsets[start] : embeddings.offsets[start + count]]


def _refuse_twice(documents: Sequence[Document]) -> None:
    duplicate = first_duplicate([document.id for document in documents])
    if duplicate is not None:
        raise DuplicateDocumentError(f"document {duplicate!r:.80} is given twice: keep one")


def _refuse_known(session: Session, documents: Sequence[Document]) -> None:
    _refuse_twice(documents)
    known = session.catalog.records_by_id([document.id for document in documents])
    if known:
        raise DuplicateDocumentError(
            f"document {next(iter(known))!r:.80} is already in the index "
            f"({len(known)} of {len(documents)} are): use upsert to replace it"
        )
