"""Any multi-vector checkpoint that `sentence-transformers` can load (extra `models`).

Native `MultiVectorEncoder`, PyLate and Stanford ColBERT checkpoints, by path or hub name; and those with our
`CrispPooling`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import Fingerprint, Progress, Spans
from .batches import length_batches, require_list
from .checkpoint import find_checkpoint, vet_checkpoint, weights_hash
from .embeddings import FloatArray, TokenEmbeddings
from .errors import EncoderError, InvalidInputError, MissingExtraError

TOKENS_PER_BATCH = 8192
CHARACTERS_PER_TOKEN = 3
"""Low estimate, used only to group texts of like length."""


class SentenceTransformersEncoder:
    """Token embeddings by a `sentence_transformers.MultiVectorEncoder`, with its own prompts, masks and lengths.

    Weights are loaded from safetensors files only, as float32. Text that spells a special token of the tokenizer is
    encoded as text. With `threads`, torch is limited to that many CPU threads in the whole process.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int | None = None,
        offline: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        """Find, vet and load the checkpoint `name`, a folder or a hub name.

        Raises `EncoderError` when it is missing, unfit or refused, `MissingExtraError` without the extra `models`.
        """
        if threads is not None and threads < 1:
            raise InvalidInputError(f"threads is {threads}; expected at least 1, or None for all cores")
        self._folder = find_checkpoint(name, offline=offline, trust_remote_code=trust_remote_code)
        self._name = str(self._folder.resolve()) if Path(name).expanduser().is_dir() else name
        vet_checkpoint(self._folder, trust_remote_code=trust_remote_code)
        self._model = _load(name, self._folder, threads, offline, trust_remote_code)
        self._markers = marker_pattern(self._model.tokenizer)
        self._dim = int(self._model.get_embedding_dimension())

    @property
    def name(self) -> str:
        """The hub name given at construction, or the absolute path."""
        return self._name

    @property
    def dim(self) -> int:
        """Number of dimensions of each token vector."""
        return self._dim

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the vectors, from the hash of the checkpoint's files, the token pooling and the prompts."""
        pooling = [f"{type(module).__name__}{module.get_config_dict()}" for module in self._poolings()]
        prompts = {key: text for key, text in sorted(self._model.prompts.items()) if text}
        return Fingerprint(self._name, weights_hash(self._folder), self._dim, ", ".join(pooling) or "none", prompts)

    def encode_queries(self, texts: Sequence[str]) -> TokenEmbeddings:
        """Token vectors of queries, `(total, dim)` float32, expansion tokens included where the model has them."""
        return self._encode(self._model.encode_query, texts, None)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> TokenEmbeddings:
        """Token vectors of documents, `(total, dim)` float32, in order; tokens that the model skips have none."""
        return self._encode(self._model.encode_document, texts, progress)

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Characters of each query vector, `(vectors, 2)` int32 per text; `(0, 0)` for markers and expansion.

        Pooled vectors as in `document_spans`.
        """
        require_list(texts)
        return [self._spans(text, "query") for text in texts]

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Characters of each document vector, `(vectors, 2)` int32 per text; `(0, 0)` for markers.

        A vector that `CrispPooling` made has the characters of its most similar token among those it stands for; one
        that another pooling made has `(0, 0)`.
        """
        require_list(texts)
        return [self._spans(text, "document") for text in texts]

    def _encode(self, encode: Callable[..., Any], texts: Sequence[str], progress: Progress | None) -> TokenEmbeddings:
        require_list(texts)
        items: list[FloatArray] = [np.empty((0, self._dim), np.float32)] * len(texts)
        limit = self._model.max_seq_length or TOKENS_PER_BATCH
        estimates = np.array([min(len(text) // CHARACTERS_PER_TOKEN + 2, limit) for text in texts], np.int64)
        done = 0
        for batch in length_batches(estimates, TOKENS_PER_BATCH):
            plain = [self._without_markers(texts[i]) for i in batch]
            made = encode(plain, batch_size=len(batch), show_progress_bar=False, convert_to_numpy=True)
            for i, vectors in zip(batch, made, strict=True):
                items[i] = np.asarray(vectors, np.float32)
            done += len(batch)
            if progress is not None:
                progress("encode", done, len(texts))
        return TokenEmbeddings.from_list(items, dim=self._dim)

    def _spans(self, text: str, task: str) -> Spans:
        """Offsets of the tokens that the model scores, by its own tokenization and its own mask."""
        spans, scored = self._token_spans(text, task)
        poolings = [pooling for pooling in self._poolings() if pooling.applies_to(task)]
        if not poolings:
            return spans[scored]
        encode = self._model.encode_query if task == "query" else self._model.encode_document
        (made,) = encode([self._without_markers(text)], output_value=None, show_progress_bar=False)
        kept = made["attention_mask"].bool().cpu().numpy()
        if len(poolings) > 1 or "central_tokens" not in made:
            return np.zeros((int(kept.sum()), 2), np.int32)
        pooled: Spans = spans[made["central_tokens"].cpu().numpy()[kept]]
        return pooled

    def _token_spans(self, text: str, task: str) -> tuple[Spans, npt.NDArray[np.bool_]]:
        """Offsets of all tokens, `(tokens, 2)` int32, and which of them the model scores, before any pooling."""
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        prompt = self._model.prompts.get(task) or ""
        features = self._model.preprocess(
            [self._without_markers(text)],
            prompt=prompt,
            task=task,
            processing_kwargs={"text": {"return_offsets_mapping": self._model.tokenizer.is_fast}},
        )
        offsets = features.pop("offset_mapping", None)
        for module in self._model:
            if isinstance(module, MultiVectorMask):
                features = module(features, task=task)
        scored = features["attention_mask"][0].bool().cpu().numpy()
        spans = np.zeros((len(scored), 2), np.int32)
        if offsets is not None:
            known = np.asarray(offsets[0], np.int32)[: len(spans)] - len(prompt)
            spans[: len(known)] = np.where(known[:, :1] >= 0, known, 0)
        return spans, scored

    def _poolings(self) -> list[Any]:
        from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling

        return [module for module in self._model if isinstance(module, BaseTokenPooling)]

    def _without_markers(self, text: str) -> str:
        """`text` with the first character of every spelled-out special token blanked; offsets stay as they are."""
        return self._markers.sub(lambda match: " " + match[0][1:], text)


def marker_pattern(tokenizer: Any) -> re.Pattern[str]:
    """Matches the special tokens of a tokenizer and lone surrogates, which no tokenizer takes."""
    special = sorted({str(token) for token in tokenizer.all_special_tokens if token}, key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, special), "[\ud800-\udfff]"]))


def _load(name: str, folder: Path, threads: int | None, offline: bool, trust_remote_code: bool) -> Any:
    try:
        import torch

        from .pooling.modules import load_model
    except ImportError as error:
        raise MissingExtraError(f"the model {name!r}", "models") from error
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with no_progress_bars():
            return load_model(
                folder,
                local_files_only=offline or not trust_remote_code,
                trust_remote_code=trust_remote_code,
                model_kwargs={"use_safetensors": True, "dtype": "float32"},
            )
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError,
        SafetensorError, StrictDataclassError,
    ) as error:  # fmt: skip
        raise EncoderError(f"cannot load the model {name!r} from {folder}: {error}") from error


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep the bars that transformers draws while it reads weights off the terminal."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
