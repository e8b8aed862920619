"""A collection as the benchmark asks it: queries to learn from, queries to judge by, and the texts of the documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...encoders.errors import InvalidInputError
from ...retrieval.documents import encoded_text
from ..beir import Dataset, load_beir, load_queries

COLLECTIONS: Mapping[str, tuple[int, int]] = {"cranfield": (80, 80), "cisi": (56, 50), "scifact": (26, 24)}
"""Queries to learn from, and to judge by, of each: exhaustive scores of a cross-encoder take an hour as it is."""


@dataclass(frozen=True, eq=False)
class Task:
    """learned: texts of queries that factors are made of. asked: id to text of judged queries, none of them learned."""

    dataset: Dataset
    learned: Sequence[str]
    asked: Mapping[str, str]

    @property
    def texts(self) -> list[str]:
        """What a scorer reads of each document, in the order of the dataset."""
        return [encoded_text(document) for document in self.dataset.documents]

    @property
    def queries(self) -> list[str]:
        """All texts of queries, those to learn from first."""
        return [*self.learned, *self.asked.values()]


def open_task(data: Path, name: str, *, quick: bool = False) -> Task:
    """A BEIR folder under `data`, split by a fixed draw; queries without judgements are learned from first.

    quick: a few hundred documents and a handful of queries. Raises `InvalidInputError` where it cannot be had.
    """
    folder = data / name
    if not folder.is_dir():
        raise InvalidInputError(f"the data folder holds no collection {name!r}")
    dataset, everything = load_beir(folder), load_queries(folder)
    learned, judged = (12, 6) if quick else COLLECTIONS.get(name, (64, 64))
    if quick:
        dataset = Dataset(name, dataset.documents[:300], dataset.queries, dataset.qrels)
    order = np.random.default_rng(0).permutation(len(dataset.queries))
    ids = [list(dataset.queries)[i] for i in order]
    asked = {id_: dataset.queries[id_] for id_ in ids[:judged]}
    known = set(asked.values())
    spare = [text for id_, text in everything.items() if id_ not in dataset.queries]
    rest = dict.fromkeys([*spare, *(dataset.queries[id_] for id_ in ids[judged:])])
    return Task(dataset, [text for text in rest if text not in known][:learned], asked)
