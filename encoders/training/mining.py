"""Which pairs share a batch: neighbourhoods, so that the passages of a batch are hard negatives of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..base import Progress
from ..embeddings import IntArray, TokenEmbeddings

Means = npt.NDArray[np.float32]
QUERIES_PER_BLOCK = 512
SPARE_GROUPS = 2
"""Groups of a batch beyond those that fill it, since neighbours of two seeds may be the same rows."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """What to find neighbours in: `n` queries, and the passages that answer them.

    answers: `(n,)` int64, the passage of each query. query_vectors, passage_vectors: token embeddings of some.
    """

    queries: Sequence[str]
    passages: Sequence[str]
    answers: IntArray
    query_vectors: Callable[[IntArray], TokenEmbeddings]
    passage_vectors: Callable[[IntArray], TokenEmbeddings]


Neighbours = Callable[[Corpus, int, Progress | None], IntArray]
"""`neighbours(corpus, count, progress)`: `(n, count)` int64 passages near each query, best first, -1 for none."""


def mean_neighbours(means: Means, count: int, progress: Progress | None = None) -> IntArray:
    """`(n, count)` rows whose mean vectors are nearest to each row's, itself left out; means: `(n, dim)`, length 1."""
    count = min(count, len(means) - 1)
    found = np.empty((len(means), max(count, 0)), np.int64)
    for start in range(0, len(means), QUERIES_PER_BLOCK):
        rows = np.arange(start, min(start + QUERIES_PER_BLOCK, len(means)))
        similarity = means[rows] @ means.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        if count > 0:
            nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
            order = np.argsort(-np.take_along_axis(similarity, nearest, 1), axis=1, kind="stable")
            found[rows] = np.take_along_axis(nearest, order, 1)
        if progress is not None:
            progress("mine", int(rows[-1]) + 1, len(means))
    return found


def neighbour_rows(passages: IntArray, answers: IntArray) -> IntArray:
    """Turn neighbouring passages into rows: of each passage the first row that it answers, -1 where there is none.

    passages: `(n, count)` as `Neighbours` gives them. answers: `(n,)` the passage of each row, which is -1 beside it.
    """
    first = np.full(int(max(passages.max(initial=-1), answers.max(initial=-1))) + 1, -1, np.int64)
    first[answers[::-1]] = np.arange(len(answers))[::-1]
    rows = np.where(passages >= 0, first[passages], -1)
    rows[passages == answers[:, None]] = -1
    return rows


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of a run, each a function of the seed and its number alone, so that a run resumes anywhere.

    A batch comes from one source, drawn in proportion to the square root of its size. It begins with random rows, each
    followed by `group - 1` of its neighbours.

    sources: `(n,)` the source of each row. neighbours: `(n, count)` rows, -1 for none. size, group: rows.
    """

    sources: IntArray
    neighbours: IntArray
    size: int
    group: int
    seed: int

    def seeds(self, steps: int) -> IntArray:
        """Rows that begin a group in the first `steps` batches, ascending: only their neighbours are ever asked for."""
        groups = -(-self.size // self.group) + SPARE_GROUPS
        return np.unique(np.concatenate([self._order(number)[1][:groups] for number in range(steps)]))

    def _order(self, number: int) -> tuple[np.random.Generator, IntArray]:
        """Random numbers of a batch, and the rows of its source in the order in which they begin groups."""
        rng = np.random.default_rng([self.seed, number])
        kinds, counts = np.unique(self.sources, return_counts=True)
        weights = np.sqrt(counts)
        rows = np.flatnonzero(self.sources == rng.choice(kinds, p=weights / weights.sum()))
        return rng, rng.permutation(rows)

    def __getitem__(self, number: int) -> list[int]:
        rng, order = self._order(number)
        chosen: dict[int, None] = {}
        for seed in order[: self.size]:
            if len(chosen) >= self.size:
                break
            near = self.neighbours[seed]
            near = near[(near >= 0) & (self.sources[near] == self.sources[seed])]
            near = rng.permutation(near)[: self.group - 1]
            chosen |= dict.fromkeys([int(seed), *near.tolist()])
        return list(chosen)[: self.size]
