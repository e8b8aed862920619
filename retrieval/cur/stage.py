"""The last stage of a search: which documents an expensive scorer is asked about, within the budget of each query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import IndexCorruptedError, InvalidInputError
from ...encoders.scorers.base import as_scorer
from ...index.factors import ItemFactors
from ...index.single import SingleVectors
from ...index.storage.format import CATALOG
from ..documents import encoded_text
from ..filters import CompiledFilter
from ..search import Timing
from ..snapshot import Fitted, Snapshot
from ..types import Document, Mode
from .evidence import Evidence, Sources, gather
from .judge import Judge, Reranked
from .options import CrossEncoderSearch
from .search import AnchorIndex, adacur, axn
from .stored import StoredItems

DENSE: Final = "dense"
"""Kind of factors that anchors and CUR estimates need: made of all scores of some queries."""


@dataclass(frozen=True, eq=False)
class Stage:
    """The last stage over one snapshot.

    mode: what candidates are chosen by, not `auto`. condition: which documents may be found. Raises `InvalidInputError`
    where the method needs factors that the index does not have.
    """

    snapshot: Snapshot
    fitted: Fitted
    options: CrossEncoderSearch
    mode: Mode
    condition: CompiledFilter | None

    def __post_init__(self) -> None:
        if self.options.method in ("anncur", "adacur"):
            self._check_factors()

    def run(self, text: str, embeddings: TokenEmbeddings | None, first: IntArray, timing: Timing) -> Reranked:
        """Score documents for one query; rows of the answer are catalog rows.

        first: catalog rows of candidates, best first (`options.depth` of them are of use). embeddings: token vectors of
        the query, one item, which method axn reads; None where there are none. Raises what the scorer raises.
        """
        if self.options.method == "axn":
            with timing.stage("candidates"):
                known = gather(self._sources, text, embeddings, self.mode, self._vectors(embeddings))
            with timing.stage("score"):
                return self._axn(text, known)
        with timing.stage("score"):
            return _named(self._over_rows(text, np.searchsorted(self._rows, first)), self._rows)

    def _axn(self, text: str, known: Evidence) -> Reranked:
        judge, plan = self._judge(text, known.rows), self.options.planned
        found = axn(judge, known.items, known.own, known.first, plan=plan, regression=known.regression)
        return _named(found, known.rows)

    def _over_rows(self, text: str, first: IntArray) -> Reranked:
        """The methods that go by places among all stored documents."""
        judge = self._judge(text, self._rows)
        if self.options.method == "rerank":
            judge.score(first[: judge.left])
            return judge.result()
        items, mask = self._factor_items, self._sources.mask()
        if self.options.method == "adacur":
            return adacur(judge, items, first, plan=self.options.planned, allowed=mask)
        anchors = self._anchors
        return AnchorIndex(items, anchors[mask[anchors]]).search(judge, allowed=mask)

    def _judge(self, text: str, rows: IntArray) -> Judge:
        options, snapshot = self.options, self.snapshot
        return Judge(options.scorer, text, lambda places: texts_of(snapshot, rows[places]), budget=options.budget)

    def _vectors(self, embeddings: TokenEmbeddings | None) -> list[tuple[StoredItems, FloatArray | None]]:
        """Item vectors that say most of a document, each with the query's own among them where it has one."""
        stored = (self._single_items, _own(self.fitted.single, embeddings))
        factors = self._factors
        if factors is None:
            return [stored]
        if factors.facts.get("kind") == DENSE:
            return [stored, (self._factor_items, None)]
        return [(self._factor_items, _own(factors.single, embeddings))]  # the stored vectors, moved: once is enough

    @cached_property
    def _rows(self) -> IntArray:
        """Catalog rows of all stored documents, ascending."""
        return np.concatenate([np.empty(0, np.int64), *(segment.rows for segment in self.snapshot.segments)])

    @cached_property
    def _sources(self) -> Sources:
        return Sources.of(self.snapshot, self.fitted, self._rows, self.condition, self.options)

    @cached_property
    def _single_items(self) -> StoredItems:
        return StoredItems([segment.vectors for segment in self.snapshot.segments], self.fitted.single.lvq)

    @cached_property
    def _factors(self) -> ItemFactors | None:
        """The factors of the index, if they were made for this scorer."""
        factors = self.snapshot.factors
        return factors if factors is not None and factors.facts.get("scorer") == self._fingerprint else None

    @cached_property
    def _factor_items(self) -> StoredItems:
        factors = self.snapshot.factors
        if factors is None:
            raise ValueError("an index without factors has no vectors made of scores")
        parts = [segment.factors for segment in self.snapshot.segments if segment.factors is not None]
        return StoredItems(parts, factors.lvq, factors.unit)

    @cached_property
    def _anchors(self) -> IntArray:
        """Places of the anchors that are still stored, most telling first."""
        factors, rows = self.snapshot.factors, self._rows
        if factors is None or not len(rows):
            return np.empty(0, np.int64)
        places = np.minimum(np.searchsorted(rows, factors.anchors), len(rows) - 1)
        found: IntArray = places[rows[places] == factors.anchors]
        return found

    @cached_property
    def _fingerprint(self) -> str:
        return as_scorer(self.options.scorer).fingerprint

    def _check_factors(self) -> None:
        """Raises `InvalidInputError` where there are no factors that fit the method and the scorer."""
        factors, method = self.snapshot.factors, self.options.method
        how = "run `latefold factorize` (`Index.factorize`) with this scorer"
        if factors is None:
            raise InvalidInputError(f"method {method} needs factors, and the index has none: {how}, or use method axn")
        kind = factors.facts.get("kind")
        if kind != DENSE:
            raise InvalidInputError(
                f"method {method} needs factors of kind dense, and those of the index are {kind}: "
                f"{how} and kind dense, or use method axn"
            )
        if self._factors is None:
            ours = self._fingerprint or "a function without a name"
            theirs = factors.facts.get("scorer") or "a function without a name"
            raise InvalidInputError(f"the factors of the index are of {theirs}, the scorer is {ours}: {how}")


def _own(single: SingleVectors, embeddings: TokenEmbeddings | None) -> FloatArray | None:
    return None if embeddings is None else np.asarray(single.encode_queries(embeddings)[0], np.float32)


def _named(found: Reranked, rows: IntArray) -> Reranked:
    return Reranked(rows[found.rows], found.scores, found.calls, found.rounds)


def texts_of(snapshot: Snapshot, rows: IntArray) -> list[str]:
    """What a scorer reads of `(k,)` catalog rows, in order: title and text, as an encoder does."""
    records = snapshot.catalog.records(rows.tolist())
    texts = []
    for row in rows.tolist():
        record = records.get(row)
        if record is None:
            raise IndexCorruptedError(f"{CATALOG} lacks document {row} of a segment: run `latefold verify`")
        texts.append(encoded_text(Document(record.id, record.text, record.title)))
    return texts
