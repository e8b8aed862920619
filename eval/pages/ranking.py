"""Rankings of pages, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from ...encoders.embeddings import IntArray
from ...retrieval.index import Index
from ...retrieval.types import Hit, Mode
from ..metrics import Judgements
from .collection import page_id

Run = Mapping[str, Sequence[str]]
"""Query id to ids of pages, best first."""


@dataclass(frozen=True)
class PageQuality:
    """Means over all judged queries: share of a query's right pages among the first 1 and 5, and nDCG."""

    recall_at_1: float
    recall_at_5: float
    ndcg_at_5: float
    ndcg_at_10: float


def page_quality(run: Run, qrels: Judgements) -> PageQuality:
    """Computed by `ir-measures`; a query that is not in the run counts as 0."""
    import ir_measures
    from ir_measures import R, nDCG

    ranked = {query: {id_: -float(place) for place, id_ in enumerate(found)} for query, found in run.items()}
    measures = [R @ 1, R @ 5, nDCG @ 5, nDCG @ 10]
    means = ir_measures.calc_aggregate(measures, qrels, ranked)
    return PageQuality(*(float(means[measure]) for measure in measures))


def run_of(queries: Sequence[str], pages: Sequence[str], rows: IntArray) -> Run:
    """A run from `(m, k)` rows of pages, best first, one line a query."""
    return {
        query: [pages[row] for row in found] for query, found in zip(queries, np.asarray(rows).tolist(), strict=True)
    }


def ranked_pages(index: Index, query: str, k: int = 10, *, mode: Mode = "auto") -> list[str]:
    """Ids of the `k` best pages of an index of PDFs."""
    return pages_of(index.search(query, k, mode=mode, collapse="page"))


def pages_of(hits: Sequence[Hit]) -> list[str]:
    """Pages of hits, best first, each once; hits that are on no page are left out."""
    return list(
        dict.fromkeys(
            page_id(PurePosixPath(hit.source).stem, hit.page - 1)
            for hit in hits
            if hit.source is not None and hit.page is not None
        )
    )
