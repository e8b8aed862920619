"""Fusion of ranked lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RRF_CONSTANT = 60


def reciprocal_rank_fusion(
    rankings: Iterable[Sequence[int]], k: int, *, constant: int = RRF_CONSTANT
) -> list[tuple[int, float]]:
    """Fuse rankings of row numbers: `score(row) = sum over rankings of 1 / (constant + rank)`, rank from 1.

    Best first, ties by row. Source: Cormack, Clarke, Buettcher, "Reciprocal rank fusion", SIGIR 2009.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            scores[row] = scores.get(row, 0.0) + 1.0 / (constant + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
