"""Pages of PDF files: text, size, looks."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders.errors import InvalidInputError
from ..encoders.pages import Pixels
from .charset import one_line
from .page_text import page_text
from .pages import MAX_PAGES, TOO_MANY, EndOfPages, ExtractedPage, UnreadablePage
from .raster import THUMBNAIL_SIDE, is_thin, rendered_scale, webp

_FEW_CHARACTERS = 50
"""Less text than this does not speak against a scan: a page number, a stamp of the scanner."""
_MUCH_COVERED = 0.5
_LITTLE_COVERED = 0.02
_MANY_PATHS = 200
"""Letters that were turned into outlines, where there is no text at all."""
_GRID = 32
_MAX_OBJECTS = 20_000
"""Objects of a page that are looked at to tell a scan; a scan has few."""
_MAX_DEPTH = 3
_NO_CHARACTERS = ("Cc", "Cf", "Cn", "Co", "Cs")
"""Categories of Unicode that stand for no character that can be read."""


class PdfPages:
    """An open PDF file. Raises `InvalidInputError` when it cannot be opened, is encrypted or has too many pages."""

    def __init__(self, path: Path) -> None:
        import pypdfium2

        self._document = pypdfium2.PdfDocument(_handle(path))
        self._count = len(self._document)
        if not 1 <= self._count <= MAX_PAGES:
            self.close()
            raise InvalidInputError(TOO_MANY if self._count > 0 else "the PDF has no pages")
        self.title = one_line(self._document.get_metadata_value("Title"))
        if self._document.get_formtype():
            self._document.init_forms()  # without this, what was filled into a form is not shown

    def page(self, number: int, *, thumbnail: bool) -> ExtractedPage:
        """See `OpenFile`."""
        page = self._load(number)
        try:
            words = page_text(page)
            width, height = page.get_size()
            small = b""
            if thumbnail and not is_thin(width, height):
                small = webp(_pixels(page, rendered_scale(width, height, THUMBNAIL_SIDE, None)))
            needs_ocr = _needs_ocr(page, words.text)
        finally:
            page.close()
        width, height = (float(side) if np.isfinite(side) else 0.0 for side in (width, height))
        return ExtractedPage(number, words.text, width, height, words.spans, words.boxes, small, needs_ocr)

    def render(self, number: int, longest: int | None, dpi: float | None) -> Pixels:
        """See `OpenFile`."""
        page = self._load(number)
        try:
            width, height = page.get_size()
            return _pixels(page, rendered_scale(width, height, longest, dpi))
        finally:
            page.close()

    def close(self) -> None:
        """See `OpenFile`."""
        self._document.close()

    def _load(self, number: int) -> Any:
        import pypdfium2

        if number > self._count:
            raise EndOfPages
        try:
            return self._document[number - 1]
        except pypdfium2.PdfiumError:
            raise UnreadablePage from None


def _handle(path: Path) -> Any:
    """An open document of pdfium."""
    from pypdfium2 import raw as pdfium

    handle = pdfium.FPDF_LoadDocument(os.fsencode(path), None)
    if handle:
        return handle
    if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD:
        raise InvalidInputError("the PDF is encrypted: save it without a password")
    raise InvalidInputError("not a readable PDF: damaged, or another kind of file")


def _pixels(page: Any, scale: float) -> Pixels:
    bitmap = page.render(scale=scale, rev_byteorder=True)
    try:
        return np.array(bitmap.to_numpy()[:, :, :3], order="C")
    finally:
        bitmap.close()


def _needs_ocr(page: Any, text: str) -> bool:
    """Whether the page shows text that its text layer does not hold, or holds as garbage only."""
    readable = noise = 0
    for character in text:
        if character.isspace():
            continue
        if character == "\ufffd" or unicodedata.category(character) in _NO_CHARACTERS:
            noise += 1
        else:
            readable += 1
    if noise > readable:
        return True
    if readable >= _FEW_CHARACTERS:
        return False
    covered, paths = _drawn(page)
    if readable == 0:
        return covered > _LITTLE_COVERED or paths >= _MANY_PATHS
    return covered >= _MUCH_COVERED


def _drawn(page: Any) -> tuple[float, int]:
    """Which part of a page images cover, by a coarse grid (scans come in strips), and how many paths it draws."""
    from pypdfium2 import raw as pdfium

    grid = np.zeros((_GRID, _GRID), np.bool_)
    left, bottom, right, top = page.get_bbox()
    paths = 0
    if not (left < right and bottom < top):
        return 0.0, 0
    for number in range(min(pdfium.FPDFPage_CountObjects(page), _MAX_OBJECTS)):
        item = pdfium.FPDFPage_GetObject(page, number)
        paths += pdfium.FPDFPageObj_GetType(item) == pdfium.FPDF_PAGEOBJ_PATH
        if _holds_image(item, 0):
            x0, y0, x1, y1 = _bounds(item)
            columns = np.clip(np.array([x0 - left, x1 - left]) / (right - left), 0, 1) * _GRID
            rows = np.clip(np.array([y0 - bottom, y1 - bottom]) / (top - bottom), 0, 1) * _GRID
            (c0, c1), (r0, r1) = np.rint(columns).astype(int), np.rint(rows).astype(int)
            grid[r0:r1, c0:c1] = True
    return float(grid.mean()), paths


def _holds_image(item: Any, depth: int) -> bool:
    from pypdfium2 import raw as pdfium

    kind = pdfium.FPDFPageObj_GetType(item)
    if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
        return True
    if kind != pdfium.FPDF_PAGEOBJ_FORM or depth == _MAX_DEPTH:
        return False
    count = min(pdfium.FPDFFormObj_CountObjects(item), _MAX_OBJECTS)
    return any(_holds_image(pdfium.FPDFFormObj_GetObject(item, number), depth + 1) for number in range(count))


def _bounds(item: Any) -> list[float]:
    """Left, bottom, right and top of an object of a page, in points; all zero where it has none."""
    import ctypes

    from pypdfium2 import raw as pdfium

    edges = [ctypes.c_float() for _ in range(4)]
    known = pdfium.FPDFPageObj_GetBounds(item, *(ctypes.byref(edge) for edge in edges))
    values = [edge.value for edge in edges]
    return values if known and np.isfinite(values).all() else [0.0] * 4
