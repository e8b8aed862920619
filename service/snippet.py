"""The part of a text worth showing under a search result, and the words in it that match the query."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from ..retrieval.lexical import words

WIDTH = 240
"""Characters of a snippet, about three lines of a terminal."""
MAX_SCANNED = 200_000
"""Characters of a text that are searched for a window."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_SPACE = re.compile(r"\s+")
_FORMATTING = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb"
_ACTING = re.compile(f"[\x00-\x1f{_FORMATTING}]")
_ACTING_BUT_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_FORMATTING}]")
_SUFFIXES = ("ingly", "edly", "ings", "ing", "ies", "ied", "ed", "es", "ly", "s", "y", "e")


@dataclass(frozen=True)
class Snippet:
    """A stretch of a text, white space collapsed and control characters removed.

    matches: character spans `(start, end)` in `text` of the words that match the query.
    before, after: whether the text goes on at that side.
    """

    text: str
    matches: list[tuple[int, int]] = field(default_factory=list)
    before: bool = False
    after: bool = False


@dataclass(frozen=True)
class _Word:
    start: int
    end: int
    term: str


def printable(text: str, *, keep_lines: bool = False) -> str:
    """The text without what would act on a terminal or reorder it: control and bidi characters, lone surrogates.

    Each becomes a space, so that character offsets stay valid. `keep_lines` leaves newlines and tabs.
    """
    return (_ACTING_BUT_LINES if keep_lines else _ACTING).sub(" ", text)


def stem(word: str) -> str:
    """A word without case, accents and common English endings: equal stems are shown as a match.

    Only for highlighting, where a wrong match costs nothing; the lexical index has a stemmer of its own.
    """
    folded = unicodedata.normalize("NFKD", word.casefold())
    folded = "".join(char for char in folded if not unicodedata.combining(char))
    for suffix in _SUFFIXES:
        if folded.endswith(suffix) and len(folded) - len(suffix) >= 3 and not folded.endswith("ss"):
            return _undouble(folded.removesuffix(suffix))
    return folded


def _undouble(base: str) -> str:
    return base[:-1] if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "aeiouls" else base


def query_terms(query: str) -> frozenset[str]:
    """Stems of the query's words; stop words count only where there is nothing else."""
    return frozenset(stem(part) for word in words(query) for part in _WORD.findall(word))


def match_spans(text: str, query: str) -> list[tuple[int, int]]:
    """Spans `(start, end)` of the words of `text` that match a word of the query."""
    terms = query_terms(query)
    return [(word.start, word.end) for word in _words(text) if word.term in terms]


def snippet(text: str, query: str, width: int = WIDTH) -> Snippet:
    """The window of at most about `width` characters with the most different query words in it.

    Among equals the one with more matches wins, then the earlier one; a text without any match shows its beginning.
    """
    text = _SPACE.sub(" ", printable(text[:MAX_SCANNED])).strip()
    if len(text) <= width:
        return Snippet(text, match_spans(text, query))
    terms = query_terms(query)
    hits = [word for word in _words(text) if word.term in terms]
    start, end = _window(text, hits, width)
    inside = [(hit.start - start, hit.end - start) for hit in hits if start <= hit.start and hit.end <= end]
    return Snippet(text[start:end].rstrip(), inside, before=start > 0, after=end < len(text))


def _words(text: str) -> list[_Word]:
    stems: dict[str, str] = {}
    found = []
    for match in _WORD.finditer(text):
        word = match.group()
        if word not in stems:
            stems[word] = stem(word)
        found.append(_Word(match.start(), match.end(), stems[word]))
    return found


def _window(text: str, hits: list[_Word], width: int) -> tuple[int, int]:
    first, last = _densest(hits, width)
    if first is None or last is None:
        return 0, _cut_before(text, width)
    spare = max(0, width - (last.end - first.start))
    start = _sentence_start(text, first.start, spare // 2)
    start = max(0, min(start, len(text) - width))
    if start and text[start - 1] != " ":
        space = text.find(" ", start, first.start)
        start = space + 1 if space >= 0 else first.start
    end = min(len(text), start + width)
    return start, max(last.end, _cut_before(text, end))


def _densest(hits: list[_Word], width: int) -> tuple[_Word | None, _Word | None]:
    """First and last hit of the best window: two pointers over the hits."""
    best: tuple[int, int] = (0, 0)
    found: tuple[_Word | None, _Word | None] = (None, None)
    inside: Counter[str] = Counter()
    left = 0
    for right, hit in enumerate(hits):
        inside[hit.term] += 1
        while left < right and hit.end - hits[left].start > width:
            inside[hits[left].term] -= 1
            left += 1
        distinct = sum(1 for count in inside.values() if count)
        if (distinct, right - left + 1) > best:
            best, found = (distinct, right - left + 1), (hits[left], hit)
    return found


def _sentence_start(text: str, position: int, reach: int) -> int:
    """Where the sentence that holds `position` begins, if that is within `reach` characters; else `reach` back."""
    earliest = max(0, position - reach)
    if earliest == 0:
        return 0
    for mark in (". ", "? ", "! ", "; ", ": "):
        found = text.rfind(mark, earliest, position)
        if found >= 0:
            return found + len(mark)
    return earliest


def _cut_before(text: str, end: int) -> int:
    """`end` moved back to the end of a word, unless the text has no space near."""
    if end >= len(text) or text[end] == " ":
        return min(end, len(text))
    space = text.rfind(" ", end - 40 if end > 40 else 0, end)
    return space if space > 0 else end
