"""The contract of an encoder, its fingerprint, and how a name becomes one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .embeddings import TokenEmbeddings

Spans = npt.NDArray[np.int32]
Progress = Callable[[str, int, int | None], None]
"""`progress(phase, done, total)`: called with cumulative counts; `total` is None where it is unknown."""


@dataclass(frozen=True)
class Fingerprint:
    """What must be equal for two encoders to produce comparable vectors.

    weights: hash of the weight and tokenizer files. pooling: token pooling applied to documents.
    prompts: texts or marker tokens put before queries and documents.
    """

    model: str
    weights: str
    dim: int
    pooling: str = "none"
    prompts: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Short hash of all but `model`, which is a display name: equal digests mean interchangeable encoders."""
        fields = {key: value for key, value in asdict(self).items() if key != "model"}
        text = json.dumps(fields, sort_keys=True, default=dict)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.model} ({self.dim} dims, {self.digest})"


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into token embeddings. Implementations are safe to call from several threads."""

    @property
    def name(self) -> str:
        """The name or path that `load_encoder` accepts to get this encoder again."""
        ...

    @property
    def dim(self) -> int:
        """Number of dimensions of each token vector."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Identity of the vectors this encoder produces."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> TokenEmbeddings:
        """Token vectors of queries, one item a text, in order."""
        ...

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> TokenEmbeddings:
        """Token vectors of documents, one item a text, in order."""
        ...

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        """For each text, `(vectors, 2)` int32: the characters each query vector stands for; `(0, 0)` for none."""
        ...

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        """For each text, `(vectors, 2)` int32: the characters each document vector stands for; `(0, 0)` for none."""
        ...


DEFAULT_ENCODER = "latefold"


def load_encoder(
    name: str | Path = "default",
    *,
    threads: int | None = None,
    offline: bool = False,
    trust_remote_code: bool = False,
) -> Encoder:
    """Load an encoder by name.

    name: `"default"`; a bundled model or the path of a folder that latefold exported, either as `NAME[-DIM][:POOLING]`
    with fewer dimensions and a pooling of documents (`"latefold"`, `"latefold-64"`, `"minilm:c33%"`, see `Pooling`);
    or the local path or hub name of a `sentence-transformers` multi-vector checkpoint or one of the ColPali family,
    which gives a `PageEncoder` (extra `models`).
    threads: CPU threads to use; all cores when None. offline: never reach for the network.
    trust_remote_code: let a hub checkpoint run its own Python code; off unless asked for.

    Raises `EncoderError` when the model cannot be loaded, `InvalidInputError` when it does not offer the dimensions or
    the pooling has no meaning, `MissingExtraError` when the extra is not installed.
    """
    from .model_folder import find_model

    text = re.sub("^default(?=$|-[0-9]|:)", DEFAULT_ENCODER, str(name))
    choice = find_model(text)
    if choice is not None:
        from .onnx_text import OnnxTextEncoder

        return OnnxTextEncoder.of(choice, threads=threads)
    from .checkpoint import find_checkpoint
    from .page_images.loading import reads_pages

    if reads_pages(find_checkpoint(text, offline=offline, trust_remote_code=trust_remote_code)):
        from .page_images.encoder import PageImagesEncoder

        return PageImagesEncoder(text, threads=threads, offline=offline, trust_remote_code=trust_remote_code)
    from .sentence import SentenceTransformersEncoder

    return SentenceTransformersEncoder(text, threads=threads, offline=offline, trust_remote_code=trust_remote_code)
