"""The process that opens PDF and HTML files, so that a hostile file can cost no more than this process.

Run as `python -P -m latefold.ingest.extract_worker BYTES` (`-P`: the folder it is started in is not importable).
Requests come on standard input, one JSON object a line: `{"path", "kind", "seconds"}`. Answers go to standard output,
one JSON object a line: any number of `{"page", "text"}`, then `{"done": true, "title", "unreadable"}` or `{"error"}`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from .charset import decode, extracted, guess_encoding

MAX_TEXT = 50_000_000
"""Characters of text that one file may give: more is a decompression bomb, not a document."""
TOO_LONG = f"it holds more than {MAX_TEXT} characters of text: split it"
_ERR_PASSWORD = 4
"""FPDF_ERR_PASSWORD of pdfium."""
_HYPHEN = "\ufffe"
"""What pdfium gives for a hyphen that breaks a word at the end of a line."""
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


def main() -> None:
    """Answer requests until standard input ends."""
    _limit_memory(int(sys.argv[1]))
    channel = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print must not end up between the answers
    for line in sys.stdin:
        request = json.loads(line)
        _limit_time(request["seconds"])
        for answer in _answers(request["kind"], Path(request["path"])):
            too_long = len(answer.get("text", "")) > MAX_TEXT
            channel.write(json.dumps({"error": TOO_LONG} if too_long else answer) + "\n")
            channel.flush()
            if too_long:
                break


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # not on this operating system: the wall clock still ends what gets out of hand
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: int) -> None:
    """Let the system end this process should nobody be left to do it: processor seconds, on top of those used."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(time.process_time()) + seconds + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _answers(kind: str, path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from _pdf(path) if kind == "pdf" else _html(path)
    except MemoryError:
        yield {"error": "reading it takes more memory than allowed"}
    except Exception as error:  # noqa: BLE001 - the border of the process: parsers raise anything on hostile files
        yield {"error": f"cannot be read: {error!s:.200}" if str(error) else f"cannot be read: {error!r:.200}"}


def _pdf(path: Path) -> Iterator[dict[str, Any]]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        encrypted = error.err_code == _ERR_PASSWORD
        yield {
            "error": "the PDF is encrypted: save it without a password"
            if encrypted
            else f"not a readable PDF: {error!s:.200}"
        }
        return
    with document:
        title = document.get_metadata_value("Title")
        unreadable = []
        for number in range(len(document)):
            try:
                yield {"page": number + 1, "text": _page_text(document, number)}
            except pypdfium2.PdfiumError:
                unreadable.append(number + 1)
        yield {"done": True, "title": _one_line(title), "unreadable": unreadable}


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    try:
        text_page = page.get_textpage()
        text = text_page.get_text_bounded()
        text_page.close()
    finally:
        page.close()
    return extracted(text).replace(f"{_HYPHEN}\n", "").replace(_HYPHEN, "")


def _html(path: Path) -> Iterator[dict[str, Any]]:
    import trafilatura

    source = _html_source(path.read_bytes())
    tree = trafilatura.load_html(source)
    if tree is None:
        yield {"done": True, "title": "", "unreadable": []}
        return
    title = tree.findtext(".//title") or ""
    main_text = ""
    if len(source) <= _MAIN_LIMIT:
        main_text = trafilatura.extract(deepcopy(tree), include_comments=False, favor_recall=True) or ""
    everything = _page_as_text(tree)
    text = main_text if len(main_text) >= _MAIN_SHARE * len(everything) else everything
    yield {"page": None, "text": extracted(text)}
    yield {"done": True, "title": _one_line(title), "unreadable": []}


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


def _one_line(text: str) -> str:
    return " ".join(extracted(text).split())


if __name__ == "__main__":
    main()
