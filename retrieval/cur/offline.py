"""Factors of an open index: scored while others may read and write, and then stored in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...encoders.base import Progress
from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from ...encoders.scorers.base import ScoreFunction, Scorer, as_scorer
from ...index.factors import ItemFactors
from ...index.kernels.rows import Bytes
from .. import writer
from ..documents import check_query
from ..session import Session
from ..snapshot import Snapshot
from .factorize import Factorization, Kind, planned, score_and_fit
from .stage import DENSE


def factorize(
    session: Session,
    scorer: Scorer | ScoreFunction,
    queries: Sequence[str],
    budget: int,
    kind: Kind,
    cache: Path | None,
    progress: Progress | None,
) -> Factorization:
    """Make factors of the documents there are and store them; see `Index.factorize`."""
    as_scorer(scorer)
    if isinstance(queries, str):
        raise InvalidInputError("the queries to factorize with are a list of texts, not one text")
    asked = list(dict.fromkeys(check_query(query) for query in queries))
    session.refresh()
    snapshot = session.snapshot
    if snapshot.fitted is None or not snapshot.documents:
        raise InvalidInputError("the index holds no documents to factorize: add some first")
    if kind == "auto" and not session.encoder.present:
        kind = DENSE  # candidates of a text are chosen by its token vectors
    elif kind == "sparse" and not session.encoder.present:
        raise InvalidInputError("kind sparse encodes the queries, and this index has no encoder: use kind dense")
    plan = planned(snapshot.documents, len(asked), budget, kind)
    own = None
    if plan.kind != DENSE:
        own = session.encoder.require("factorize with kind sparse").encode_queries(asked)
    factors, rows, vectors, made = score_and_fit(
        snapshot, snapshot.fitted, scorer, asked, own, plan, cache=cache, progress=progress
    )
    with session.writing():
        if not session.snapshot.documents:
            raise InvalidInputError("all documents were deleted while they were scored: there is nothing to store")
        writer.store_factors(session.path, session.snapshot, factors, _rows(session.snapshot, factors, rows, vectors))
        session.refresh()
    return made


def drop_factors(session: Session) -> bool:
    """Remove the factors of an index; returns whether there were any."""
    with session.writing():
        if session.snapshot.factors is None:
            return False
        writer.drop_factors(session.path, session.snapshot)
        session.refresh()
        return True


def _rows(snapshot: Snapshot, factors: ItemFactors, rows: IntArray, vectors: FloatArray) -> Bytes:
    """Rows of all documents of a snapshot: of those with vectors their codes, of later ones what the map makes.

    rows: `(n,)` catalog rows, ascending, n >= 1. vectors: `(n, columns)`.
    """
    made = factors.lvq.encode(vectors)
    found: list[Bytes] = []
    for segment, live in zip(snapshot.segments, snapshot.live, strict=True):
        places = np.minimum(np.searchsorted(rows, segment.rows), len(rows) - 1)
        known = rows[places] == segment.rows
        own = np.zeros((len(segment), factors.width), np.uint8)
        if snapshot.fitted is not None and not (known if live is None else known | ~live).all():
            own = factors.encode_stored(snapshot.fitted.finest, segment.finest, segment.offsets)
        own[known] = made[places[known]]
        found.append(own)
    return np.concatenate(found)
