"""Text of a PDF page, with where each of its words stands.

Both come from one list of characters, that of pdfium: words are found in it and measured there, and the positions of
words in the text that is handed out follow from which of the characters are left out. Nothing is searched for.
"""

from __future__ import annotations

import ctypes
import re
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.pages import Boxes
from .pages import Spans

_HYPHEN = 0xFFFE
"""What pdfium gives for a hyphen that breaks a word at the end of a line."""
_UNICODE_HYPHEN = 2
"""The same, where single characters are asked for."""
_WORD = re.compile("[^\\s\0\ufffe]+\ufffe?")
_BROKEN = re.compile("\ufffe(?:\r\n?|\n)?([^\\W\\d_]*)")
_LETTERS = re.compile(r"[^\W\d_]+")
_LEADER = re.compile(r" *[.·…‥_](?: ?[.·…‥_]){4,} *")
_CR, _LF = 13, 10
_Codes = npt.NDArray[np.uint32]
_Corners = npt.NDArray[np.float64]
"""`(n, 4)` in points of the page as it was written: left, top, right, bottom, where top is above bottom."""


@dataclass(frozen=True, eq=False)
class PageText:
    """Text, and `(n, 2)` spans and `(n, 4)` boxes of its words."""

    text: str
    spans: Spans
    boxes: Boxes


def page_text(page: Any) -> PageText:
    """The text of a page (a `PdfPage`) inside its crop box; what is hidden beyond it is left out."""
    text_page = page.get_textpage()
    try:
        codes = _codes(text_page)
        codes, raw = _without_leaders(codes)
        spans = np.array([word.span() for word in _WORD.finditer(raw)], np.int64).reshape(-1, 2)
        corners = _corners(text_page, spans)
    finally:
        text_page.close()
    frame = np.array(page.get_bbox(), np.float64)[[0, 3, 2, 1]]
    shown = _overlaps(corners, frame)
    codes = _hyphenated(codes, raw)
    kept = _kept(codes, spans, shown)
    moved = np.concatenate([[0], np.cumsum(kept)])
    return PageText(
        _joined(codes)[kept].astype("<u4").tobytes().decode("utf-32-le"),
        moved[spans[shown]].astype(np.int32),
        _displayed(corners[shown], frame, page.get_rotation()),
    )


def _codes(text_page: Any) -> _Codes:
    """The characters of a page, the n-th being pdfium's n-th: code points, or halves of UTF-16 pairs."""
    import pypdfium2.raw as pdfium

    count = max(0, pdfium.FPDFText_CountChars(text_page))
    buffer = (ctypes.c_ushort * (2 * count + 2))()
    units = pdfium.FPDFText_GetText(text_page, 0, count, buffer)
    if units == count + 1:
        return np.frombuffer(buffer, np.uint16, count).astype(np.uint32)
    codes = np.array([pdfium.FPDFText_GetUnicode(text_page, index) for index in range(count)], np.uint32)
    codes[codes == _UNICODE_HYPHEN] = _HYPHEN
    codes[codes > sys.maxunicode] = ord("\ufffd")
    return codes  # some characters have no place in pdfium's text, so it says nothing about the others


def _without_leaders(codes: _Codes) -> tuple[_Codes, str]:
    """The characters with a space for each row of dots that leads the eye, as between a heading and its page number.

    A table of contents would else be mostly dots: windows of a few lines each, ahead of the pages that they name.
    """
    raw = codes.astype("<u4").tobytes().decode("utf-32-le", errors="surrogatepass")
    leaders = [leader.span() for leader in _LEADER.finditer(raw)]
    if not leaders:
        return codes, raw
    codes = codes.copy()
    for start, end in leaders:
        codes[start], codes[start + 1 : end] = ord(" "), 0
    return codes, codes.astype("<u4").tobytes().decode("utf-32-le", errors="surrogatepass")


def _hyphenated(codes: _Codes, raw: str) -> _Codes:
    """The characters with a hyphen wherever a broken word had one before it was broken.

    It had one if what follows is no lower-case letter (COVID-19), or stands on the page as a word too (long-term).
    """
    if _HYPHEN not in codes:
        return codes
    codes = codes.copy()
    words = {word.lower() for word in _LETTERS.findall(_BROKEN.sub(" ", raw))}
    for broken in _BROKEN.finditer(raw):
        if not broken[1][:1].islower() or broken[1].lower() in words:
            codes[broken.start()] = ord("-")
            codes[broken.start() + 1 : broken.start(1)] = 0
    return codes


