"""Token vectors of all training texts, computed once by a frozen encoder and kept on disk as float16."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..base import Encoder, Progress, Spans
from ..embeddings import IntArray, TokenEmbeddings
from ..errors import StorageError

CHUNK = 2048
"""Texts encoded and recorded at a time: what an interrupted run loses at most."""

Terms = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class TokenCache:
    """Token vectors of `n` texts.

    vectors: `(total, dim)` float16, read from disk as needed. offsets: `(n + 1,)` int64. terms: `(total,)` uint32, a
    checksum of the word piece that each vector stands for, 0 for markers. texts: the place of each text. digest: of
    texts and encoder.
    """

    vectors: npt.NDArray[np.float16]
    offsets: IntArray
    terms: Terms
    texts: dict[str, int]
    digest: str

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.vectors.shape[1])

    def embeddings(self, rows: IntArray) -> TokenEmbeddings:
        """Token vectors of some texts, as float32."""
        return TokenEmbeddings.from_list(
            [self.vectors[self.offsets[i] : self.offsets[i + 1]] for i in rows], dim=self.dim
        )

    def terms_of(self, row: int) -> Terms:
        """Word pieces of one text."""
        return self.terms[self.offsets[row] : self.offsets[row + 1]]

    def means(self) -> npt.NDArray[np.float32]:
        """`(n, dim)` float32: the mean vector of each text, scaled to length 1."""
        means = np.empty((len(self), self.dim), np.float32)
        for i in range(len(self)):
            means[i] = self.vectors[self.offsets[i] : self.offsets[i + 1]].mean(axis=0, dtype=np.float32)
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
        return means


def cache_tokens(
    root: Path, texts: Sequence[str], encoder: Encoder, limit: int, phase: str, progress: Progress | None = None
) -> TokenCache:
    """The vectors of `texts`, each cut to at most `limit` tokens: from the cache below `root`, or encoded into it.

    An interrupted encoding goes on where it stopped. Raises `StorageError` when the disk refuses.
    """
    unique = list(dict.fromkeys(texts))
    folder = root / _key(unique, encoder, limit)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "vectors.npy").exists():
            _prepare(folder, unique, encoder, limit)
        _fill(folder, unique, encoder, phase, progress)
        return TokenCache(
            np.load(folder / "vectors.npy", mmap_mode="r"),
            np.load(folder / "offsets.npy"),
            np.load(folder / "terms.npy"),
            {text: i for i, text in enumerate(unique)},
            folder.name,
        )
    except OSError as error:
        raise StorageError(error.errno, f"the cache of token vectors {folder}: {error.strerror}") from error


def cut(text: str, spans: Spans, limit: int) -> str:
    """The beginning of a text that has at most `limit` tokens, markers included, cut between words."""
    if len(spans) <= limit:
        return text
    end = int(spans[max(limit - 2, 0), 1])
    if end < len(text) and text[end].isalnum() and text[end - 1 : end].isalnum():
        start = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))
        end = start if start > 0 else end
    return text[:end]


def _prepare(folder: Path, texts: Sequence[str], encoder: Encoder, limit: int) -> None:
    """Lay out the files: which tokens there will be, and room for their vectors."""
    lengths, terms, ends = [], [], []
    for text in texts:
        (spans,) = encoder.document_spans([text])
        part = cut(text, spans, limit)
        if len(part) < len(text):
            (spans,) = encoder.document_spans([part])
        ends.append(len(part))
        lengths.append(len(spans))
        terms.append(np.array([zlib.crc32(part[a:b].lower().encode("utf-8", "replace")) for a, b in spans], np.uint32))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "terms.npy", np.concatenate(terms) if terms else np.empty(0, np.uint32))
    _record(folder, {"done": 0, "ends": ends})
    fresh, shape = folder / "vectors.npy.new", (int(offsets[-1]), encoder.dim)
    np.lib.format.open_memmap(fresh, mode="w+", dtype=np.float16, shape=shape).flush()
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here; in the pages of a sparse file, a dead process
        with fresh.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, fresh.stat().st_size)
    fresh.replace(folder / "vectors.npy")


def _fill(folder: Path, texts: Sequence[str], encoder: Encoder, phase: str, progress: Progress | None) -> None:
    state = json.loads((folder / "state.json").read_bytes())
    if state["done"] == len(texts):
        return
    offsets = np.load(folder / "offsets.npy")
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", mode="r+")
    for start in range(state["done"], len(texts), CHUNK):
        stop = min(start + CHUNK, len(texts))
        made = encoder.encode_documents([texts[i][: state["ends"][i]] for i in range(start, stop)])
        vectors[offsets[start] : offsets[stop]] = made.vectors
        vectors.flush()
        _record(folder, state | {"done": stop})
        if progress is not None:
            progress(phase, stop, len(texts))


def _record(folder: Path, state: dict[str, Any]) -> None:
    temporary = folder / "state.json.new"
    temporary.write_text(json.dumps(state), encoding="utf-8")
    temporary.replace(folder / "state.json")


def _key(texts: Sequence[str], encoder: Encoder, limit: int) -> str:
    total = hashlib.sha256(f"{encoder.fingerprint.digest} {limit}".encode())
    for text in texts:
        content = text.encode("utf-8", "replace")
        total.update(len(content).to_bytes(8, "little") + content)
    return total.hexdigest()[:16]
