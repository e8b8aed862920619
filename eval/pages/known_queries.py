"""Questions whose page is known: headings and captions of documents, chosen by rules that no search result shaped.

A candidate is an outline entry, a line of a table of contents where there is no outline, or the first sentence of a
caption. It becomes a query if all of these hold, `norm` being lower case letters and digits, single spaces between:

- Numbers and the words that number are cut off (`3.2`, `Chapter 4:`, `Figure 7.`).
- It has at least `CONTENT_WORDS` words that mean something, or `WORDS` words in all, and `LONGEST` words at most; it is
  no heading that any book may have (`_BOILERPLATE`), and not the title of its document.
- Its norm occurs in the norm of its page, and that page is no page of contents.
- No other candidate of the collection has the same norm: nobody could tell which of them is meant.
- Its norm occurs on at most `PAGES` pages, pages of contents not counted: a phrase that stands on many pages asks for
  any of them. One that stands on two or three (running heads, a reference to the section) is kept, and only the page
  where the section starts or the caption stands counts as right.

From each document at most `PER_DOCUMENT` are drawn with seed 0, half of them captions where there are so many.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Literal

Kind = Literal["outline", "contents", "caption"]
CONTENT_WORDS: Final = 3
WORDS: Final = 4
LONGEST: Final = 30
PAGES: Final = 3
PER_DOCUMENT: Final = 24
_LEADERS: Final = 5
_LISTED: Final = 8
_BOILERPLATE: Final = frozenset(
    (
        "table of contents", "list of figures", "list of tables", "list of examples", "about this manual",
        "about this document", "about this guide", "how to read this manual", "how to cite", "how to use this manual",
        "frequently asked questions", "conventions used in this manual", "license and warranty", "summary and outlook",
        "summary and discussion", "conclusions and future work", "discussion and conclusions", "computational details",
        "index of keywords", "copyright and license", "terms and conditions", "reporting and fixing bugs",
    )
)  # fmt: skip
_FUNCTION_WORDS: Final = frozenset(
    "a about all an and are as at be between by can do does for from get has have how in into is it its more no not of "
    "on one or other our out over own some such than that the their them then there these they this to up use used "
    "using via was we what when where which who why will with without you your".split()
)
_NUMBERING: Final = re.compile(
    r"(?:(?i:chapter|appendix|section|part|lesson|exercise)\s+(?:\d+|[A-Z]|[IVXLC]+)(?:[.\-]\d+)*|\d+(?:[.\-]\d+)*|"
    r"[A-Z](?:[.\-]\d+)+|(?:I{1,3}|I?[VX]|VI{1,3})(?=[.)])|(?:I{1,3}|IV|VI{1,3})(?=\s))[.):]*\s+(?=\W*[^\W\d_]{2})"
)
_CAPTION: Final = re.compile(r"(?:Figure|Fig\.|Table|Listing)\s+(?:[A-Z]\.?)?\d+(?:[.\-]\d+)*\s*[:.]\s+(\S.*)")
_CAPTION_LINES: Final = 3
_CAPTION_WORDS: Final = 4
_FULL: Final = 0.8
_USUAL: Final = 75
_REFERRING: Final = re.compile(r"\b(?:and|as|by|from|in|of|on|or|see|the|to|with)$", re.IGNORECASE)
_CODE: Final = re.compile(r"[;{}$<>]")
_SENTENCE_END: Final = re.compile(r"(?<![\s(.][A-Za-z])(?<!\b(?:vs|cf|al))(?<!\b(?:etc|Fig|Sec|Rec|Ref))\.(?=\s|$)")
_LEADER: Final = re.compile(r"(?:\.\s?){3,}\s*(?:\d+|[ivxlc]+)\s*$")


@dataclass(frozen=True)
class Pages:
    """A document: its title, the texts of its pages, and its outline as `(page from 0, title)`."""

    file: str
    title: str
    texts: Sequence[str]
    outline: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Question:
    """A query and the page that answers it; page counts from 0."""

    text: str
    file: str
    page: int
    kind: Kind

    @property
    def norm(self) -> str:
        """What is compared."""
        return norm(self.text)


def questions(documents: Sequence[Pages]) -> list[Question]:
    """The queries of a collection, by document and page."""
    contents = {document.file: _contents_pages(document) for document in documents}
    found = [item for document in documents for item in _candidates(document, contents[document.file])]
    shared = Counter(item.norm for item in found)
    texts = [
        (document.file, number, f" {norm(text)} ")
        for document in documents
        for number, text in enumerate(document.texts)
        if number not in contents[document.file]
    ]
    titles = {document.file: norm(document.title) for document in documents}
    good = [
        item
        for item in found
        if shared[item.norm] == 1 and _asks(item.text) and item.norm != titles[item.file] and _placed(item, texts)
    ]
    return [item for document in documents for item in _drawn([one for one in good if one.file == document.file])]


def _candidates(document: Pages, contents: frozenset[int]) -> Iterator[Question]:
    """Headings and captions, as they are; contents: pages of contents, from 0."""
    if document.outline:
        for page, title in document.outline:
            yield Question(_stripped(title), document.file, page, "outline")
    else:
        yield from _listed(document, contents)
    for page, text in enumerate(document.texts):
        if page not in contents:
            for caption in _captions(text):
                yield Question(caption, document.file, page, "caption")


def _contents_pages(document: Pages) -> frozenset[int]:
    """Pages, from 0, whose lines end in leaders, or that hold many headings of other pages."""
    headings = [(page, f" {norm(_stripped(title))} ") for page, title in document.outline if len(title.split()) > 1]
    found = set()
    for number, text in enumerate(document.texts):
        leaders = sum(_LEADER.search(line) is not None for line in text.splitlines())
        plain = f" {norm(text)} "
        if leaders >= _LEADERS or sum(page != number and title in plain for page, title in headings) >= _LISTED:
            found.add(number)
    return frozenset(found)


def _captions(text: str) -> Iterator[str]:
    """First sentences of captions of a page.

    A caption is read on beyond its first line only where that is about as long as lines of the page are (it was broken
    there), no code follows, and its sentence ends within `_CAPTION_LINES`.
    """
    lines = [" ".join(line.split()) for line in text.splitlines()]
    usual = max(_USUAL, sorted(len(line) for line in lines)[int(0.9 * len(lines))] if lines else 0)
    for number, line in enumerate(lines):
        start = _CAPTION.match(line)
        referred = number > 0 and _REFERRING.search(lines[number - 1])
        if start is None or referred or _LEADER.search(line):
            continue
        rest = lines[number + 1 : number + _CAPTION_LINES] if len(line) >= _FULL * usual else []
        rest = list(takewhile(lambda more: _CODE.search(more) is None, rest))
        yield (_sentence(" ".join([start[1], *rest])) or _sentence(start[1]) or start[1]).rstrip(" .:")


def _sentence(text: str) -> str:
    """The first sentence, if it ends and has `_CAPTION_WORDS` words; else nothing."""
    for end in _SENTENCE_END.finditer(text):
        if len(text[: end.start()].split()) >= _CAPTION_WORDS:
            return text[: end.start()]
    return ""


def _asks(text: str) -> bool:
    """Whether a heading says enough to be a query."""
    words = norm(text).split()
    telling = {word for word in words if len(word) > 1 and not word.isdigit() and word not in _FUNCTION_WORDS}
    enough = len(telling) >= CONTENT_WORDS or (len(words) >= WORDS and len(telling) > 1)
    return enough and len(words) <= LONGEST and norm(text) not in _BOILERPLATE


def _stripped(title: str) -> str:
    """A heading without its number."""
    title = " ".join(unicodedata.normalize("NFKC", title).split())
    return (_NUMBERING.sub("", title, count=1) if _NUMBERING.match(title) else title).rstrip(" .:")


def norm(text: str) -> str:
    """Letters and digits in lower case, whatever else a space."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold()))


