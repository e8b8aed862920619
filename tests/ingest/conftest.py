"""Files for the tests of ingestion, made from nothing: no binary fixtures are kept."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest


class PdfWriter:
    """A PDF of text pages, written by hand: just enough of the format for every case that is tested."""

    def __init__(self) -> None:
        self._objects: list[bytes] = []
        self._trailer = b""

    def add(self, body: bytes) -> int:
        self._objects.append(body)
        return len(self._objects)

    def add_stream(self, content: bytes, entries: bytes = b"") -> int:
        head = b"<< /Length %d %s >>" % (len(content), entries)
        return self.add(head + b"\nstream\n" + content + b"\nendstream")

    def add_pages(self, contents: Sequence[int], resources: bytes = b"") -> None:
        font = self.add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
        parent = len(self._objects) + len(contents) + 1
        pages = [
            self.add(
                b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
                b" /Resources << /Font << /F1 %d 0 R >> %s >> >>" % (parent, content, font, resources)
            )
            for content in contents
        ]
        kids = b" ".join(b"%d 0 R" % page for page in pages)
        self.add(b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)))
        self._trailer += b" /Root %d 0 R" % self.add(b"<< /Type /Catalog /Pages %d 0 R >>" % parent)

    def set_title(self, title: str) -> None:
        text = b"\xfe\xff" + title.encode("utf-16-be")
        self._trailer += b" /Info %d 0 R" % self.add(b"<< /Title <%s> >>" % text.hex().encode())

    def set_password(self) -> None:
        """Announce encryption with a password that nobody knows."""
        secret = b"ab" * 32
        encrypt = self.add(b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (secret, secret))
        self._trailer += b" /Encrypt %d 0 R /ID [<00> <00>]" % encrypt

    def save(self, path: Path) -> Path:
        out = b"%PDF-1.4\n"
        offsets = []
        for number, body in enumerate(self._objects, start=1):
            offsets.append(len(out))
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        count = len(self._objects) + 1
        out += b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (
            count, table, count, self._trailer, len(out),
        )  # fmt: skip
        path.write_bytes(out)
        return path


def show(lines: Sequence[str]) -> bytes:
    """Page content that prints lines of text."""
    escaped = [line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") for line in lines]
    printed = b" ".join(b"(%s) Tj T*" % line.encode("latin-1") for line in escaped)
    return b"BT /F1 12 Tf 72 720 Td 14 TL %s ET" % printed


class PdfMaker:
    """Writes the PDF files that the tests need."""

    def text(self, path: Path, pages: Sequence[Sequence[str]], title: str = "") -> Path:
        writer = PdfWriter()
        writer.add_pages([writer.add_stream(show(lines)) for lines in pages])
        if title:
            writer.set_title(title)
        return writer.save(path)

    def encrypted(self, path: Path) -> Path:
        writer = PdfWriter()
        writer.add_pages([writer.add_stream(show(["secret"]))])
        writer.set_password()
        return writer.save(path)

    def memory_bomb(self, path: Path, size: int) -> Path:
        """A small file with a content stream of `size` bytes."""
        writer = PdfWriter()
        packer = zlib.compressobj(1)
        packed = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(size >> 20)) + packer.flush()
        writer.add_pages([writer.add_stream(packed, b"/Filter /FlateDecode")])
        return writer.save(path)

    def time_bomb(self, path: Path) -> Path:
        """Forms that print forms that print forms: thirty to the power of five in all."""
        writer = PdfWriter()
        form = writer.add_stream(show(["x"]), b"/Type /XObject /Subtype /Form /BBox [0 0 9 9]")
        for _ in range(5):
            form = writer.add_stream(
                b"/X Do " * 30,
                b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X %d 0 R >> >>" % form,
            )
        writer.add_pages([writer.add_stream(b"/X Do")], b"/XObject << /X %d 0 R >>" % form)
        return writer.save(path)


@pytest.fixture(scope="session")
def pdf() -> PdfMaker:
    return PdfMaker()
