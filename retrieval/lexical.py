"""A user's words as an FTS5 query: every word quoted, so that nothing in it is syntax."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"\w+")
_MAX_WORDS: Final = 256
_STOP_WORDS: Final = frozenset(
    "a about all also am an and any are as at be been but by can could did do does for from had has have he her his "
    "how i if in into is it its just me my no not of on one or our she so some such than that the their them then "
    "there these they this those to was we were what when where which who whom why will with would you your".split()
)


def words(text: str) -> list[str]:
    """The distinct words of a query that are worth matching, in order."""
    return list(dict.fromkeys(_worth_matching(text)))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of a query that are worth matching stand in it, ascending."""
    found = [match.span() for match in _WORD.finditer(text)]
    return [(start, end) for start, end in found if text[start:end].lower() not in _STOP_WORDS] or found


def match_expression(text: str) -> str:
    """The FTS5 expression that finds documents with any of the words; empty when there is no word.

    A word that the query repeats is repeated, so that BM25 weighs it by its frequency in the query.
    """
    return " OR ".join(f'"{word}"' for word in _worth_matching(text))


def _worth_matching(text: str) -> list[str]:
    """Without stop words, unless nothing else is there: they match almost every document and rank none."""
    found = [word.lower() for word in _WORD.findall(text)]
    return ([word for word in found if word not in _STOP_WORDS] or found)[:_MAX_WORDS]