def _joined(codes: _Codes) -> _Codes:
    """Characters with line feeds as line ends, and the first half of each UTF-16 pair standing for the pair."""
    joined = np.where(codes == _CR, _LF, codes)
    first = np.flatnonzero(_pairs(codes))
    joined[first] = 0x10000 + ((codes[first] - 0xD800) << 10) + (codes[first + 1] - 0xDC00)
    return joined


def _pairs(codes: _Codes) -> npt.NDArray[np.bool_]:
    """Where the first half of a UTF-16 pair stands that has its second half."""
    pairs: npt.NDArray[np.bool_] = codes >> 10 == 0xD800 >> 10
    pairs[:-1] &= codes[1:] >> 10 == 0xDC00 >> 10
    pairs[-1:] = False
    return pairs


@cache
def _calls() -> tuple[Any, Any]:
    """Two functions of pdfium that take addresses as they are, which is twice as fast; they run for every word."""
    import pypdfium2.raw as pdfium

    number, address = ctypes.c_int, ctypes.c_void_p
    count = ctypes.CFUNCTYPE(number, address, number, number)
    corners = ctypes.CFUNCTYPE(number, address, number, address, address, address, address)
    return ctypes.cast(pdfium.FPDFText_CountRects, count), ctypes.cast(pdfium.FPDFText_GetRect, corners)


def _corners(text_page: Any, spans: npt.NDArray[np.int64]) -> _Corners:
    """Where words are; zero for words without extent. A word has one rectangle for each piece of text it is made of."""
    if not len(spans):
        return np.zeros((0, 4))
    count_rectangles, get_rectangle = _calls()
    handle = ctypes.cast(text_page.raw, ctypes.c_void_p).value
    pieces = np.zeros((int((spans[:, 1] - spans[:, 0]).sum()) + len(spans), 4))
    place, first, starts = pieces.ctypes.data, 0, []
    for start, end in spans.tolist():
        count = max(1, count_rectangles(handle, start, end - start))
        starts.append(first)
        for number in range(count):
            get_rectangle(handle, number, place, place + 8, place + 16, place + 24)
            place += 32
        first += count
    pieces = pieces[:first]
    low, high = np.minimum.reduceat(pieces, starts), np.maximum.reduceat(pieces, starts)
    return np.stack([low[:, 0], high[:, 1], high[:, 2], low[:, 3]], axis=1)


def _overlaps(corners: _Corners, frame: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    wide = np.maximum(corners[:, 0], frame[0]) < np.minimum(corners[:, 2], frame[2])
    high = np.maximum(corners[:, 3], frame[3]) < np.minimum(corners[:, 1], frame[1])
    shown: npt.NDArray[np.bool_] = wide & high
    return shown


def _kept(codes: _Codes, spans: npt.NDArray[np.int64], shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which characters are handed out: no words out of sight, halves of pairs or line ends, NULs, or broken words."""
    kept: npt.NDArray[np.bool_] = (codes != 0) & ((codes >> 11 != 0xD800 >> 11) | _pairs(codes))
    previous = 0
    for end, visible in zip(spans[:, 1].tolist(), shown.tolist(), strict=True):
        if not visible:
            kept[previous:end] = False
        previous = end
    kept[:-1] &= (codes[:-1] != _CR) | (codes[1:] != _LF)
    left = np.flatnonzero(kept)
    broken = codes[left] == _HYPHEN
    broken[1:] |= broken[:-1] & np.isin(codes[left][1:], (_CR, _LF))
    kept[left[broken]] = False
    return kept


def _displayed(corners: _Corners, frame: npt.NDArray[np.float64], rotation: int) -> Boxes:
    """Boxes on the page as it is shown, turned clockwise by so many degrees."""
    left, top, right, bottom = frame
    x = (corners[:, [0, 2]] - left) / (right - left)
    y = (top - corners[:, [1, 3]]) / (top - bottom)
    turned = {90: (1 - y[:, ::-1], x), 180: (1 - x[:, ::-1], 1 - y[:, ::-1]), 270: (y, 1 - x[:, ::-1])}
    x, y = turned.get(rotation, (x, y))
    boxes: Boxes = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).clip(0, 1).astype(np.float32)
    return boxes
