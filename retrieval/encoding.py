"""An index's encoder: loaded when first needed, and never another than the one that built the index."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, cast

import numpy as np

from ..encoders.base import Encoder, Progress, load_encoder
from ..encoders.embeddings import FloatArray, TokenEmbeddings
from ..encoders.errors import EncoderMismatchError, InvalidEmbeddingsError, InvalidInputError
from ..encoders.pages import PageEncoder
from ..index.tokens.saliency import saliency
from .config import MAX_QUERY_VECTORS, MAX_REAL_QUERIES
from .documents import check_query, encoded_text
from .types import Document

_IMAGES = 4
"""Page images held and encoded at a time."""


class LazyEncoder:
    """stored: what the catalog keeps, or None for an index of the caller's own vectors.

    That is `name`, `digest` and `label`, and `images` for an encoder that reads page images.
    """

    def __init__(self, stored: dict[str, Any] | None, *, threads: int | None = None, offline: bool = False) -> None:
        self.stored = stored
        self._loaded: Encoder | None = None
        self._threads = threads
        self._offline = offline
        self._lock = threading.Lock()

    @classmethod
    def of(cls, encoder: Encoder) -> Self:
        """The form of an encoder that is at hand."""
        fingerprint = encoder.fingerprint
        stored = {"name": encoder.name, "digest": fingerprint.digest, "label": str(fingerprint)}
        lazy = cls({**stored, "images": True} if isinstance(encoder, PageEncoder) else stored)
        lazy.use(encoder)
        return lazy

    @property
    def present(self) -> bool:
        """Whether the index has an encoder, loaded or not."""
        return self.stored is not None

    @property
    def reads_images(self) -> bool:
        """Whether the encoder reads page images, known without loading it."""
        return self.stored is not None and bool(self.stored.get("images"))

    def use(self, encoder: Encoder) -> None:
        """Take the caller's encoder. Raises `EncoderMismatchError` when the index was built by another."""
        if self.stored is None:
            raise EncoderMismatchError(
                f"the index holds vectors brought by the caller, not those of {encoder.fingerprint}: "
                "open it without an encoder"
            )
        if encoder.fingerprint.digest != self.stored["digest"]:
            raise EncoderMismatchError(
                f"the index was built by {self.stored['label']}, but the encoder at hand is {encoder.fingerprint}: "
                "their vectors cannot be compared; use that encoder or index again"
            )
        self._loaded = encoder

    def get(self) -> Encoder | None:
        """The encoder, or None for an index without one."""
        if self.stored is None:
            return None
        with self._lock:
            if self._loaded is None:
                self.use(load_encoder(self.stored["name"], threads=self._threads, offline=self._offline))
            return self._loaded

    @property
    def loaded(self) -> Encoder | None:
        """The encoder if it is at hand."""
        return self._loaded

    def require(self, purpose: str) -> Encoder:
        """The encoder. Raises `InvalidInputError` when the index has none."""
        encoder = self.get()
        if encoder is None:
            raise InvalidInputError(f"this index has no encoder, so it cannot {purpose}: pass embeddings=")
        return encoder


class Encoded(NamedTuple):
    """Token embeddings of documents. saliency: `(total,)` what was attended to each vector, where that was wanted."""

    embeddings: TokenEmbeddings
    saliency: FloatArray | None


def encode_documents(
    encoder: Encoder, documents: Sequence[Document], progress: Progress | None, *, attention: bool
) -> Encoded:
    """Texts by their words, and pages that have an image by that, where the encoder reads images; in order.

    attention: also say how much the model attended to each vector; a text's vectors are weighed by their distance from
    its mean instead. Raises what loading an image and encoding raise, `InvalidInputError` for attention of an encoder
    that reads no images.
    """
    if attention and not isinstance(encoder, PageEncoder):
        raise InvalidInputError(f"{encoder.name} tells no attention: give embeddings with saliency, or keep by another")
    seen = [i for i, document in enumerate(documents) if document.image and isinstance(encoder, PageEncoder)]
    read = sorted(set(range(len(documents))) - set(seen))
    texts = encoder.encode_documents([encoded_text(documents[i]) for i in read], progress if not seen else None)
    parts, weights = [texts], [saliency(texts, "distance") if attention else None]
    for start in range(0, len(seen), _IMAGES):
        batch = [documents[i].image for i in seen[start : start + _IMAGES]]
        pages = cast("PageEncoder", encoder).encode_images(
            [image.load() for image in batch if image is not None], saliency=attention
        )
        parts.append(pages.embeddings)
        weights.append(pages.saliency)
        if progress is not None:
            progress("encode", len(read) + start + len(batch), len(documents))
    places = np.argsort(np.array(read + seen, np.int64), kind="stable")
    joined = TokenEmbeddings.concatenate(parts)
    if not attention:
        return Encoded(joined.take(places), None)
    flat = TokenEmbeddings(np.concatenate([part for part in weights if part is not None])[:, None], joined.offsets)
    return Encoded(joined.take(places), flat.take(places).vectors[:, 0])


def check_item(embeddings: TokenEmbeddings, dim: int, count: int | None) -> None:
    """Check query embeddings. Raises `InvalidEmbeddingsError` on a wrong dimension, number of items or of vectors."""
    if embeddings.dim != dim:
        raise InvalidEmbeddingsError(f"the query has {embeddings.dim} dimensions, the index {dim}")
    if count is not None and len(embeddings) != count:
        raise InvalidEmbeddingsError(f"expected the embeddings of {count} queries, got {len(embeddings)}")
    lengths = embeddings.lengths
    if len(lengths) and (lengths.min() < 1 or lengths.max() > MAX_QUERY_VECTORS):
        raise InvalidEmbeddingsError(
            f"a query has 1 to {MAX_QUERY_VECTORS} vectors, got {lengths.min()} to {lengths.max()}"
        )


def real_queries(encoder: LazyEncoder, queries: Sequence[str] | TokenEmbeddings, dim: int) -> TokenEmbeddings:
    """Queries to calibrate with, encoded, evenly thinned out to as many as are of use.

    Raises `InvalidInputError` on fewer than two, on one text instead of a list, on texts that are no queries, and on
    texts where there is no encoder; `InvalidEmbeddingsError` as `check_item` does.
    """
    if isinstance(queries, str):
        raise InvalidInputError("the queries to calibrate with are a list of texts, not one text")
    if len(queries) < 2:
        raise InvalidInputError("calibrating with real queries takes at least two of them")
    kept = np.unique(np.linspace(0, len(queries) - 1, MAX_REAL_QUERIES).astype(np.int64))
    if isinstance(queries, TokenEmbeddings):
        check_item(queries, dim, None)
        return queries.take(kept)
    texts = [check_query(queries[row]) for row in kept.tolist()]
    return encoder.require("calibrate with texts").encode_queries(texts)
