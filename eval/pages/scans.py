"""Pages as pictures: PDFs without a text layer, as a scanner would have made them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

from ...encoders.errors import MissingExtraError, StorageError
from .pdfs import reproducible

DPI: Final = 200
_QUALITY: Final = 85
_POINTS: Final = 72


def rasterise(folder: Path, out: Path) -> list[Path]:
    """For each PDF of `folder` one of the same name in `out`, whose pages are greyscale pictures of `DPI`.

    The same PDFs and the same versions of pdfium and Pillow give the same pictures. Files that are there are kept,
    unless their PDF is newer.
    Raises `StorageError` where `out` cannot be written, `MissingExtraError` without Pillow.
    """
    made = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.pdf")):
            made.append(out / path.name)
            if not made[-1].is_file() or made[-1].stat().st_mtime < path.stat().st_mtime:
                part = made[-1].with_suffix(".partial")
                part.write_bytes(_pictures(path))
                part.replace(made[-1])
    except OSError as error:
        raise StorageError(f"scans cannot be written to {out}: {error.strerror or error}") from error
    return made


def _pictures(path: Path) -> bytes:
    import pypdfium2

    buffer = io.BytesIO()
    with pypdfium2.PdfDocument(path) as document, pypdfium2.PdfDocument.new() as made:
        for number in range(len(document)):
            page = document[number]
            width, height = page.get_size()
            picture = pypdfium2.PdfImage.new(made)
            picture.load_jpeg(_jpeg(page), inline=True)
            picture.set_matrix(pypdfium2.PdfMatrix().scale(width, height))
            target = made.new_page(width, height)
            target.insert_obj(picture)
            target.gen_content()
            target.close()
            page.close()
        made.save(buffer)
    return reproducible(buffer.getvalue())


def _jpeg(page: Any) -> io.BytesIO:
    try:
        import PIL  # noqa: F401 - pdfium's pictures need it
    except ImportError as error:
        raise MissingExtraError("pictures of pages", "bench") from error
    buffer = io.BytesIO()
    page.render(scale=DPI / _POINTS, grayscale=True).to_pil().convert("L").save(buffer, "JPEG", quality=_QUALITY)
    buffer.seek(0)
    return buffer
