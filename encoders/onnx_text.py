"""The bundled text encoder: an ONNX graph and a tokenizer file, run by onnxruntime without torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .base import Fingerprint, Progress, Spans
from .batches import length_batches, require_list
from .embeddings import FloatArray, IntArray, TokenEmbeddings
from .errors import EncoderError, InvalidInputError

if TYPE_CHECKING:
    import onnxruntime
    import tokenizers

MODELS = Path(__file__).parent / "models"
BUNDLED: Mapping[str, tuple[str, int]] = {"minilm": ("minilm", 384), "minilm-128": ("minilm", 128)}
"""Name of a bundled encoder to its folder under `models/` and the number of leading dimensions it keeps."""

GRAPH_FILE, TOKENIZER_FILE = "model.onnx", "tokenizer.json"
TOKENS_PER_BATCH = 256
"""Small enough for the activations to stay in the cache of one core, which measures faster than larger batches."""
CACHED_QUERIES = 128
CHARACTERS_PER_TOKEN = 128
"""Text beyond `max_tokens` times this is not even tokenized: bounds the work on a huge text, which is cut anyway."""

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class ModelFolder:
    """A bundled model: its folder, and what its `model.json` says.

    dims: dimensions of the graph's vectors; any prefix of them, rescaled to length 1, is usable too.
    max_tokens: longest text in tokens, markers included; more is cut. checksums: file name to SHA-256.
    """

    path: Path
    dims: int
    max_tokens: int
    checksums: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """Read `model.json`. Raises `EncoderError` naming the file when it is missing or unusable."""
        file = path / "model.json"
        try:
            content = json.loads(file.read_bytes())
            return cls(
                path,
                int(content["dims"]),
                int(content["max_tokens"]),
                {str(name): str(digest) for name, digest in content["sha256"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EncoderError(f"cannot read the model description {file}: {error!r}; reinstall latefold") from error

    def bytes_of(self, name: str) -> bytes:
        """Content of one file, checked. Raises `EncoderError` when it is missing or differs from its checksum."""
        file = self.path / name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise EncoderError(f"cannot read the model file {file}: {error}; reinstall latefold") from error
        if hashlib.sha256(content).hexdigest() != self.checksums.get(name):
            raise EncoderError(f"the model file {file} differs from its checksum; reinstall latefold")
        return content


class OnnxTextEncoder:
    """Token embeddings of texts on the CPU; each vector has length 1, and every token keeps its vector.

    Files are opened on first use. A text's vectors do not depend on the texts encoded with it.
    """

    def __init__(self, name: str, folder: ModelFolder, dim: int, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise InvalidInputError(f"threads is {threads}; expected at least 1, or None for all cores")
        if not 1 <= dim <= folder.dims:
            raise InvalidInputError(f"dim is {dim}; {folder.path} offers 1 to {folder.dims}")
        self._name = name
        self._folder = folder
        self._dim = dim
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: tuple[tokenizers.Tokenizer, onnxruntime.InferenceSession] | None = None
        self._queries = _QueryCache(CACHED_QUERIES)

    @classmethod
    def bundled(cls, name: str, *, threads: int | None = None) -> OnnxTextEncoder:
        """The encoder shipped under this name (see `BUNDLED`), on `threads` CPU threads (all cores when None).

        Raises `EncoderError` when there is none or when its description cannot be read.
        """
        if name not in BUNDLED:
            raise EncoderError(f"no bundled encoder is called {name!r}; there are {', '.join(BUNDLED)}")
        folder, dim = BUNDLED[name]
        return cls(name, ModelFolder.read(MODELS / folder), dim, threads=threads)

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
        folder = self._folder
        identity = [[name, folder.checksums.get(name)] for name in (GRAPH_FILE, TOKENIZER_FILE)]
        weights = hashlib.sha256(json.dumps([*identity, folder.max_tokens]).encode()).hexdigest()
        return Fingerprint(self._name, weights, self._dim)

    def encode_queries(self, texts: Sequence[str]) -> TokenEmbeddings:
        """Token vectors of queries, `(total, dim)` float32; repeated queries are answered from a small cache."""
        require_list(texts)
        known = self._queries.find(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            encoded = self._encode(missing)
            fresh = {text: encoded[i].copy() for i, text in enumerate(missing)}
            self._queries.store(fresh)
            known |= fresh
        return TokenEmbeddings.from_list([known[text] for text in texts], dim=self._dim)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> TokenEmbeddings:
        """Token vectors of documents, `(total, dim)` float32, in order; long texts are cut.

        Working memory beyond the result is bounded by the token budget of a batch, whatever the number of texts.
        """
        require_list(texts)
        return self._encode(texts, progress)

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Characters of each query vector, `(vectors, 2)` int32 per text; `(0, 0)` for the markers at both ends."""
        require_list(texts)
        return [np.array(self._tokenize(text).offsets, np.int32) for text in texts]

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Characters of each document vector, `(vectors, 2)` int32 per text; `(0, 0)` for the markers."""
        return self.query_spans(texts)

    def _tokenize(self, text: str) -> tokenizers.Encoding:
        tokenizer, _ = self._load()
        head = text[: self._folder.max_tokens * CHARACTERS_PER_TOKEN]
        return tokenizer.encode(_SURROGATES.sub("\ufffd", head))

    def _encode(self, texts: Sequence[str], progress: Progress | None = None) -> TokenEmbeddings:
        _, session = self._load()
        ids = [np.array(self._tokenize(text).ids, np.int32) for text in texts]
        lengths = np.array([len(item) for item in ids], np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        vectors = np.empty((int(offsets[-1]), self._dim), np.float32)
        dims = np.array([self._dim], np.int64)

        def encode(batch: IntArray) -> int:
            flat = np.concatenate([ids[i] for i in batch]).astype(np.int64)
            (made,) = session.run(["vectors"], {"ids": flat, "lengths": lengths[batch], "dims": dims})
            for i, part in zip(batch, np.split(made, np.cumsum(lengths[batch])[:-1]), strict=True):
                vectors[offsets[i] : offsets[i + 1]] = part
            return len(batch)

        done = 0
        batches = list(length_batches(lengths, TOKENS_PER_BATCH))
        for count in _map_in_threads(encode, batches, self._threads or _cores()):
            done += count
            if progress is not None:
                progress("encode", done, len(texts))
        return TokenEmbeddings(vectors, offsets)

    def _load(self) -> tuple[tokenizers.Tokenizer, onnxruntime.InferenceSession]:
        with self._lock:
            if self._loaded is None:
                self._loaded = (_tokenizer(self._folder), _session(self._folder))
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


def _tokenizer(folder: ModelFolder) -> tokenizers.Tokenizer:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_buffer(folder.bytes_of(TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(folder.max_tokens)
    tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text, not a marker
    return tokenizer


def _session(folder: ModelFolder) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # one memory plan per shape seen would grow without bound
    return onnxruntime.InferenceSession(folder.bytes_of(GRAPH_FILE), options, providers=["CPUExecutionProvider"])


def _map_in_threads(work: Callable[[IntArray], int], items: Sequence[IntArray], threads: int) -> Iterator[int]:
    """Results of `work` in the order of `items`, on at most `threads` threads.

    Whole batches in parallel scale better than threads inside the layers of one batch, and leave none spinning.
    """
    threads = min(threads, len(items))
    if threads <= 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="latefold-encode")
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
