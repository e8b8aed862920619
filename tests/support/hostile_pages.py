"""Files that want to hurt whoever reads them as pages: `write_hostile` makes about 200, the same each time.

They are small on disk. Each is to end as pages or as a reason, in bounded time and memory.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

SHOW = b"BT /F1 12 Tf 72 720 Td (hello) Tj ET"


class Pdf:
    """The objects of a PDF, written as they are given."""

    def __init__(self) -> None:
        self.objects: list[bytes] = []
        self.trailer = b""

    def add(self, body: bytes) -> int:
        self.objects.append(body)
        return len(self.objects)

    def stream(self, content: bytes, entries: bytes = b"", *, pack: bool = False, times: int = 1) -> int:
        """A stream; packed, its content may be repeated many times at no cost."""
        if pack:
            content = packed(content, times)
            entries += b" /Filter /FlateDecode"
        return self.add(b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content))

    def page(self, content: int, box: bytes = b"[0 0 612 792]", entries: bytes = b"", resources: bytes = b"") -> None:
        """One page, and all around it."""
        font = self.add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
        page = len(self.objects) + 1
        self.add(
            b"<< /Type /Page /Parent %d 0 R /MediaBox %s /Contents %d 0 R %s"
            b" /Resources << /Font << /F1 %d 0 R >> %s >> >>" % (page + 1, box, content, entries, font, resources)
        )
        self.add(b"<< /Type /Pages /Kids [%d 0 R] /Count 1 >>" % page)
        self.root(page + 1)

    def root(self, pages: int) -> None:
        self.trailer += b" /Root %d 0 R" % self.add(b"<< /Type /Catalog /Pages %d 0 R >>" % pages)

    def bytes(self) -> bytes:
        out, offsets = bytearray(b"%PDF-1.5\n"), []
        for number, body in enumerate(self.objects, start=1):
            offsets.append(len(out))
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        count = len(self.objects) + 1
        table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        ending = b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (count, self.trailer, len(out))
        return bytes(out) + b"xref\n0 %d\n0000000000 65535 f \n" % count + table + ending


def simple(content: bytes = SHOW, box: bytes = b"[0 0 612 792]", entries: bytes = b"", resources: bytes = b"") -> bytes:
    pdf = Pdf()
    pdf.page(pdf.stream(content), box, entries, resources)
    return pdf.bytes()


def repeated(content: bytes, times: int, resources: bytes = b"") -> bytes:
    """A page that does one thing very often."""
    pdf = Pdf()
    pdf.page(pdf.stream(content, pack=True, times=times), resources=resources)
    return pdf.bytes()


def nested_forms(wide: int, deep: int) -> bytes:
    pdf = Pdf()
    head = b"/Type /XObject /Subtype /Form /BBox [0 0 612 792]"
    form = pdf.stream(SHOW, head)
    for _ in range(deep):
        form = pdf.stream(b"/X Do " * wide, head + b" /Resources << /XObject << /X %d 0 R >> >>" % form)
    pdf.page(pdf.stream(b"/X Do"), resources=b"/XObject << /X %d 0 R >>" % form)
    return pdf.bytes()


def self_form() -> bytes:
    pdf = Pdf()
    pdf.stream(
        b"/X Do /X Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 1 0 R >> >>"
    )
    pdf.page(pdf.stream(b"/X Do"), resources=b"/XObject << /X 1 0 R >>")
    return pdf.bytes()


def with_image(width: int, height: int, entries: bytes, data: bytes) -> bytes:
    pdf = Pdf()
    head = b"/Type /XObject /Subtype /Image /Width %d /Height %d %s" % (width, height, entries)
    image = pdf.stream(data, head)
    pdf.page(pdf.stream(b"612 0 0 792 0 0 cm /I Do"), resources=b"/XObject << /I %d 0 R >>" % image)
    return pdf.bytes()


def tree(kids: bytes, count: bytes) -> bytes:
    """A page tree of the given kids; object 2 is a page, object 3 the tree."""
    pdf = Pdf()
    pdf.stream(SHOW)
    pdf.add(b"<< /Type /Page /Parent 3 0 R /MediaBox [0 0 612 792] /Contents 1 0 R >>")
    pdf.add(b"<< /Type /Pages /Kids [%s] /Count %s >>" % (kids, count))
    pdf.root(3)
    return pdf.bytes()


def deep_tree(depth: int) -> bytes:
    pdf = Pdf()
    pdf.stream(SHOW)
    for level in range(depth):
        pdf.add(b"<< /Type /Pages /Kids [%d 0 R] /Count 1 >>" % (level + 3))
    pdf.add(b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Contents 1 0 R >>" % (depth + 1))
    pdf.root(2)
    return pdf.bytes()


def encrypted(version: int, revision: int) -> bytes:
    pdf = Pdf()
    pdf.page(pdf.stream(SHOW))
    secret = b"ab" * 32
    entries = b"/Filter /Standard /V %d /R %d /O <%s> /U <%s> /P -4" % (version, revision, secret, secret)
    pdf.trailer += b" /Encrypt %d 0 R /ID [<00> <00>]" % pdf.add(b"<< %s >>" % entries)
    return pdf.bytes()


def bombs() -> Iterator[tuple[str, bytes]]:
    yield "bomb-spaces", repeated(b" " * (1 << 20), 1500)
    yield "bomb-text", repeated(b"BT /F1 9 Tf 9 9 Td (abcdefghijklmnop) Tj ET\n" * 1000, 4000)
    yield "bomb-paths", repeated(b"0 0 m 612 792 l S\n" * 1000, 4000)
    yield "bomb-states", repeated(b"q " * 1000, 4000)
    yield "bomb-restores", repeated(b"Q " * 1000, 4000)
    yield "bomb-clips", repeated(b"0 0 600 700 re W n\n" * 1000, 100)
    yield "bomb-arrays", repeated(b"[" * 1000, 1000)
    yield "bomb-numbers", repeated(b"1 " * 1000, 20_000)
    yield "bomb-inline", repeated(b"BI /W 9999 /H 9999 /BPC 8 /CS /G ID x EI\n" * 100, 100)
    yield "bomb-double-flate", twice_packed(200)
    for wide, deep in ((30, 5), (2, 40), (1000, 3), (1, 5000)):
        yield f"forms-{wide}-{deep}", nested_forms(wide, deep)
    yield "form-self", self_form()


def geometries() -> Iterator[tuple[str, bytes]]:
    boxes = (
        "0 0 14400000 14400000", "0 0 1e38 1e38", "0 0 nan nan", "0 0 inf inf", "0 0 0 0", "0 0 -5 -5", "612 792 0 0",
        "0 0 1 1", "0 0 0.001 0.001", "0 0 1 20000", "0 0 20000 1", "0 0 612", "", "(a) (b) (c) (d)",
        "1e30 1e30 2e30 2e30",
        "-99999999 -99999999 99999999 99999999", "0 0 99999999999999999999 99999999999999999999", "null null null null",
    )  # fmt: skip
    for number, box in enumerate(boxes):
        yield f"box-{number:02}", simple(box=b"[%s]" % box.encode())
        if number < 4:
            yield f"crop-{number:02}", simple(entries=b"/CropBox [%s]" % box.encode())
    for turn in (b"45", b"-90", b"1e9", b"99999999999999", b"(x)", b"[90]", b"null", b"90.5", b"7 0 R"):
        yield f"rotate-{len(turn)}-{turn[:1].hex()}", simple(entries=b"/Rotate " + turn)
    yield "user-unit", simple(entries=b"/UserUnit 1e30")
    yield "crop-outside", simple(entries=b"/CropBox [9000 9000 9001 9001]")


def page_trees() -> Iterator[tuple[str, bytes]]:
    for number, (kids, count) in enumerate(
        [
            (b"", b"0"), (b"", b"5"), (b"2 0 R", b"2147483647"), (b"2 0 R", b"-1"), (b"2 0 R", b"99999999999999"),
            (b"3 0 R", b"1"), (b"3 0 R 2 0 R", b"2"), (b"99 0 R", b"1"), (b"2 0 R " * 5000, b"5000"), (b"null", b"1"),
            (b"2 0 R " * 20_000, b"20000"), (b"2 0 R", b"(x)"), (b"1 0 R", b"1"), (b"<< /Type /Page >>", b"1"),
        ]
    ):  # fmt: skip
        yield f"tree-{number:02}", tree(kids, count)
    yield "tree-deep", deep_tree(20_000)


def images_inside() -> Iterator[tuple[str, bytes]]:
    garbage = random.Random(1).randbytes(4000)
    for name in (
        "JBIG2Decode",
        "JPXDecode",
        "DCTDecode",
        "CCITTFaxDecode",
        "LZWDecode",
        "RunLengthDecode",
        "FlateDecode",
    ):
        entries = b"/ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /%s" % name.encode()
        yield f"image-{name}", with_image(3000, 3000, entries, garbage)
        yield f"image-huge-{name}", with_image(60_000, 60_000, entries, garbage)
    yield (
        "image-bomb",
        with_image(40_000, 40_000, b"/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /FlateDecode", zeros(64)),
    )
    yield "image-negative", with_image(-5, 2147483647, b"/ColorSpace /DeviceGray /BitsPerComponent 8", b"x")


def pdfs() -> Iterator[tuple[str, bytes]]:
    good = simple()
    yield from bombs()
    yield from geometries()
    yield from page_trees()
    yield from images_inside()
    yield "zero", b""
    yield "header-only", b"%PDF-1.7\n"
    yield "text", b"This is no PDF, it only says so.\n" * 50
    for version, revision in ((1, 2), (2, 3), (4, 4), (5, 6), (99, 99)):
        yield f"encrypted-{version}-{revision}", encrypted(version, revision)
    for place in range(10, len(good), len(good) // 20):
        yield f"cut-{place:04}", good[:place]
    yield "xref-wild", good.replace(b"startxref\n", b"startxref\n99999")
    yield "xref-looped", good.replace(b"/Root", b"/Prev %d /Root" % good.index(b"xref\n0"))
    yield "xref-zero", good.replace(b"00000 n", b"99999 f")
    yield "no-objects", good.replace(b"endobj", b"endxxx")
    yield "length-lies", good.replace(b"/Length 36", b"/Length 9999999999")
    noise = random.Random(2)
    for number in range(12):
        damaged = bytearray(good)
        for _ in range(20):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        yield f"flipped-{number:02}", bytes(damaged)


def twice_packed(mebibytes: int) -> bytes:
    pdf = Pdf()
    inner = zlib.compress(zeros(mebibytes), 9)
    pdf.page(pdf.stream(zlib.compress(inner, 9), b"/Filter [/FlateDecode /FlateDecode]"))
    return pdf.bytes()


def zeros(mebibytes: int) -> bytes:
    """So many MiB of zeros, packed."""
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(mebibytes)) + packer.flush()


def packed(content: bytes, times: int) -> bytes:
    """Content many times over, packed once: without the checksum at the end, which no reader of PDFs asks for."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * times + packer.flush()


