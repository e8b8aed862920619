"""Cutting texts into chunks that fit into the encoder's window, without losing where they came from.

Tokens are estimated, not counted: a regular expression costs a tenth of the tokenizer, whose exact count would take a
quarter of the time that encoding takes. The estimate errs on the side of more tokens for English (by a tenth to a
quarter), is exact for Chinese, and falls short for French and German (by a sixth), for which a tenth of the
window is kept free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from semantic_text_splitter import MarkdownSplitter, TextSplitter

_PIECES = re.compile(r"[A-Za-zÀ-ɏ]{1,6}|\d{1,3}|\S")
_FILL = 0.9
_MARKERS = 2
_BLOCK = 32
"""Characters per token of the window handed to the splitter at a time (about seven chunks): its work on text without
line ends, or without white space, grows with their square."""


def estimate_tokens(text: str) -> int:
    """About how many WordPiece tokens a text has."""
    return len(_PIECES.findall(text))


def split(text: str, *, title: str = "", markdown: bool = False, window: int = 256) -> Iterator[tuple[int, int]]:
    """Character ranges `(start, end)` of the chunks of a text, ascending, without white space at their ends.

    A chunk and the title before it take about `window` tokens, markers included; a long title takes at most half. Cuts
    are made at the strongest boundary that fits: headings and blocks of Markdown, paragraphs, sentences, words.
    """
    room = int(window * _FILL) - _MARKERS
    room -= min(estimate_tokens(title[: 8 * window]), room // 2)
    kind = MarkdownSplitter if markdown else TextSplitter
    splitter = kind.from_callback(estimate_tokens, room)
    start = 0
    while start < len(text):
        end = min(len(text), start + _BLOCK * window)
        chunks = splitter.chunk_indices(text[start:end])
        # The last chunk may continue behind the window: it is cut again with what follows.
        if end < len(text) and len(chunks) > 1:
            end = start + chunks.pop()[0]
        for offset, chunk in chunks:
            text_of_chunk = chunk.strip()  # by Python's idea of white space, which is wider than the splitter's
            if text_of_chunk:
                first = start + offset + chunk.index(text_of_chunk)
                yield first, first + len(text_of_chunk)
        start = end
