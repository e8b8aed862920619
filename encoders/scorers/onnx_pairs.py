"""A cross-encoder of a model folder on onnxruntime; no torch."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..batches import length_batches
from ..embeddings import FloatArray, IntArray
from ..errors import EncoderError, InvalidInputError, ScorerError
from ..model_folder import BACKBONE_FILES, DESCRIPTION_FILE, GRAPH_FILE, ModelFolder
from ..onnx_session import (
    CHARACTERS_PER_TOKEN,
    cores,
    graph_errors,
    map_in_threads,
    open_session,
    open_tokenizer,
    without_surrogates,
)
from .base import Pair, checked_pairs, checked_scores

if TYPE_CHECKING:
    import onnxruntime
    import tokenizers

TOKENS_PER_BATCH = 2048
_REQUIRED, _OPTIONAL = ("input_ids", "attention_mask"), "token_type_ids"
_OUTPUT = "logits"


def describe_folder(folder: Path, max_tokens: int) -> None:
    """Write `model.json` of a folder with `model.onnx` and `tokenizer.json`, with the checksums of both.

    max_tokens: the longest pair in tokens, markers included. Raises `EncoderError` when a file is missing.
    """
    try:
        checksums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in BACKBONE_FILES}
    except OSError as error:
        raise EncoderError(f"cannot describe the cross-encoder {folder}: {error}") from error
    description = {"dims": 1, "max_tokens": max_tokens, "sha256": checksums}
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=1) + "\n")


class OnnxCrossEncoder:
    """Scores of pairs by the graph in a folder, on the CPU.

    The graph takes `input_ids`, `attention_mask` and, if it likes, `token_type_ids`, all `(batch, tokens)` int64, and
    gives `logits`, `(batch, 1)` float32, as exporters of Hugging Face models write it; they are the scores, unsquashed.
    `model.json` holds `dims` (1), `max_tokens` and `sha256` of `model.onnx` and `tokenizer.json`, as `describe_folder`
    writes it. Files are opened on first use and are read only if they match their checksums.
    """

    def __init__(self, folder: Path | str, *, threads: int | None = None) -> None:
        """Read the description of `folder`, to run on `threads` threads (all cores when None).

        Raises `EncoderError` naming the file when the description is missing or unusable.
        """
        if threads is not None and threads < 1:
            raise InvalidInputError(f"threads is {threads}; expected at least 1, or None for all cores")
        self._folder = ModelFolder.read(Path(folder).expanduser().resolve())
        if self._folder.dims != 1 or self._folder.backbone is not None or self._folder.has_head:
            raise EncoderError(f"{self._folder.path} holds an encoder of vectors; a cross-encoder has dims 1, no head")
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: tuple[tokenizers.Tokenizer, onnxruntime.InferenceSession] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """`onnx:` and the hash of the recorded checksums and of `max_tokens`; no file but `model.json` is read."""
        return f"onnx:{self._folder.weights}"

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """`(n,)` float32 logits, in order; the longer text of a pair that is too long is cut first.

        Raises `EncoderError` on files that cannot be used and `ScorerError` on a graph that fails or gives something
        other than one finite number a pair. Memory is bounded by the token budget of a batch.
        """
        asked = checked_pairs(pairs)
        tokenizer, _ = self._load()
        limit = self._folder.max_tokens * CHARACTERS_PER_TOKEN
        texts = [(without_surrogates(query[:limit]), without_surrogates(text[:limit])) for query, text in asked]
        encoded = [tokenizer.encode(query, text) for query, text in texts]
        lengths = np.array([len(item.ids) for item in encoded], np.int64)
        scores = np.empty(len(asked), np.float32)

        def run(batch: IntArray) -> FloatArray:
            return self._run([encoded[i] for i in batch])

        batches = list(length_batches(lengths, TOKENS_PER_BATCH))
        made = map_in_threads(run, batches, self._threads or cores())
        for batch, own in zip(batches, made, strict=True):
            scores[batch] = own
        return scores

    def _run(self, items: Sequence[tokenizers.Encoding]) -> FloatArray:
        """Scores of one batch, padded to its longest pair."""
        _, session = self._load()
        feeds = padded(items)
        taken = {item.name for item in session.get_inputs()}
        try:
            (logits,) = session.run([_OUTPUT], {name: value for name, value in feeds.items() if name in taken})
        except graph_errors() as error:
            raise ScorerError(f"the graph in {self._folder.path} fails: {error}") from error
        return checked_scores(logits, len(items), f"the graph in {self._folder.path}")

    def _load(self) -> tuple[tokenizers.Tokenizer, onnxruntime.InferenceSession]:
        with self._lock:
            if self._loaded is None:
                self._loaded = open_tokenizer(self._folder), _session(self._folder)
            return self._loaded


def padded(items: Sequence[tokenizers.Encoding]) -> dict[str, IntArray]:
    """The inputs of a batch by name, each `(pairs, longest)` int64."""
    shape = (len(items), max(len(item.ids) for item in items))
    feeds = {name: np.zeros(shape, np.int64) for name in (*_REQUIRED, _OPTIONAL)}
    for row, item in enumerate(items):
        for name, values in zip(feeds, (item.ids, item.attention_mask, item.type_ids), strict=True):
            feeds[name][row, : len(values)] = values
    return feeds


def _session(folder: ModelFolder) -> onnxruntime.InferenceSession:
    session = open_session(folder)
    inputs = {item.name: item.type for item in session.get_inputs()}
    outputs = {item.name: item.type for item in session.get_outputs()}
    known = {*_REQUIRED, _OPTIONAL}
    fits = set(_REQUIRED) <= set(inputs) <= known and set(inputs.values()) == {"tensor(int64)"}
    if not fits or outputs.get(_OUTPUT) != "tensor(float)":
        raise EncoderError(f"{GRAPH_FILE} of {folder.path} is no cross-encoder: it takes {inputs}, gives {outputs}")
    return session
