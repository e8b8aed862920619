"""Other people's indexes, each optional: TACHIOM and fast-plaid."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...encoders.base import load_encoder
from ...encoders.embeddings import IntArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from ..corpora import Corpus, Place, document_texts
from ..vectors import Vectors
from .engines import Setting
from .token_ids import token_ids

DISTRIBUTIONS: Final = ("tachiom", "fast-plaid", "torch", "maxsim-cpu")
PLAID_DOCUMENTS: Final = 2_000
"""Documents of the comparison with fast-plaid, whose builds take longest by far."""


def versions() -> str:
    """The peers and their versions, `absent` for those that are not installed."""
    return ", ".join(f"{name} {version_of(name) or 'absent'}" for name in DISTRIBUTIONS)


def version_of(distribution: str) -> str | None:
    """Version of an installed package."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def module(name: str, distribution: str) -> Any:
    """A peer's module. Raises `InvalidInputError` saying why it cannot be had."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InvalidInputError(f"{distribution} cannot be imported: {error}") from error


class Tachiom:
    """TACHIOM with the defaults of its package: token-aware centroids, HNSW over them, 32 bytes of PQ a token."""

    name = "tachiom"
    brute = False

    def __init__(self, place: Place) -> None:
        self._place = place
        self._index: Any = None

    def settings(self, documents: int) -> Sequence[Setting]:  # noqa: ARG002
        """Centroids a query vector, beam among them, documents that are scored; the last without pruning."""
        efforts = ((5, 10, 100), (20, 30, 250), (30, 45, 500), (60, 90, 1000), (100, 150, 2000), (200, 300, 4000))
        return [
            Setting(
                f"{centroids} centroids, ef {ef}, {scored:,} scored" + ", no alpha" * (centroids == 200),
                {"k_centroids": centroids, "ef_search": ef, "k_docs_to_score": scored}
                | ({"alpha": None} if centroids == 200 else {}),
            )
            for centroids, ef, scored in efforts
        ]

    def build(self, corpus: Corpus, folder: Path) -> None:
        """From half precision vectors and token ids."""
        maker = module("tachiom", "tachiom").Tachiom
        documents = corpus.documents
        vectors = documents.halves()
        ids = token_ids(load_encoder(self._place.encoder), document_texts(corpus.name, self._place))
        if len(ids) != len(vectors):
            raise InvalidInputError(f"there are {len(ids)} token ids for {len(vectors)} vectors of {corpus.name}")
        lengths = np.diff(documents.offsets).astype(np.int32)
        index = maker.build_from_arrays(vectors.view(np.uint16), ids.astype(np.uint32), lengths)
        index.save(str(folder / "tachiom.bin"))

    def open(self, documents: Vectors, folder: Path, threads: int) -> None:  # noqa: ARG002
        """Load the index; one query is searched on one thread."""
        self._index = module("tachiom", "tachiom").Tachiom.load(str(folder / "tachiom.bin"))

    def top(self, query: TokenEmbeddings, k: int, setting: Setting) -> IntArray:
        """Rows without the padding."""
        rows = self._index.search(np.ascontiguousarray(query.vectors), k, **setting.options)[1]
        return np.asarray(rows[rows != np.iinfo(np.uint32).max], np.int64)

    def code_bytes(self, folder: Path) -> int | None:  # noqa: ARG002
        """Unknown: one file holds everything."""
        return None

    def close(self) -> None:
        """Free the index."""
        self._index = None


class FastPlaid:
    """fast-plaid with the defaults of its package: PLAID with four bits a dimension."""

    name = "fast-plaid"
    brute = False

    def __init__(self) -> None:
        self._index: Any = None

    def settings(self, documents: int) -> Sequence[Setting]:  # noqa: ARG002
        """Lists probed a query vector, and documents scored."""
        efforts = ((2, 256), (8, 1024), (16, 2000))
        return [
            Setting(f"{probe} probes, {full:,} scored", {"n_ivf_probe": probe, "n_full_scores": full})
            for probe, full in efforts
        ]

    def build(self, corpus: Corpus, folder: Path) -> None:
        """From single precision vectors."""
        torch = module("torch", "torch")
        documents = [torch.from_numpy(vectors) for vectors in corpus.documents.read()]
        self._made(folder).create(documents, seed=42)

    def open(self, documents: Vectors, folder: Path, threads: int) -> None:  # noqa: ARG002
        """Load the index with as many threads of torch."""
        module("torch", "torch").set_num_threads(threads)
        self._index = self._made(folder)

    def _made(self, folder: Path) -> Any:
        made = module("fast_plaid.search", "fast-plaid").FastPlaid
        return made(index=str(folder / "plaid"), device="cpu")

    def top(self, query: TokenEmbeddings, k: int, setting: Setting) -> IntArray:
        """Rows of one query, on this process's threads."""
        torch = module("torch", "torch")
        asked = torch.from_numpy(np.ascontiguousarray(query.vectors))[None]
        found = self._index.search(asked, top_k=k, show_progress=False, **setting.options)[0]
        return np.array([row for row, _ in found], np.int64)

    def code_bytes(self, folder: Path) -> int | None:  # noqa: ARG002
        """Unknown: its files hold more than codes."""
        return None

    def close(self) -> None:
        """Free the index."""
        if self._index is not None:
            self._index.close()
            self._index = None
