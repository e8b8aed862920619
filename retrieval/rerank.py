"""MaxSim over stored tokens: the best of all allowed documents, or of candidates.

Of many documents each is estimated first, and only those whose estimate leaves them a chance are scored: the codec says
how far its estimates can be off, so that the best `k` are always those of the scores (certified pruning). Where tokens
have two levels, the coarse codes rank the candidates before, and the finer ones what is left of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..encoders.embeddings import TokenEmbeddings
from ..index.storage.segments import Segment
from ..index.tokens.base import TokenCodec
from .snapshot import Fitted, IntArray, Mask, Snapshot

FloatArray = npt.NDArray[np.float32]
Ranking = list[tuple[int, float]]
"""`(row, score)`, best first."""

_SCORES_AT_ONCE = 1 << 25
_FEW = 512
"""Documents that are scored at once: of so few, most have a chance, and an estimate takes two thirds of a score."""


@dataclass
class Work:
    """Documents that were estimated, and those that were scored, summed over queries."""

    estimated: int = 0
    scored: int = 0


@dataclass(frozen=True, eq=False)
class _Part:
    """Documents of one segment: their catalog rows and positions, ascending; positions None for all of them."""

    segment: Segment
    rows: IntArray
    positions: IntArray | None

    def take(self, chosen: IntArray) -> _Part:
        return _Part(self.segment, self.rows[chosen], chosen if self.positions is None else self.positions[chosen])


def exact(
    snapshot: Snapshot,
    fitted: Fitted,
    queries: TokenEmbeddings,
    allowed: Sequence[Mask | None],
    k: int,
    work: Work | None = None,
) -> list[Ranking]:
    """The `k` best of all allowed documents for each query, by MaxSim over the finest codes."""
    whole = [_Part(segment, segment.rows, None) for segment in snapshot.segments]
    parts = [
        part if mask is None else part.take(np.flatnonzero(mask)) for part, mask in zip(whole, allowed, strict=True)
    ]
    rankings: list[Ranking] = []
    step = max(1, _SCORES_AT_ONCE // max(1, sum(len(part.rows) for part in parts)))
    for start in range(0, len(queries), step):
        batch = queries.take(np.arange(start, min(start + step, len(queries))))
        rankings += _best(fitted.finest, batch, parts, k, work or Work())
    return rankings


def rerank(
    snapshot: Snapshot,
    fitted: Fitted,
    query: TokenEmbeddings,
    rows: IntArray,
    k: int,
    refined: int | None = None,
    work: Work | None = None,
) -> Ranking:
    """The `k` best of the given rows for one query, by MaxSim over the finest codes.

    refined: where there are two levels of codes, how many of the rows the coarse ones leave; all of them when None.
    """
    if fitted.fine is not None and refined is not None and refined < len(rows):
        rows = coarse_order(snapshot, fitted, query, rows)[:refined]
    return _best(fitted.finest, query, _parts_of(snapshot, rows), k, work or Work())[0]


def coarse_order(snapshot: Snapshot, fitted: Fitted, query: TokenEmbeddings, rows: IntArray) -> IntArray:
    """The given rows, best first by the first level of codes."""
    parts = _parts_of(snapshot, rows)
    if not parts:
        return rows[:0]
    found = [fitted.codec.coarse(query, p.segment.tokens, p.segment.offsets, p.positions)[0] for p in parts]
    sorted_rows = np.concatenate([part.rows for part in parts])
    return sorted_rows[np.lexsort((sorted_rows, -np.concatenate(found)))]


def _parts_of(snapshot: Snapshot, rows: IntArray) -> list[_Part]:
    rows = np.sort(rows)
    parts = []
    for segment in snapshot.segments:
        places = np.searchsorted(segment.rows, rows)
        inside = np.flatnonzero(places < len(segment))
        positions = places[inside][segment.rows[places[inside]] == rows[inside]]
        if len(positions):
            parts.append(_Part(segment, segment.rows[positions], positions))
    return parts


def _best(codec: TokenCodec, queries: TokenEmbeddings, parts: Sequence[_Part], k: int, work: Work) -> list[Ranking]:
    if not parts:
        return [[] for _ in range(len(queries))]
    rows = np.concatenate([part.rows for part in parts])
    if len(rows) <= max(k, _FEW):
        work.scored += len(queries) * len(rows)
        found = [codec.score(queries, p.segment.finest, p.segment.offsets, p.positions) for p in parts]
        return [top_k(rows, own, k) for own in np.concatenate(found, axis=1)]
    pairs = [codec.estimate(queries, p.segment.finest, p.segment.offsets, p.positions) for p in parts]
    scores = np.concatenate([estimates for estimates, _ in pairs], axis=1)
    errors = np.concatenate([bounds for _, bounds in pairs], axis=1)
    work.estimated += scores.size
    if not errors.any():
        return [top_k(rows, own, k) for own in scores]
    batch = [queries] if len(queries) == 1 else [queries.take([i]) for i in range(len(queries))]
    return [
        _certified(codec, query, parts, rows, own, error, k, work)
        for query, own, error in zip(batch, scores, errors, strict=True)
    ]


def _certified(
    codec: TokenCodec,
    query: TokenEmbeddings,
    parts: Sequence[_Part],
    rows: IntArray,
    estimates: FloatArray,
    errors: FloatArray,
    k: int,
    work: Work,
) -> Ranking:
    """The best by score, of which the likeliest are scored first: what these reach, most of the others cannot."""
    chosen = contenders(estimates, errors, k)
    likely = estimates[chosen] >= _nth(estimates[chosen], 2 * k)
    first, rest = chosen[likely], chosen[~likely]
    scores = _scores(codec, query, parts, first)
    rest = rest[estimates[rest] + errors[rest] >= _nth(scores, k)]
    work.scored += len(first) + len(rest)
    both = np.concatenate([first, rest])
    return top_k(rows[both], np.concatenate([scores, _scores(codec, query, parts, rest)]), k)


def _nth(values: FloatArray, n: int) -> float:
    """The n-th largest value; -inf when there are not as many."""
    return float(np.partition(values, len(values) - n)[len(values) - n]) if len(values) >= n else -np.inf


def _scores(codec: TokenCodec, query: TokenEmbeddings, parts: Sequence[_Part], chosen: IntArray) -> FloatArray:
    """Scores of the documents at `chosen`, ascending, places in all parts laid end to end."""
    found, start = [np.empty(0, np.float32)], 0
    for part in parts:
        a, b = np.searchsorted(chosen, [start, start + len(part.rows)])
        if b > a:
            few = part.take(chosen[a:b] - start)
            found.append(codec.score(query, few.segment.finest, few.segment.offsets, few.positions)[0])
        start += len(part.rows)
    return np.concatenate(found)


def contenders(estimates: FloatArray, errors: FloatArray, k: int) -> IntArray:
    """Which documents may be among the `k` best, ascending: those not surely below `k` others."""
    possible = np.flatnonzero(np.isfinite(estimates))
    if len(possible) <= k:
        return possible
    threshold = _nth(estimates[possible] - errors[possible], k)
    left: IntArray = possible[estimates[possible] + errors[possible] >= threshold]
    return left


def top_k(rows: IntArray, scores: FloatArray, k: int) -> Ranking:
    """The `k` best finite scores, best first, ties by row: the same answer whatever the order of the input."""
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= threshold)
        rows, scores = rows[chosen], scores[chosen]
    order = np.lexsort((rows, -scores))[:k]
    return [(int(rows[i]), float(scores[i])) for i in order if np.isfinite(scores[i])]
