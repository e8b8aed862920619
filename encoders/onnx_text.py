"""Text encoders of a model folder: a tokenizer and an ONNX graph, a head where there is one; no torch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .base import Fingerprint, Progress, Spans
from .batches import length_batches, require_list
from .embeddings import FloatArray, IntArray, TokenEmbeddings
from .errors import EncoderError, InvalidInputError
from .head import HEAD_FILE, Head
from .head_graph import INPUTS as HEAD_INPUTS
from .head_graph import feeds as head_feeds
from .head_graph import with_head
from .model_folder import GRAPH_FILE, NO_POOLING, ModelChoice, ModelFolder, find_bundled
from .onnx_session import (
    CHARACTERS_PER_TOKEN,
    cores,
    graph_errors,
    map_in_threads,
    open_tokenizer,
    session_of,
    without_surrogates,
)
from .pooling.base import Assignments, Pooling, pool

if TYPE_CHECKING:
    import onnxruntime
    import tokenizers

TOKENS_PER_BATCH = 256
"""Small enough for the activations to stay in the cache of one core, which measures faster than larger batches."""
CACHED_QUERIES = 128

_INPUTS, _DIMS = dict.fromkeys(("ids", "lengths"), "tensor(int64)"), {"dims": "tensor(int64)"}


class _Loaded(NamedTuple):
    """The opened files of a model; the head is in the graph."""

    tokenizer: tokenizers.Tokenizer
    session: onnxruntime.InferenceSession
    head: Head | None


class OnnxTextEncoder:
    """Token embeddings of texts on the CPU.

    Each vector has length 1, unless a pooling of raw means is asked for; the first one of a query, the length by which
    the head says that it counts.
    Files are opened on first use. A text's vectors do not depend on the texts encoded with it.
    """

    def __init__(
        self,
        name: str,
        folder: ModelFolder,
        dim: int | None = None,
        *,
        pooling: Pooling | None = None,
        threads: int | None = None,
    ) -> None:
        """Encode with the model in `folder`, to `dim` dimensions (all when None), on `threads` threads (all cores).

        pooling: of documents; the model's own when None. Queries keep the vectors of all their tokens.

        Raises `InvalidInputError` on a number of threads or dimensions that cannot be had.
        """
        if threads is not None and threads < 1:
            raise InvalidInputError(f"threads is {threads}; expected at least 1, or None for all cores")
        self._name = name
        self._folder = folder
        self._dim = folder.dims if dim is None else dim
        folder.require_dim(self._dim)
        self._pooling = folder.pooling if pooling is None else pooling
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._queries = _QueryCache(CACHED_QUERIES)

    @classmethod
    def of(cls, choice: ModelChoice, *, threads: int | None = None) -> OnnxTextEncoder:
        """The encoder that a name asks for, on `threads` CPU threads (all cores when None)."""
        return cls(choice.name, choice.folder, choice.dim, pooling=choice.pooling, threads=threads)

    @classmethod
    def bundled(cls, name: str, *, threads: int | None = None) -> OnnxTextEncoder:
        """The encoder shipped under this name, `NAME[-DIM][:POOLING]`, on `threads` CPU threads (all cores when None).

        Raises `EncoderError` when there is none or when its description cannot be read.
        """
        return cls.of(find_bundled(name), threads=threads)

    @property
    def name(self) -> str:
        """The name that `load_encoder` accepts."""
        return self._name

    @property
    def dim(self) -> int:
        """Number of dimensions of each token vector."""
        return self._dim

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the vectors, from the recorded checksums; no file but `model.json` is read."""
        return Fingerprint(self._name, self._folder.weights, self._dim, str(self._pooling))

    def encode_queries(self, texts: Sequence[str]) -> TokenEmbeddings:
        """Token vectors of queries, `(total, dim)` float32; repeated queries are answered from a small cache."""
        require_list(texts)
        known = self._queries.find(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            encoded = self._encode(missing, NO_POOLING)
            head = self._load().head
            fresh = {text: encoded[i].copy() for i, text in enumerate(missing)}
            for vectors in fresh.values():
                vectors[:1] *= 1 if head is None else head.marker
            self._queries.store(fresh)
            known |= fresh
        return TokenEmbeddings.from_list([known[text] for text in texts], dim=self._dim)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> TokenEmbeddings:
        """Token vectors of documents, or the pooled ones, `(total, dim)` float32, in order; long texts are cut.

        Working memory beyond the result is bounded by the token budget of a batch, whatever the number of texts.
        """
        require_list(texts)
        return self._encode(texts, self._pooling, progress)

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Characters of each query vector, `(vectors, 2)` int32 per text; `(0, 0)` for the markers at both ends."""
        require_list(texts)
        return [np.array(self._tokenize(text).offsets, np.int32) for text in texts]

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Characters of each document vector, `(vectors, 2)` int32 per text; `(0, 0)` for the markers.

        A pooled vector has those of the token most similar to it, among the tokens with characters that it stands for.
        """
        spans = self.query_spans(texts)
        if self._pooling.kind == "none" or not spans:
            return spans
        tokens = self._encode(texts, NO_POOLING)
        pooled, places = pool(tokens, self._pooling)
        flat = np.concatenate(spans)
        chosen = flat[_central_tokens(tokens, pooled, places, flat[:, 1] > flat[:, 0])]
        return np.split(chosen, pooled.offsets[1:-1])

    def _tokenize(self, text: str) -> tokenizers.Encoding:
        tokenizer = self._load().tokenizer
        head = text[: self._folder.max_tokens * CHARACTERS_PER_TOKEN]
        return tokenizer.encode(without_surrogates(head))

    def _encode(self, texts: Sequence[str], pooling: Pooling, progress: Progress | None = None) -> TokenEmbeddings:
        ids = [np.array(self._tokenize(text).ids, np.int64) for text in texts]
        lengths = np.array([len(item) for item in ids], np.int64)
        kept = np.array([pooling.kept(length) for length in lengths.tolist()], np.int64)
        offsets = _offsets(kept)
        vectors = np.empty((int(offsets[-1]), self._dim), np.float32)

        def encode(batch: IntArray) -> int:
            made = self._vectors([ids[i] for i in batch])
            if pooling.kind != "none":
                made, _ = pool(made, pooling)
            for i, part in zip(batch, made, strict=True):
                vectors[offsets[i] : offsets[i + 1]] = part
            return len(batch)

        done = 0
        batches = list(length_batches(lengths, TOKENS_PER_BATCH))
        for count in map_in_threads(encode, batches, self._threads or cores()):
            done += count
            if progress is not None:
                progress("encode", done, len(texts))
        return TokenEmbeddings(vectors, offsets)

    def _vectors(self, ids: Sequence[IntArray]) -> TokenEmbeddings:
        """The vectors of all tokens of a batch, given the `(tokens,)` int64 token ids of each text."""
        _, session, head = self._load()
        lengths = np.array([len(item) for item in ids], np.int64)
        offsets, flat = _offsets(lengths), np.concatenate(ids)
        if not len(flat):
            return TokenEmbeddings(np.empty((0, self._dim), np.float32), offsets)
        more = {"dims": np.array([self._dim], np.int64)} if head is None else head_feeds(lengths, offsets)
        try:
            (made,) = session.run(["vectors"], {"ids": flat, "lengths": lengths, **more})
        except graph_errors() as error:
            raise EncoderError(f"the graph in {self._folder.path} fails: {error}") from error
        if made.shape != (len(flat), self._dim):
            raise EncoderError(
                f"the graph in {self._folder.path} gives vectors of shape {made.shape};"
                f" expected {(len(flat), self._dim)}"
            )
        return TokenEmbeddings(made, offsets)

    def _load(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                head = _head(self._folder) if self._folder.has_head else None
                session = _session(self._folder, head, self._dim)
                self._loaded = _Loaded(open_tokenizer(self._folder), session, head)
            return self._loaded


class _QueryCache:
    """The vectors of the texts asked for last; safe to use from several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._items: OrderedDict[str, FloatArray] = OrderedDict()

    def find(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        with self._lock:
            found = {text: self._items[text] for text in texts if text in self._items}
            for text in found:
                self._items.move_to_end(text)
            return found

    def store(self, items: Mapping[str, FloatArray]) -> None:
        with self._lock:
            self._items.update(items)
            while len(self._items) > self._size:
                self._items.popitem(last=False)


def _offsets(lengths: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _central_tokens(
    tokens: TokenEmbeddings, pooled: TokenEmbeddings, places: Assignments, named: npt.NDArray[np.bool_]
) -> IntArray:
    """`(pooled vectors,)` rows of `tokens`: of those that a vector stands for, the most similar one that is `named`.

    places: `(total,)` int32 as `pool` returns it. named: `(total,)`; vectors without such a token get another.
    """
    rows = np.flatnonzero(places >= 0)
    vector = (np.repeat(pooled.offsets[:-1], tokens.lengths) + places)[rows]
    similarity = np.einsum("ij,ij->i", tokens.vectors[rows], pooled.vectors[vector])
    order = np.lexsort((-np.round(similarity, 4), ~named[rows], vector))  # both members of a pair are equally near
    first = np.searchsorted(vector[order], np.arange(len(pooled.vectors)))
    return rows[order[first]]


def _head(folder: ModelFolder) -> Head:
    head = Head.read(folder.bytes_of(HEAD_FILE))
    if head.dims != folder.dims:
        raise EncoderError(
            f"{folder.path / HEAD_FILE} makes {head.dims} dimensions, its description says {folder.dims}"
        )
    return head


def _session(folder: ModelFolder, head: Head | None, dim: int) -> onnxruntime.InferenceSession:
    graph = folder.bytes_of(GRAPH_FILE)
    if head is not None:
        try:
            graph = with_head(graph, head, dim)
        except EncoderError as error:
            raise EncoderError(f"{GRAPH_FILE} of {folder.path}: {error}") from error
    session = session_of(graph, folder)
    inputs = {item.name: item.type for item in session.get_inputs()}
    outputs = {item.name: item.type for item in session.get_outputs()}
    expected = _INPUTS | (_DIMS if head is None else HEAD_INPUTS)
    if inputs != expected or outputs.get("vectors") != "tensor(float)":
        raise EncoderError(f"{GRAPH_FILE} of {folder.path} is no graph of latefold: it takes {inputs}, gives {outputs}")
    return session
