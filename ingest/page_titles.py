"""What a window of a page is called: the file and what stands at the head of the page.

A window in the middle of a table says neither whose table it is nor what of. Its title, which is encoded with it, says
both: on filings of companies that is worth more than any other choice (`eval/reports/pages.md`).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_CHARACTERS = 300
_HEADING_CHARACTERS = 120
_HEADING_WORDS = 14
_FEW_WORDS = 5
_HEADING_LINES = 2
_TELLING_WORDS = 3
_LINES = 6
"""Lines of a page among which its heading is."""
_JUNK_TITLE = re.compile(r"(untitled.*|.*\.(docx?|rtf|indd|qxd|tex|dvi|ps|pdf)|microsoft (word|powerpoint) - .*)", re.I)
_CONTENTS = re.compile(r"(table of )?contents", re.I)
_APART = re.compile(r"[\W_]+")


def file_title(title: str, source: str) -> str:
    """What a file is called in few words.

    Its name if that has several words, as somebody gave it who had to tell it from others; else the title in its
    metadata, with the words of the name that this lacks; else the name, such as it is.
    """
    words = _APART.sub(" ", PurePosixPath(source).stem).split()
    name = " ".join(words)[:_CHARACTERS] or PurePosixPath(source).name
    if (len(words) >= _TELLING_WORDS and not words[0].isdigit()) or not _says_something(title):
        return name
    title = title[:_CHARACTERS]
    known = set(_APART.split(title.casefold()))
    return title if known.issuperset(name.casefold().split()) else f"{title} ({name})"


def page_title(title: str, text: str) -> str:
    """The title of a page's windows, given the file's and the text of the page."""
    heading = page_heading(text)
    return f"{title}: {heading}" if heading else title


def page_heading(text: str) -> str:
    """The first line or two of a page if they look like a heading or a running head, else an empty string."""
    found: list[str] = []
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    for line in lines[:_LINES]:
        if _CONTENTS.fullmatch(line):
            continue
        if not _is_heading(line):
            break
        found.append(" ".join(line.split()))
        if len(found) == _HEADING_LINES:
            break
    return " ".join(found)[:_HEADING_CHARACTERS]


def _is_heading(line: str) -> bool:
    """Whether a line is short and not prose: of a longer one, most words that carry meaning have a capital."""
    words = line.split()
    letters = sum(character.isalpha() for character in line) / len(line)
    if len(words) > _HEADING_WORDS or letters <= 0.6 or not line[0].isupper() or line.endswith((".", ",", ";")):
        return False
    long = [word for word in words if len(word) > 3]
    return len(words) <= _FEW_WORDS or 2 * sum(word[0].isupper() for word in long) > len(long)


def _says_something(title: str) -> bool:
    """Whether the title in a PDF's metadata does: tools write file names and numbers there."""
    return sum(character.isalpha() for character in title) >= 4 and _JUNK_TITLE.fullmatch(title) is None
