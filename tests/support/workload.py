"""A deterministic workload on an index of the caller's own vectors, and the model that says what must be stored.

Every text and every vector is a function of a document's id and version, so that any process can tell what is right.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latefold import Document, Index, TokenEmbeddings
from latefold.index.encodings.fde import FDE, FDEConfig
from latefold.index.encodings.learned import LearnedConfig
from latefold.index.factors import ItemFactors
from latefold.index.lvq import LVQ
from latefold.index.single import SingleVectors
from latefold.index.tokens.base import codec
from latefold.retrieval import writer
from latefold.retrieval.config import IndexConfig

DIM = 8
CONFIG = IndexConfig(
    codec="lvq4+lvq8",
    encoding="learned",
    fde=FDEConfig(repetitions=2, simhash_bits=2, projected_dim=4),
    learned=LearnedConfig(width=16, learn_tokens=64),
)
Model = dict[str, int]
"""What an index must hold: id to version."""


def text(name: str, version: int) -> str:
    return f"{name}v{version} is version {version} of document {name}"


def document(name: str, version: int) -> Document:
    return Document(name, text(name, version), title=f"title of {name}", metadata={"version": version, "name": name})


def embeddings(items: Sequence[tuple[str, int]]) -> TokenEmbeddings:
    """Two to five unit vectors a document."""
    arrays = []
    for name, version in items:
        rng = np.random.default_rng(zlib.crc32(f"{name}:{version}".encode()))
        vectors = rng.standard_normal((int(rng.integers(2, 6)), DIM)).astype(np.float32)
        arrays.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return TokenEmbeddings.from_list(arrays, dim=DIM)


def item_factors(seed: int, *, columns: int = 5, **facts: object) -> ItemFactors:
    """Item factors with a random map, of rows of `columns + 4` bytes."""
    rng = np.random.default_rng(seed)
    fde = FDE(CONFIG.fde, DIM)
    single = SingleVectors(fde, None, LVQ(np.zeros(fde.output_dim, np.float32)))
    projection, offset = rng.standard_normal((fde.output_dim, columns)), rng.standard_normal(columns)
    lvq = LVQ(np.zeros(columns, np.float32))
    return ItemFactors(single, projection, offset, lvq, 0.5, np.arange(1, 4), {"seed": seed, **facts})


def rows_of(factors: ItemFactors, tokens: TokenEmbeddings) -> np.ndarray:
    """Rows of documents, as the index must make them of LVQ-8 codes."""
    lvq8 = codec("lvq8").fit(tokens.vectors)
    return factors.encode_stored(lvq8, lvq8.encode(tokens.vectors), tokens.offsets)


def factorize(index: Index, factors: ItemFactors) -> None:
    """Store for every document the row that it would be given if it were added now."""
    with index._session.writing():
        snapshot = index._session.snapshot
        if snapshot.documents:
            source = snapshot.fitted.finest
            parts = [factors.encode_stored(source, s.finest, s.offsets) for s in snapshot.segments]
            writer.store_factors(index.path, snapshot, factors, np.concatenate(parts))
    index.refresh()


def drop_factors(index: Index) -> None:
    with index._session.writing():
        writer.drop_factors(index.path, index._session.snapshot)
    index.refresh()


def stored_rows(index: Index) -> dict[str, bytes]:
    """The item factors row of each live document; empty where the index has none."""
    snapshot = index._session.snapshot
    found = {}
    for record in snapshot.catalog.iterate():
        segment, position = snapshot.locate(record.row)
        if segment.factors is not None:
            found[record.id] = segment.factors[position].tobytes()
    return found


@dataclass(frozen=True)
class Operation:
    """`add`, `upsert` and `delete` are one commit each.

    `optimize` and `refit` change nothing that can be seen; `factorize` and `drop` nothing but item factors.
    """

    kind: str
    items: tuple[tuple[str, int], ...] = ()

    def apply(self, index: Index) -> None:
        documents = [document(*item) for item in self.items]
        if self.kind == "add":
            index.add(documents, embeddings=embeddings(self.items))
        elif self.kind == "upsert":
            index.upsert(documents, embeddings=embeddings(self.items))
        elif self.kind == "delete":
            index.delete([name for name, _ in self.items])
        elif self.kind == "refit":
            index.calibrate(refit=True)
        elif self.kind == "factorize":
            factorize(index, item_factors(index.generation))
        elif self.kind == "drop":
            drop_factors(index)
        else:
            index.optimize()

    def after(self, model: Mapping[str, int]) -> Model:
        if self.kind == "delete":
            gone = {name for name, _ in self.items}
            return {name: version for name, version in model.items() if name not in gone}
        return {**model, **dict(self.items)}

    def to_json(self) -> list[object]:
        return [self.kind, [list(item) for item in self.items]]

    @classmethod
    def from_json(cls, value: Sequence) -> Operation:
        return cls(value[0], tuple((name, version) for name, version in value[1]))


def create(path: Path, config: IndexConfig = CONFIG) -> Index:
    return Index.create(path, dim=DIM, config=config)


def operations(seed: int, model: Mapping[str, int]) -> Iterator[Operation]:
    """An endless mix of adds, upserts, deletes, and now and then one of the others; keeps about 60 documents."""
    rng = np.random.default_rng(seed)
    model = dict(model)
    fresh = max((int(name[1:]) for name in model), default=0)
    while True:
        draw = rng.random()
        known = sorted(model)
        count = min(int(rng.integers(1, 5)), len(known))
        chosen = [str(name) for name in rng.choice(known, size=count, replace=False)] if known else []
        if draw < 0.55 and len(known) < 80:
            operation = Operation("add", tuple((f"d{fresh + i + 1}", 1) for i in range(int(rng.integers(1, 4)))))
            fresh += len(operation.items)
        elif draw < 0.75 and chosen:
            operation = Operation("upsert", tuple((name, model[name] + 1) for name in chosen))
        elif draw < 0.92 and chosen:
            operation = Operation("delete", tuple((name, model[name]) for name in chosen))
        else:
            bounds = {"optimize": 0.95, "factorize": 0.97, "refit": 0.99, "drop": 1}
            operation = Operation(next(kind for kind, bound in bounds.items() if draw < bound))
        model = operation.after(model)
        yield operation


def script() -> list[Operation]:
    """A fixed sequence that passes through every kind of commit, an automatic merge among them."""
    return [
        Operation("add", (("d1", 1), ("d2", 1), ("d3", 1))),
        Operation("upsert", (("d2", 2), ("d4", 1))),
        Operation("delete", (("d1", 1), ("d2", 2))),
        *(Operation("add", ((f"d{i}", 1),)) for i in range(5, 11)),
        Operation("optimize"),
        Operation("factorize"),
        Operation("drop"),
        Operation("factorize"),
        Operation("upsert", (("d3", 2),)),
        Operation("add", tuple((f"d{i}", 1) for i in range(20, 40))),
        Operation("refit"),
        Operation("factorize"),
        Operation("delete", tuple((f"d{i}", 1) for i in range(5, 11))),
        Operation("add", (("d11", 1),)),
    ]


def warm_up() -> None:
    """Load what is loaded on first use, the compiled kernels above all."""
    with tempfile.TemporaryDirectory() as folder, create(Path(folder) / "index") as index:
        for operation in script():
            operation.apply(index)
        contents(index)


def contents(index: Index) -> Model:
    """What an index holds, after checking that each document is whole.

    Its text, its words, its vectors and, where there are any, its item factors agree.
    """
    found = {name: int(index.get(name).metadata["version"]) for name in index.ids()}
    found = dict(sorted(found.items()))
    items = list(found.items())
    assert len(index) == len(items)
    for name, version in items:
        assert index.get(name) == document(name, version)
        assert [hit.id for hit in index.search(f"{name}v{version}", mode="lexical")] == [name]
    if items:
        queries = embeddings(items)
        hits = index.search(embeddings=queries, k=1, mode="exact")
        assert [results[0].id for results in hits] == [name for name, _ in items]
        np.testing.assert_allclose([results[0].score for results in hits], queries.lengths, rtol=0.02)
        factors = index._session.snapshot.factors
        rows = [] if factors is None else [row.tobytes() for row in rows_of(factors, queries)]
        assert stored_rows(index) == dict(zip(found if rows else (), rows, strict=True))
    return found


def stray_folders(index: Index) -> set[str]:
    """Folders on disk that the newest commit does not name."""
    catalog = index._session.catalog
    stored = [catalog.meta(key) for key in ("params", "factors")]
    known = {info.id for info in catalog.segments()} | {value["checksum"] for value in stored if value}
    homes = [index.path / "segments", index.path / "params"]
    return {entry.name for home in homes if home.is_dir() for entry in home.iterdir()} - known
