"""The process that opens PDF, HTML and image files, so that a hostile file can cost no more than this process.

Run as `python -P -m latefold.ingest.extract_worker BYTES` (`-P`: the folder it is started in is not importable).
Requests come on standard input, one JSON object a line: `{"do", "path", "kind", "seconds"}`, where `do` is `open`,
`page` (with `number`, `thumbnail`) or `render` (with `number`, `longest`, `dpi`). Each has one answer on standard
output: a JSON object on a line, and as many bytes as its `bytes` says. A file stays open until another is asked for.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ..encoders.errors import InvalidInputError
from .limits import limit_memory, limit_time
from .pages import MAX_TEXT, TOO_LONG, EndOfPages, OpenFile, UnreadablePage

_MAX_TITLE = 1000


class _Shelf:
    """The one file that is open, if any."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._file: OpenFile | None = None

    def get(self, kind: str, path: Path) -> OpenFile:
        """The file, opened if it is not or has changed."""
        status = path.stat()
        key = (kind, path, status.st_mtime_ns, status.st_size)
        if self._file is None or key != self._key:
            self.clear()
            self._file, self._key = _opened(kind, path), key
        return self._file

    def clear(self) -> None:
        """Close the file that is open."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def main() -> None:
    """Answer requests until standard input ends."""
    limit_memory(int(sys.argv[1]))
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not end up between the answers
    shelf = _Shelf()
    for line in sys.stdin:
        request = json.loads(line)
        limit_time(request["seconds"])
        header, parts = _answer(shelf, request)
        header["bytes"] = sum(len(part) for part in parts)
        channel.write(json.dumps(header).encode("ascii") + b"\n")
        for part in parts:
            channel.write(part)
        channel.flush()


def _answer(shelf: _Shelf, request: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The header of an answer, and the bytes that follow it."""
    try:
        file = shelf.get(request["kind"], Path(request["path"]))
        return _done(file, request)
    except EndOfPages:
        return {"end": True}, []
    except UnreadablePage:
        return {"unreadable": True}, []
    except InvalidInputError as error:
        reason = str(error)
    except MemoryError:
        reason = "reading it takes more memory than allowed"
    except Exception as error:  # noqa: BLE001 - the border of the process: parsers raise anything on hostile files
        reason = f"cannot be read: {error!s:.200}" if str(error) else f"cannot be read: {error!r:.200}"
    return {"error": reason}, []


def _done(file: OpenFile, request: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    if request["do"] == "open":
        return {"title": file.title[:_MAX_TITLE]}, []
    if request["do"] == "render":
        pixels = file.render(request["number"], request["longest"], request["dpi"])
        return {"shape": pixels.shape}, [pixels.reshape(-1).data]
    page = file.page(request["number"], thumbnail=request["thumbnail"])
    return ({"error": TOO_LONG}, []) if len(page.text) > MAX_TEXT else page.pack()


def _opened(kind: str, path: Path) -> OpenFile:
    if kind == "pdf":
        from .pdf_pages import PdfPages

        return PdfPages(path)
    if kind == "image":
        from .image_pages import ImagePages

        return ImagePages(path)
    from .html_page import HtmlPage

    return HtmlPage(path)


if __name__ == "__main__":
    main()