def kinds(found: Iterable[Question]) -> Mapping[str, int]:
    """How many queries there are of each kind."""
    return dict(sorted(Counter(item.kind for item in found).items()))


def _listed(document: Pages, contents: frozenset[int]) -> Iterator[Question]:
    """Lines of the contents whose heading is a line of exactly one other page."""
    lines: dict[str, set[int]] = {}
    for number, text in enumerate(document.texts):
        if number not in contents:
            for line in text.splitlines():
                lines.setdefault(norm(line), set()).add(number)
    for number in sorted(contents):
        for line in document.texts[number].splitlines():
            leader = _LEADER.search(line)
            heading = line[: leader.start()].strip() if leader else ""
            places = lines.get(norm(heading), set())
            if heading and len(places) == 1:
                yield Question(_stripped(heading), document.file, min(places), "contents")


def _placed(item: Question, texts: Sequence[tuple[str, int, str]]) -> bool:
    phrase = f" {item.norm} "
    places = [(file, number) for file, number, text in texts if phrase in text]
    return (item.file, item.page) in places and len(places) <= PAGES


def _drawn(found: Sequence[Question]) -> list[Question]:
    chooser = random.Random(0)  # noqa: S311 - a reproducible sample
    captions, headings = ([item for item in found if (item.kind == "caption") == wanted] for wanted in (True, False))
    chooser.shuffle(captions)
    chooser.shuffle(headings)
    half = max(PER_DOCUMENT // 2, PER_DOCUMENT - len(headings))
    chosen = captions[:half]
    chosen += headings[: PER_DOCUMENT - len(chosen)]
    return sorted(chosen, key=lambda item: (item.page, item.text))
