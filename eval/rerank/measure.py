"""What each method finds of a scorer's exact best for a number of calls, through `Index.search` as a user would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray
from ...encoders.errors import InvalidInputError
from ...retrieval.cur.items import Items
from ...retrieval.cur.judge import Judge
from ...retrieval.cur.options import CrossEncoderSearch, Method
from ...retrieval.cur.search import axn
from ...retrieval.cur.stored import StoredItems
from ...retrieval.index import Index
from ...retrieval.snapshot import open_snapshot
from ...retrieval.types import Mode
from ..metrics import Rankings, quality
from .scores import TableScorer
from .task import Task

BUDGETS: Final = (50, 100, 200, 500)
TOPS: Final = (1, 10, 50, 100)
SPARSE_CALLS: Final = 100
"""Calls a learned query of the sparse factors."""


@dataclass(frozen=True)
class System:
    """A line of the tables. factors: kind that is made before; mode: of the candidates."""

    label: str
    method: Method
    mode: Mode = "hybrid"
    factors: str | None = None


BM25: Final = System("BM25, rerank", "rerank", "lexical")
OURS: Final = System("own candidates, rerank", "rerank")
PAPER: Final = "AXN, stored vectors alone"
AXN: Final = System("**AXN**", "axn")
ANNCUR: Final = System("ANNCUR", "anncur", factors="dense")
SYSTEMS: Final = (
    BM25,
    OURS,
    AXN,
    System("**AXN**, sparse factors", "axn", factors="sparse"),
    ANNCUR,
    System("ADACUR", "adacur", factors="dense"),
    System("**AXN**, dense factors", "axn", factors="dense"),
)
LABELS: Final = (BM25.label, OURS.label, PAPER, *(system.label for system in SYSTEMS[2:]))


@dataclass(frozen=True)
class Row:
    """Means over the judged queries. recall: of the exact top k, by k. calls: the most that one query took."""

    label: str
    budget: int
    recall: Mapping[str, float]
    ndcg: float
    calls: int


@dataclass(frozen=True)
class Figures:
    """One scorer on one collection. whole: nDCG@10 of its exhaustive ranking; plain: of the search without it.

    offline: calls of each kind of factors. fit: of dense factors, how well the map of later documents explains them.
    """

    documents: int
    learned: int
    asked: int
    rows: Sequence[Row]
    whole: float
    plain: float
    offline: Mapping[str, int]
    fit: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Figures:
        """Inverse of `to_dict`."""
        return cls(**{**value, "rows": [Row(**row) for row in value["rows"]]})


@dataclass(frozen=True, eq=False)
class Bench:
    """A collection in an index, and all scores of a scorer: `(queries, documents)`, learned queries first."""

    task: Task
    index: Index
    fingerprint: str
    scores: FloatArray

    def figures(self) -> Figures:
        """Every system at every budget."""
        rows = [row for budget in BUDGETS for row in self._without_factors(budget)]
        offline: dict[str, int] = {}
        fit = float("nan")
        calls = {
            "sparse": SPARSE_CALLS * len(self.task.learned),
            "dense": len(self.task.learned) * len(self.task.texts),
        }
        for kind, budget in calls.items():
            made = self.index.factorize(self.scorer, self.task.learned, budget, kind=kind)  # type: ignore[arg-type]
            offline[kind], fit = made.calls, fit if made.fit is None else made.fit
            rows += [self._row(system, b) for b in BUDGETS for system in SYSTEMS if system.factors == kind]
        self.index.drop_factors()
        whole = {id_: self._names(self._exact(number)[:100]) for number, id_ in enumerate(self.task.asked)}
        plain = self.index.search(list(self.task.asked.values()), 10)
        hits = {id_: [(hit.id, hit.score) for hit in own] for id_, own in zip(self.task.asked, plain, strict=True)}
        return Figures(
            len(self.task.texts), len(self.task.learned), len(self.task.asked), rows,
            self._ndcg(whole), self._ndcg(hits), offline, fit,
        )  # fmt: skip

    @property
    def scorer(self) -> TableScorer:
        """The scorer, from its scores."""
        return TableScorer(self.fingerprint, self.task.queries, self.task.texts, self.scores)

    def _without_factors(self, budget: int) -> list[Row]:
        rows = [self._row(system, budget) for system in SYSTEMS if system.factors is None]
        return [*rows[:2], self._paper(budget), *rows[2:]]

    def _row(self, system: System, budget: int) -> Row:
        options = CrossEncoderSearch(self.scorer, budget, system.method)
        asked = list(self.task.asked.values())
        found = self.index.search_timed(asked, min(budget, max(TOPS)), mode=system.mode, rerank=options)
        run = {
            id_: [(hit.id, hit.score) for hit in hits] for id_, hits in zip(self.task.asked, found.hits, strict=True)
        }
        return self._judged(system.label, budget, run, max(spent.calls for spent in found.spent))

    def _paper(self, budget: int) -> Row:
        """AXN as it was published, over the vectors that the index stores: the first round is their own order."""
        snapshot = open_snapshot(self.index.path)
        encoder, fitted = self.index.encoder, snapshot.fitted
        if encoder is None or fitted is None:
            raise InvalidInputError("the benchmark needs an index with an encoder and documents")
        items: Items = StoredItems([segment.vectors for segment in snapshot.segments], fitted.single.lvq)
        own = fitted.single.encode_queries(encoder.encode_queries(list(self.task.asked.values())))
        names = list(self.index.ids())
        texts = dict(zip((document.id for document in self.task.dataset.documents), self.task.texts, strict=True))
        run: Rankings = {}
        calls = 0
        for (id_, text), vector in zip(self.task.asked.items(), own, strict=True):
            judge = Judge(self.scorer, text, [texts[name] for name in names], budget=budget)
            result = axn(judge, items, vector)
            run[id_] = [(names[row], score) for row, score in result.top(max(TOPS))]
            calls = max(calls, result.calls)
        return self._judged(PAPER, budget, run, calls)

    def _judged(self, label: str, budget: int, run: Rankings, calls: int) -> Row:
        recall = {str(k): 0.0 for k in TOPS}
        for number, found in enumerate(run.values()):
            names = {name for name, _ in found}
            for k in TOPS:
                best = {name for name, _ in self._names(self._exact(number)[:k])}
                recall[str(k)] += len(best & names) / k / len(run)
        return Row(label, budget, recall, self._ndcg(run), calls)

    def _exact(self, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Documents of a judged query by the scorer, best first, ties as the corpus is."""
        scores = self.scores[len(self.task.learned) + number]
        return np.argsort(-scores, kind="stable")

    def _names(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> list[tuple[str, float]]:
        documents = self.task.dataset.documents
        return [(documents[row].id, -float(place)) for place, row in enumerate(rows.tolist())]

    def _ndcg(self, run: Rankings) -> float:
        qrels = {id_: self.task.dataset.qrels[id_] for id_ in self.task.asked}
        return quality(run, qrels).ndcg_at_10


def opened(folder: Path, task: Task, encoder: str) -> Index:
    """The index of a collection, calibrated; made in `folder` where it is not there."""
    with suppress(OSError):
        if any(folder.glob("done")):
            return Index.open(folder / "index")
    index = Index.create(folder / "index", encoder=encoder)
    index.add(task.dataset.documents)
    index.calibrate()
    (folder / "done").touch()
    return index
