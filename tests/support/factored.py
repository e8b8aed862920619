"""An index with item factors, and rows that tell whether a document has kept its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from workload import CONFIG, Operation, create, item_factors

from latefold import Index
from latefold.index.factors import ItemFactors
from latefold.retrieval import writer

NAMES = [f"d{i}" for i in range(30)]
DEAD = ("d2", "d3", "d11", "d29")


def filled(path: Path, config=CONFIG) -> Index:
    """Three segments, with deleted documents in each."""
    index = create(path, config)
    for start in (0, 10, 20):
        Operation("add", tuple((name, 1) for name in NAMES[start : start + 10])).apply(index)
    index.delete(DEAD)
    return index


def store(index: Index, factors: ItemFactors, rows: np.ndarray) -> None:
    with index._session.writing():
        writer.store_factors(index.path, index._session.snapshot, factors, rows)
    index.refresh()


def store_random(index: Index, seed: int, **options) -> dict[str, bytes]:
    """Store rows that no fold would give; the row of each live document."""
    factors = item_factors(seed, **options)
    segments = index._session.snapshot.segments
    count = sum(len(segment) for segment in segments)
    rows = np.random.default_rng(seed).integers(0, 256, (count, factors.width), np.uint8)
    store(index, factors, rows)
    owners = np.concatenate([segment.rows for segment in segments]).tolist()
    places = {row: place for place, row in enumerate(owners)}
    return {r.id: rows[places[r.row]].tobytes() for r in index._session.catalog.iterate()}
