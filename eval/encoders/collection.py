"""A judged collection, and the token vectors that an encoder makes of it, kept on disk for each encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...encoders.base import Encoder, load_encoder
from ...encoders.embeddings import FloatArray, TokenEmbeddings
from ...encoders.errors import InvalidInputError
from ...retrieval.documents import encoded_text
from ..beir import Dataset, load_beir
from ..corpora import Place
from ..metrics import Rankings, quality
from ..truth import best
from ..vectors import Source, Vectors, load, stored

_HOME, _DOCUMENTS, _QUERIES = "encoders", "documents", "queries"
_DEPTH = 100


@dataclass(frozen=True, eq=False)
class Collection:
    """Documents, queries and judgements."""

    dataset: Dataset

    @property
    def documents(self) -> Sequence[str]:
        """The text of each document, as an encoder sees it."""
        return [encoded_text(document) for document in self.dataset.documents]

    @property
    def queries(self) -> Sequence[str]:
        """The text of each query."""
        return list(self.dataset.queries.values())

    @property
    def digest(self) -> str:
        """Changes with any text, id or judgement."""
        data = self.dataset
        parts = [[(d.id, encoded_text(d)) for d in data.documents], list(data.queries.items()), data.qrels]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def judged(self, run: Rankings) -> float:
        """Mean nDCG@10."""
        return quality(run, self.dataset.qrels).ndcg_at_10

    def ndcg(self, scores: FloatArray) -> float:
        """Mean nDCG@10 of `(queries, documents)` scores; ties are ordered as the corpus is."""
        documents = self.dataset.documents
        found = best(scores, _DEPTH).tolist()
        run = {
            query: [(documents[row].id, -float(rank)) for rank, row in enumerate(rows)]
            for query, rows in zip(self.dataset.queries, found, strict=True)
        }
        return self.judged(run)


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token vectors of a collection by one encoder, unpooled and of all its dimensions."""

    documents: Vectors
    queries: Vectors

    def at(self, dim: int) -> tuple[TokenEmbeddings, TokenEmbeddings]:
        """Documents and queries in memory, their leading `dim` dimensions rescaled to length 1."""
        parts = [block.leading(dim) for block in self.documents.blocks()]
        return TokenEmbeddings.concatenate(parts), self.queries.read().leading(dim)


def open_collection(name: str, place: Place) -> Collection:
    """A BEIR folder under `place.data`; its first documents and queries when `place.quick`.

    Raises `InvalidInputError`, saying why, where it cannot be had.
    """
    folder = place.data / name
    if not folder.is_dir():
        raise InvalidInputError(f"the data folder holds no collection {name!r}")
    whole = load_beir(folder)
    if not place.quick:
        return Collection(whole)
    queries = dict(list(whole.queries.items())[: place.quick_queries])
    qrels = {query: whole.qrels[query] for query in queries}
    return Collection(Dataset(name, whole.documents[: place.quick_documents], queries, qrels))


def unpooled(name: str) -> Encoder:
    """An encoder that keeps the vectors of all tokens; nothing is downloaded. Raises `EncoderError` and the like."""
    encoder = load_encoder(name, offline=True)
    return encoder if encoder.fingerprint.pooling == "none" else load_encoder(f"{name}:none", offline=True)


def encode(collection: Collection, encoder: Encoder, place: Place) -> dict[str, Any]:
    """Make the vectors of a collection, unless they are there. Returns their folder below the cache, and sizes."""
    head = f"{collection.dataset.name}-quick" if place.quick else collection.dataset.name
    home = Path(_HOME) / encoder.fingerprint.digest / head
    documents = stored(place.cache / home / _DOCUMENTS, Source(collection.documents, encoder, encoder.dim))
    stored(place.cache / home / _QUERIES, Source(collection.queries, encoder, encoder.dim, queries=True))
    return {"vectors": str(home), "dim": encoder.dim, "tokens": documents.tokens, "model": str(encoder.fingerprint)}


def encoded(home: str, place: Place) -> Encoded:
    """What `encode` made. Raises `StorageError` when it cannot be read."""
    return Encoded(load(place.cache / home / _DOCUMENTS), load(place.cache / home / _QUERIES))
