"""Which kind of token each document vector stands for, as an index with token-aware clusters asks for."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from ...encoders.base import Encoder
from ...encoders.embeddings import IntArray

_BLOCK = 1_000
Key = tuple[str, bool]


def token_ids(encoder: Encoder, texts: Sequence[str]) -> IntArray:
    """`(vectors of all texts,)` int64: equal where vectors stand for the same piece of text.

    Pieces are compared as an uncased tokenizer does, without case and accents; one that continues a word differs from
    one that begins it. Markers that stand for no text have ids of their own, one at the start and one elsewhere.
    """
    known: dict[Key, int] = {}
    found: list[int] = []
    for start in range(0, len(texts), _BLOCK):
        part = list(texts[start : start + _BLOCK])
        for text, spans in zip(part, encoder.document_spans(part), strict=True):
            found += [known.setdefault(key, len(known)) for key in _keys(text, spans.tolist())]
    return np.array(found, np.int64)


def _keys(text: str, spans: Sequence[Sequence[int]]) -> list[Key]:
    keys: list[Key] = []
    last = 0
    for number, (begin, end) in enumerate(spans):
        if begin == end:
            keys.append(("", number == 0))
            continue
        joined = last == begin > 0 and text[begin - 1].isalnum() and text[begin].isalnum()
        keys.append((_plain(text[begin:end]), joined))
        last = end
    return keys


def _plain(piece: str) -> str:
    if piece.isascii():
        return piece.lower()
    parts = unicodedata.normalize("NFD", piece.lower())
    return "".join(part for part in parts if unicodedata.category(part) != "Mn")
