"""The collections of the candidate benchmark: token vectors, queries for fitting and for testing, exact rankings."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..encoders.base import Progress, load_encoder
from ..encoders.embeddings import IntArray
from ..encoders.errors import InvalidInputError
from ..retrieval.documents import encoded_text
from .beir import load_beir, load_queries
from .packages import DIM, collection
from .truth import exact_top
from .vectors import Source, Vectors, stored

PACKAGES, PACKAGES_HEAD, PACKAGES_FEW = "packages-50k", "packages-20k", "packages-2k"
COLLECTIONS: Final = ("scifact", "cranfield", "cisi", PACKAGES_HEAD, PACKAGES)
_SIZES: Final[Mapping[str, int]] = {PACKAGES: 50_000, PACKAGES_HEAD: 20_000, PACKAGES_FEW: 2_000}
_FEWEST_TRAINING = 100


@dataclass(frozen=True)
class Place:
    """Where things are: BEIR folders under `data`, what is made once under `cache`. quick: only heads of collections.

    encoder: name of the encoder. A quick run takes `quick_documents` documents and `quick_queries` queries.
    """

    data: Path
    cache: Path
    encoder: str = "default"
    quick: bool = False
    quick_documents: int = 300
    quick_queries: int = 40


@dataclass(frozen=True, eq=False)
class Corpus:
    """Everything that methods are measured on.

    documents, queries: token vectors. pseudo: passages of documents encoded as queries are, for fitting. training: real
    queries that are no test queries, for fitting; None where there are too few.
    truth: `(m, k)` int64, rows of the exact MaxSim top. relevant: for each query the row of the document it was written
    for, where that is known.
    """

    name: str
    documents: Vectors
    queries: Vectors
    pseudo: Vectors
    training: Vectors | None
    truth: IntArray
    relevant: Sequence[int] | None = None

    @property
    def digest(self) -> str:
        """Changes with any of the vectors."""
        training = self.training.digest if self.training is not None else "none"
        return "-".join((self.documents.digest, self.queries.digest, self.pseudo.digest, training))

    @property
    def summary(self) -> str:
        """Sizes in a sentence."""
        documents = self.documents
        return (
            f"{self.name}: {len(documents):,} documents, {documents.tokens / max(1, len(documents)):.0f} vectors of "
            f"{documents.dim} dimensions each, {len(self.queries):,} queries"
        )


def open_corpus(name: str, place: Place, progress: Progress | None = None) -> Corpus:
    """A collection by name: `packages-50k` or a head of it, or that of a BEIR folder under `place.data`.

    Its vectors and exact rankings are made on the first call. Raises `InvalidInputError`, saying why, where the
    collection cannot be had.
    """
    texts = _texts(name, place)
    encoder = load_encoder(place.encoder)
    dim = min(texts.dim, encoder.dim)
    home = place.cache / "vectors" / (f"{texts.folder}-quick" if place.quick else texts.folder)

    def made(part: str, items: Sequence[str]) -> Vectors:
        return stored(home / part, Source(items, encoder, dim, queries=part != "documents"), progress)

    documents = made("documents", texts.documents).head(texts.head)
    queries = made("queries", texts.queries)
    pseudo = made(f"pseudo-{texts.head}", passages(texts.documents[: texts.head]))
    training = made("training", texts.training) if len(texts.training) >= _FEWEST_TRAINING else None
    truth = exact_top(place.cache / "truth", documents, queries, progress)
    return Corpus(name, documents, queries, pseudo, training, truth, texts.relevant)


def document_texts(name: str, place: Place) -> Sequence[str]:
    """The texts whose vectors are the documents of a collection, in order."""
    texts = _texts(name, place)
    return texts.documents[: texts.head]


def passages(texts: Sequence[str], count: int = 2_000, words: int = 12) -> list[str]:
    """A run of `words` words out of each of `count` documents, drawn at random with seed 0; fewer from fewer."""
    chooser = random.Random(0)  # noqa: S311 - a reproducible sample
    chosen = []
    for row in sorted(chooser.sample(range(len(texts)), min(count, len(texts)))):
        found = texts[row].split()
        if found:
            start = chooser.randrange(max(1, len(found) - words + 1))
            chosen.append(" ".join(found[start : start + words]))
    return chosen


@dataclass(frozen=True)
class _Texts:
    """Texts of a collection, of which only the first `head` documents are used. dim: dimensions to keep at most."""

    folder: str
    documents: Sequence[str]
    queries: Sequence[str]
    training: Sequence[str]
    head: int
    dim: int
    relevant: Sequence[int] | None = None


def _texts(name: str, place: Place) -> _Texts:
    return _packages(name, place) if name in _SIZES else _beir(name, place)


def _packages(name: str, place: Place) -> _Texts:
    if place.quick:
        made = collection(place.quick_documents, place.quick_queries, training=_FEWEST_TRAINING)
    else:
        made = collection(_SIZES[PACKAGES])
    head = min(_SIZES[name], len(made.documents))
    return _Texts("packages", made.documents, made.queries, made.training, head, DIM, made.relevant)


def _beir(name: str, place: Place) -> _Texts:
    """Unjudged queries serve for fitting: SciFact's are those of its training split."""
    folder = place.data / name
    if not folder.is_dir():
        raise InvalidInputError(f"the data folder holds no collection {name!r}")
    dataset = load_beir(folder)
    training = [text for id_, text in load_queries(folder).items() if id_ not in dataset.queries]
    documents = [encoded_text(document) for document in dataset.documents]
    queries = list(dataset.queries.values())
    if place.quick:
        documents, queries = documents[: place.quick_documents], queries[: place.quick_queries]
        training = training[:_FEWEST_TRAINING]
    return _Texts(name, documents, queries, training, len(documents), 1 << 30)
