"""PDFs of the benchmark: their first pages alone, written the same every time, and the texts of their pages."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, Final

from ...ingest.page_text import PageText, page_text

_CHANGING: Final = re.compile(rb"(?:/ID ?\[ ?<[0-9A-Fa-f]*> ?<[0-9A-Fa-f]*> ?\]|/CreationDate ?\(D:\d*)")


def head(document: Any, pages: int) -> bytes:
    """The first pages of a `PdfDocument` as a PDF of their own."""
    import pypdfium2

    buffer = io.BytesIO()
    with pypdfium2.PdfDocument.new() as made:
        made.import_pages(document, list(range(min(pages, len(document)))))
        made.save(buffer)
    return reproducible(buffer.getvalue())


def reproducible(pdf: bytes) -> bytes:
    """A PDF that pdfium wrote, with zeros for its random identifier and its date."""
    return _CHANGING.sub(lambda found: re.sub(rb"(?<=[<:0-9A-Fa-f])[0-9A-Fa-f]", b"0", found[0]), pdf)


def read_pages(pdf: bytes | Path) -> list[PageText]:
    """The text of each page, with its words and where they stand. For trusted files: nothing limits what they cost."""
    import pypdfium2

    with pypdfium2.PdfDocument(pdf) as document:
        found = []
        for number in range(len(document)):
            page = document[number]
            found.append(page_text(page))
            page.close()
        return found
