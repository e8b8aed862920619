"""What every engine of the comparison does, and latefold's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...encoders.embeddings import IntArray, TokenEmbeddings
from ...index.kernels.warmup import warm_up
from ...retrieval.config import IndexConfig
from ...retrieval.index import Index
from ..corpora import Corpus
from ..vectors import Vectors


@dataclass(frozen=True)
class Setting:
    """One way to search what an engine has built. options: the engine's own arguments."""

    label: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Searches a collection: token vectors of a query in, rows of documents out.

    brute: whether a search costs hundreds of milliseconds, so that few queries have to do.
    """

    name: str
    brute: bool

    def settings(self, documents: int) -> Sequence[Setting]:
        """Ways to search that are compared."""
        ...

    def build(self, corpus: Corpus, folder: Path) -> None:
        """Write an index of the documents into an empty folder; engines that keep none write nothing."""
        ...

    def open(self, documents: Vectors, folder: Path, threads: int) -> None:
        """Get ready to search what was built of these documents."""
        ...

    def top(self, query: TokenEmbeddings, k: int, setting: Setting) -> IntArray:
        """Up to `k` rows, int64, best first, for one query."""
        ...

    def code_bytes(self, folder: Path) -> int | None:
        """Bytes of token codes alone, where they can be told from the rest."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


COUNTS = (50, 100, 200, 400, 700, 1000, 1500, 2000, 3000)
"""Numbers of candidates that are compared."""


class Latefold:
    """An index of the documents without texts, so that its folder holds vectors and little else.

    Calibrated with passages of the documents encoded as queries are, which is what an index that has its own encoder
    does by itself.
    """

    brute = False

    def __init__(self, codec: str, counts: Sequence[int] = COUNTS) -> None:
        self.name = f"latefold {codec}"
        self._codec, self._counts = codec, counts
        self._index: Index | None = None

    def settings(self, documents: int) -> Sequence[Setting]:
        """By number of candidates, as calibrated, and all documents."""
        counts = [count for count in self._counts if count < documents]
        return [
            *(Setting(f"{count:,} candidates", {"mode": "ann", "candidates": count}) for count in counts),
            Setting("as calibrated", {"mode": "ann"}),
            Setting("exhaustive", {"mode": "exact"}),
        ]

    def build(self, corpus: Corpus, folder: Path) -> None:
        """Add block by block, merge, calibrate."""
        warm_up()
        config = IndexConfig(codec=self._codec, batch_documents=8192)
        with Index.create(folder / "index", dim=corpus.documents.dim, config=config) as index:
            row = 0
            for block in corpus.documents.blocks(8192):
                index.add([{"id": str(row + i), "text": ""} for i in range(len(block))], embeddings=block)
                row += len(block)
            index.calibrate(queries=corpus.pseudo.read())
            index.optimize()

    def open(self, documents: Vectors, folder: Path, threads: int) -> None:  # noqa: ARG002
        """Map the index; threads are those that kernels find in the environment."""
        warm_up()
        self._index = Index.open(folder / "index")

    def top(self, query: TokenEmbeddings, k: int, setting: Setting) -> IntArray:
        """Through `Index.search`, hits and all."""
        assert self._index is not None
        hits = self._index.search(embeddings=query, k=k, **setting.options)[0]
        return np.array([int(hit.id) for hit in hits], np.int64)

    def code_bytes(self, folder: Path) -> int | None:
        """As the index counts them."""
        with Index.open(folder / "index") as index:
            return int(index.stats().bytes["tokens"])

    def close(self) -> None:
        """Release the index."""
        if self._index is not None:
            self._index.close()
            self._index = None