def png(width: int, height: int, data: bytes, *, depth: int = 8, color: int = 2, extra: bytes = b"") -> bytes:
    """A PNG that declares a size, whatever its data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(kind: str, size: tuple[int, int] = (300, 200), mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(5).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(out, kind, **options)
    return out.getvalue()


def tiff(
    frames: list[tuple[int, int]], data: bytes = bytes(64), loop: int | None = None, compression: int = 1
) -> bytes:
    """Frames of declared sizes that share their data; the last one leads back to frame `loop`."""
    start = 8 + len(data)
    tags, size = 9, 2 + 12 * 9 + 4
    out = bytearray(b"II*\0" + struct.pack("<I", start) + data)
    for number, (width, height) in enumerate(frames):
        values = [
            (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, height), (279, 4, len(data)),
        ]  # fmt: skip
        following = start + size * (number + 1)
        if number == len(frames) - 1:
            following = 0 if loop is None else start + size * loop
        out += struct.pack("<H", tags) + b"".join(
            struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in values
        )
        out += struct.pack("<I", following)
    return bytes(out)


def exif(body: bytes) -> bytes:
    """A JPEG with these bytes as its Exif."""
    head = b"Exif\0\0" + body
    picture = saved("JPEG")
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(head) + 2) + head + picture[2:]


def many_scans(times: int) -> bytes:
    """A progressive JPEG of which one scan comes again and again."""
    out = io.BytesIO()
    Image.new("L", (7000, 7000), 77).save(out, "JPEG", progressive=True, quality=30)
    data = out.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * times + data[-2:]


def webp_header(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size + b"VP8 " + struct.pack("<I", 10) + bytes(10)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def damaged_images() -> Iterator[tuple[str, bytes]]:
    makers: dict[str, Callable[[], bytes]] = {
        "png": lambda: saved("PNG"), "jpg": lambda: saved("JPEG"), "webp": lambda: saved("WEBP"),
        "tiff": lambda: saved("TIFF", compression="tiff_lzw"),
    }  # fmt: skip
    noise = random.Random(3)
    for ending, make in makers.items():
        whole = make()
        yield f"zero.{ending}", b""
        yield f"text.{ending}", b"no picture at all\n" * 100
        for part in (0.02, 0.3, 0.6, 0.95):
            yield f"cut-{part}.{ending}", whole[: int(len(whole) * part)]
        for number in range(4):
            damaged = bytearray(whole)
            for _ in range(10):
                damaged[noise.randrange(len(damaged))] = noise.randrange(256)
            yield f"flipped-{number}.{ending}", bytes(damaged)
        kind = {"jpg": "JPEG"}.get(ending, ending.upper())
        for size in ((1, 1), (1, 12_000), (12_000, 1), (9, 12_000)):
            yield f"size-{size[0]}x{size[1]}.{ending}", saved(kind, size)


def wrong_images() -> Iterator[tuple[str, bytes]]:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a.png", "x")
    yield "zip.png", zipped.getvalue()
    yield "jpeg-inside.png", saved("JPEG")
    yield "pdf-inside.png", simple()
    yield "png-inside.tiff", saved("PNG")
    yield "pages.pdf.png", tree(b"2 0 R", b"1")
    for number, body in enumerate(
        [b"", b"II*\0\xff\xff\xff\xff", random.Random(6).randbytes(900), b"MM\0*" + bytes(40), b"\xff" * 60]
    ):
        yield f"exif-{number}.jpg", exif(body)
    for turn in (0, 9, 65535):
        entry = struct.pack("<HHIHH", 0x0112, 3, 1, turn, 0)
        yield f"exif-turn-{turn}.jpg", exif(b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4))


def image_bombs() -> Iterator[tuple[str, bytes]]:
    for width, height in ((40_000, 40_000), (13_000, 13_000), (2_147_483_647, 2_147_483_647), (0, 0), (50_000_000, 1)):
        yield f"bomb-{width}x{height}.png", png(width, height, zeros(8))
    yield "bomb-real-7000.png", png(7000, 7000, zeros(150))
    yield "bomb-short.png", png(7000, 7000, zeros(1))
    text = b"zTXt" + b"k\0\0" + zeros(200)
    yield "bomb-text.png", png(99, 99, zeros(1), extra=struct.pack(">I", len(text) - 4) + text + bytes(4))
    yield "colour-99.png", png(99, 99, zeros(1), color=99)
    whole = saved("JPEG")
    at = whole.index(b"\xff\xc0") + 5
    for side in (65_500, 13_000, 0):
        yield f"bomb-{side}.jpg", whole[:at] + struct.pack(">HH", side, side) + whole[at + 4 :]
    yield "many-scans.jpg", many_scans(1500)
    for side in (16_383, 13_000, 1):
        yield f"bomb-{side}.webp", webp_header(side, side)


def tiffs() -> Iterator[tuple[str, bytes]]:
    yield "frames-10000.tiff", tiff([(8, 8)] * 10_000)
    yield "frames-20000-tiny.tiff", tiff([(2, 2)] * 20_000)
    yield "loop-self.tiff", tiff([(8, 8)], loop=0)
    yield "loop-back.tiff", tiff([(8, 8), (8, 8), (8, 8)], loop=1)
    yield "bomb.tiff", tiff([(40_000, 40_000)])
    yield "bomb-second.tiff", tiff([(8, 8), (40_000, 40_000), (8, 8)])
    yield "bomb-lzw.tiff", tiff([(7000, 7000)], random.Random(4).randbytes(900), compression=5)
    for number in (2, 7, 8, 34_712, 50_000, 65_000):
        yield f"compression-{number}.tiff", tiff([(3000, 3000)], random.Random(5).randbytes(900), compression=number)


def write_hostile(folder: Path) -> list[Path]:
    """Write them all into a folder, and return their paths in order; the suffix is `.pdf` or that of an image."""
    paths = []
    pages = ((f"{name}.pdf", data) for name, data in pdfs())
    for name, data in chain(pages, damaged_images(), wrong_images(), image_bombs(), tiffs()):
        path = folder / name
        assert not path.exists(), name
        path.write_bytes(data)
        paths.append(path)
    return paths
