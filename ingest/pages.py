"""What a file gives page by page, and how a page travels from the process that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from ..encoders.pages import Boxes, Pixels

MAX_PAGES = 10_000
"""Pages that one file may have: more is a bomb, or better split."""
MAX_TEXT = 50_000_000
"""Characters of text that one file may give: more is a decompression bomb, not a document."""
TOO_LONG = f"it holds more than {MAX_TEXT} characters of text: split it"
TOO_MANY = f"it has more than {MAX_PAGES} pages: split it"

Spans = npt.NDArray[np.int32]
"""`(n, 2)`: where each word begins and ends, in characters of its page's text."""


class EndOfPages(Exception):  # noqa: N818 - no error: the way to say that a file has no such page
    """The file has no page of this number."""


class UnreadablePage(Exception):  # noqa: N818 - a page is left out, the file goes on
    """A page is damaged; the others may not be."""


@dataclass(frozen=True, eq=False)
class ExtractedPage:
    """A page as it is shown: upright, cut to its crop box.

    number: from 1; None for a file without pages. width, height: in points (1/72 inch), of an image in pixels.
    spans, boxes: the words of the text, runs of characters other than spaces, in the order of the text, and where each
    is on the page. A word that is hyphenated at the end of a line is two, one a line, without a space between.
    thumbnail: a WebP picture, its longer side at most 320 pixels; empty where none was asked for or can be made.
    needs_ocr: whether the page shows text that its text layer does not hold.
    """

    number: int | None
    text: str
    width: float = 0.0
    height: float = 0.0
    spans: Spans = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    boxes: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    thumbnail: bytes = b""
    needs_ocr: bool = False

    def pack(self) -> tuple[dict[str, Any], list[bytes]]:
        """A header of plain values, and the bytes that belong to it."""
        parts = [self.text.encode(), self.spans.tobytes(), self.boxes.tobytes(), self.thumbnail]
        header = {
            **{name: getattr(self, name) for name in ("number", "width", "height", "needs_ocr")},
            "sizes": [len(part) for part in parts],
        }
        return header, parts

    @classmethod
    def unpack(cls, header: dict[str, Any], data: bytes | bytearray) -> Self:
        """The page that `pack` was called on."""
        ends = np.cumsum(header["sizes"]).tolist()
        text, spans, boxes, thumbnail = (
            bytes(data[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)
        )
        return cls(
            header["number"],
            text.decode(),
            header["width"],
            header["height"],
            np.frombuffer(spans, np.int32).reshape(-1, 2),
            np.frombuffer(boxes, np.float32).reshape(-1, 4),
            thumbnail,
            header["needs_ocr"],
        )


class OpenFile(Protocol):
    """A file that is open for reading in the child process; every method may raise anything on a hostile file."""

    title: str

    def page(self, number: int, *, thumbnail: bool) -> ExtractedPage:
        """A page by its number from 1. Raises `EndOfPages`, and `UnreadablePage` where others may be read."""
        ...

    def render(self, number: int, longest: int | None, dpi: float | None) -> Pixels:
        """The pixels of a page."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


@dataclass(frozen=True)
class Extracted:
    """What a file holds. unreadable: numbers of damaged pages, which `pages` leaves out."""

    title: str
    pages: list[ExtractedPage]
    unreadable: list[int]


class PageStream(Iterator[ExtractedPage], Protocol):
    """The pages of a file, read as they are asked for. unreadable grows with them."""

    title: str
    unreadable: list[int]
