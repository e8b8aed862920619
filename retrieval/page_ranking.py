"""Which pages answer: a page is as good as its best window, and a little better between good pages.

Pages are cut into windows that fit the encoder, and an answer often needs the words of a heading on the page before. In
a hybrid search, MaxSim and BM25 are added up as distances from their means over the pages in question, since ranks
would let a page that only shares words with the query replace one that answers it. The three constants were chosen on
two collections at once, and the figures hardly change around them (`eval/reports/pages.md`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import TokenEmbeddings
from .page_table import IntArray, PageTable
from .rerank import Ranking, Work, rerank
from .snapshot import Fitted, Mask, Snapshot

FloatArray = npt.NDArray[np.float32]

NEIGHBOURS = 0.1
"""Weight of the pages on either side beside a page's own score."""
LEXICAL = 0.1
"""Weight of BM25 beside MaxSim, both in standard deviations."""
PAGES = 30
"""Pages of the ranking by vectors that are looked at, at least; three times as many change nothing."""
WORDED = 15
"""The same of the ranking by BM25, whose weight brings few to the top."""
WINDOWS = 60
"""Documents ranked by vectors to find them."""
MATCHES = 400
"""Documents ranked by BM25, which has scored all that match by then."""


def rank_pages(
    snapshot: Snapshot,
    fitted: Fitted,
    query: TokenEmbeddings,
    vectors: Ranking,
    lexical: Ranking | None,
    allowed: Sequence[Mask | None],
    k: int,
    work: Work,
) -> Ranking:
    """The best window of each of the `k` best pages for one query, with the score of the page; best first.

    vectors, lexical: windows ranked by MaxSim and by BM25, None for a search that is by vectors alone. allowed: see
    `Snapshot.allowed`; other windows of a page do not count.
    """
    table = snapshot.page_table
    chosen = np.union1d(_first_pages(table, vectors, max(PAGES, k)), _first_pages(table, lexical or [], max(WORDED, k)))
    if not len(chosen):
        return []
    around = np.unique(np.concatenate([chosen, table.before[chosen], table.after[chosen]]))
    rows = np.setdiff1d(table.rows_of(around), np.array([row for row, _ in vectors], np.int64))
    rows = _allowed_rows(snapshot, rows, allowed)
    scored = rerank(snapshot, fitted, query, rows, len(rows), work=work)
    best_rows, best = _best_windows(table, [*vectors, *scored])
    own = best[chosen]
    beside = (_or_own(best[table.before[chosen]], own) + _or_own(best[table.after[chosen]], own)) / 2
    total = ((own + NEIGHBOURS * beside) / (1 + NEIGHBOURS)).astype(np.float32)
    if lexical is not None:
        words = np.zeros(len(best), np.float32)
        places = table.pages_of(np.array([row for row, _ in lexical], np.int64))
        np.maximum.at(words, places, np.array([score for _, score in lexical], np.float32))
        total = _standard(total) + np.float32(LEXICAL) * _standard(words[chosen])
    order = np.lexsort((best_rows[chosen], -total))[:k]
    return [(int(best_rows[chosen[i]]), float(total[i])) for i in order if np.isfinite(own[i])]


def _first_pages(table: PageTable, ranking: Ranking, count: int) -> IntArray:
    """The pages of the first windows of a ranking, `count` of them."""
    pages = table.pages_of(np.array([row for row, _ in ranking], np.int64))
    return np.array(list(dict.fromkeys(pages.tolist()))[:count], np.int64)


def _allowed_rows(snapshot: Snapshot, rows: IntArray, allowed: Sequence[Mask | None]) -> IntArray:
    if all(mask is None for mask in allowed):
        return rows
    kept = [s.rows if mask is None else s.rows[mask] for s, mask in zip(snapshot.segments, allowed, strict=True)]
    return rows[np.isin(rows, np.concatenate(kept))]


def _best_windows(table: PageTable, scored: Ranking) -> tuple[IntArray, FloatArray]:
    """For each page its best window and the score of that; -1 and -inf for pages of which nothing was scored."""
    rows = np.full(len(table.before), -1, np.int64)
    scores = np.full(len(table.before), -np.inf, np.float32)
    found = np.array([row for row, _ in scored], np.int64)
    values = np.array([score for _, score in scored], np.float32)
    order = np.lexsort((found, -values))
    pages, first = np.unique(table.pages_of(found[order]), return_index=True)
    rows[pages], scores[pages] = found[order][first], values[order][first]
    return rows, scores


def _or_own(beside: FloatArray, own: FloatArray) -> FloatArray:
    return np.where(np.isfinite(beside), beside, own)


def _standard(values: FloatArray) -> FloatArray:
    finite = values[np.isfinite(values)]
    spread = float(finite.std()) if len(finite) else 0.0
    middle = float(finite.mean()) if len(finite) else 0.0
    return ((values - middle) / (spread or 1.0)).astype(np.float32)
