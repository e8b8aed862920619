"""Text of HTML files."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

from ..encoders.errors import InvalidInputError
from ..encoders.pages import Pixels
from .charset import decode, extracted, guess_encoding, one_line
from .pages import EndOfPages, ExtractedPage

_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([A-Za-z0-9_:.-]+)", re.I)
_SURE = {"utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"}
_MAIN_SHARE = 0.25
"""A main text that is a smaller part of the page is not trusted: tables of contents and indexes have none."""
_MAIN_LIMIT = 1_000_000
"""The main text of longer pages is not looked for, which would take half a minute: all of their text is taken."""
_SILENT = ("head", "script", "style", "noscript", "template", "svg")
_BLOCKS = (
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "option"),
    *("p", "pre", "section", "table", "td", "th", "tr", "ul"),
)


class HtmlPage:
    """An HTML file, which is one page without a number. Raises `InvalidInputError` when it is asked for pixels."""

    def __init__(self, path: Path) -> None:
        import trafilatura

        self._source = _html_source(path.read_bytes())
        tree = trafilatura.load_html(self._source)
        self.title = "" if tree is None else one_line(tree.findtext(".//title") or "")
        self._tree = tree
        self._read: ExtractedPage | None = None

    def page(self, number: int, *, thumbnail: bool) -> ExtractedPage:  # noqa: ARG002 - HTML is not drawn
        """See `OpenFile`."""
        if self._tree is not None:
            self._read = ExtractedPage(None, extracted(self._text()))
            self._tree = None  # spent, and large
        if number > 1 or self._read is None:
            raise EndOfPages
        return self._read

    def render(self, number: int, longest: int | None, dpi: float | None) -> Pixels:  # noqa: ARG002
        """See `OpenFile`."""
        raise InvalidInputError("HTML files have no pages to be shown")

    def close(self) -> None:
        """See `OpenFile`."""

    def _text(self) -> str:
        import trafilatura

        main_text = ""
        if len(self._source) <= _MAIN_LIMIT:
            main_text = trafilatura.extract(deepcopy(self._tree), include_comments=False, favor_recall=True) or ""
        everything = _page_as_text(self._tree)
        return main_text if len(main_text) >= _MAIN_SHARE * len(everything) else everything


def _html_source(data: bytes) -> str:
    """The page as text; an encoding that it declares counts where the bytes do not say better."""
    declared = _CHARSET.search(data[:2048])
    if declared and guess_encoding(data, whole=True) not in _SURE:
        try:
            return extracted(data.decode(declared[1].decode("ascii"), errors="replace"))
        except (LookupError, ValueError):
            pass  # no encoding that there is
    return decode(data)


def _page_as_text(tree: Any) -> str:
    """All text of a page, one block a line; changes the tree."""
    for element in list(tree.iter(*_SILENT)):
        element.drop_tree()
    for block in tree.iter(*_BLOCKS):
        block.text = f"\n{block.text or ''}"
        block.tail = f"\n{block.tail or ''}"
    lines = (" ".join(line.split()) for line in tree.text_content().split("\n"))
    return "\n".join(line for line in lines if line)
