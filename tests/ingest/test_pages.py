from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_pages import Pdf, saved, simple
from PIL import Image, ImageOps

from latefold.encoders.errors import InvalidInputError
from latefold.ingest.extractor import Extractor
from latefold.ingest.pages import ExtractedPage

WORDS = {"Alpha": (72, 700), "beta,": (300, 700), "gamma": (72, 400), "(delta)": (400, 120), "fjord": (250, 60)}
UPRIGHT = b" ".join(
    b"BT /F1 24 Tf %d %d Td (%s) Tj ET" % (*place, word.replace("(", "\\(").replace(")", "\\)").encode())
    for word, place in WORDS.items()
)


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    with Extractor(60.0, 1536 << 20) as made:
        yield made


def only_page(extractor: Extractor, path: Path, data: bytes, kind: str = "pdf", *, thumbnails: bool = False) -> Any:
    path.write_bytes(data)
    (page,) = extractor.read(path, kind, thumbnails=thumbnails).pages
    return page


def words(page: ExtractedPage) -> list[str]:
    return [page.text[start:end] for start, end in page.spans]


def check_words(page: ExtractedPage) -> None:
    """What holds for the words of any page."""
    assert "".join(words(page)) == "".join(page.text.split())
    assert not any(character.isspace() for word in words(page) for character in word)
    assert (page.spans[1:, 0] >= page.spans[:-1, 1]).all()
    assert page.boxes.dtype == np.float32
    assert page.boxes.shape == (len(page.spans), 4)
    assert ((page.boxes >= 0) & (page.boxes <= 1)).all()
    assert (page.boxes[:, :2] < page.boxes[:, 2:]).all()


def ink(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(pixels.min(axis=2) < 200)


@pytest.mark.parametrize("turn", [0, 90, 180, 270, -90, 450])
@pytest.mark.parametrize(
    ("box", "crop"),
    [("0 0 612 792", ""), ("-50 -20 600 780", ""), ("0 0 612 792", "/CropBox [60 50 500 730]")],
)
def test_boxes_are_where_the_ink_is(extractor: Extractor, tmp_path: Path, turn: int, box: str, crop: str) -> None:
    entries = b"/Rotate %d %s" % (turn, crop.encode())
    path = tmp_path / "a.pdf"
    page = only_page(extractor, path, simple(UPRIGHT, b"[%s]" % box.encode(), entries))
    check_words(page)
    assert sorted(words(page)) == sorted(WORDS)
    pixels = extractor.render(path, "pdf", 1, longest=1500)
    height, width = pixels.shape[:2]
    assert abs(width / height - page.width / page.height) < 0.01
    left = ink(pixels)
    for left_edge, top, right, bottom in page.boxes * [width, height, width, height]:
        rows = slice(max(0, int(top) - 3), int(bottom) + 4)
        columns = slice(max(0, int(left_edge) - 3), int(right) + 4)
        y, x = np.nonzero(left[rows, columns])
        found = [x.min() + columns.start, y.min() + rows.start, x.max() + 1 + columns.start, y.max() + 1 + rows.start]
        assert np.abs(np.array(found) - [left_edge, top, right, bottom]).max() < 3
        left[rows, columns] = False
    assert not left.any(), "there is ink outside of all boxes"


def test_words_out_of_sight_are_left_out(extractor: Extractor, tmp_path: Path) -> None:
    page = only_page(extractor, tmp_path / "a.pdf", simple(UPRIGHT, entries=b"/CropBox [0 300 612 792]"))
    assert page.text.split() == ["Alpha", "beta,", "gamma"]
    assert (page.width, page.height) == (612, 492)
    check_words(page)


def hyphenated(before: str, after: str, rest: str = "") -> bytes:
    lines = b"(%s-) Tj T* (%s goes on) Tj T* (%s) Tj" % (before.encode(), after.encode(), rest.encode())
    return simple(b"BT /F1 12 Tf 72 720 Td 14 TL (The words of a line that ends in ) Tj %s ET" % lines)


@pytest.mark.parametrize(
    ("before", "after", "rest", "joined"),
    [
        ("infor", "mation", "", "information"),
        ("COVID", "19", "", "COVID-19"),
        ("Pre", "Raphaelite", "", "Pre-Raphaelite"),
        ("long", "term", "the other term of it", "long-term"),
    ],
)
def test_a_broken_word_is_one_word_in_two_places(
    extractor: Extractor, tmp_path: Path, before: str, after: str, rest: str, joined: str
) -> None:
    page = only_page(extractor, tmp_path / "a.pdf", hyphenated(before, after, rest))
    check_words(page)
    assert joined in page.text
    at = page.text.index(joined)
    first, second = (row for row, (start, _) in enumerate(page.spans) if at <= start < at + len(joined))
    assert page.spans[first, 1] == page.spans[second, 0]
    assert page.boxes[first, 3] < page.boxes[second, 1] + 0.01
    assert page.boxes[first, 0] > page.boxes[second, 0]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Overview . . . . . . . 12", "Overview 12"),
        ("Overview.......12", "Overview 12"),
        ("Name: ________ age", "Name: age"),
        ("and so on... the end", "and so on... the end"),
        ("a = b[1:]...c", "a = b[1:]...c"),
    ],
)
def test_dots_that_lead_to_a_page_number_are_left_out(
    extractor: Extractor, pdf: Any, tmp_path: Path, line: str, text: str
) -> None:
    page = only_page(extractor, pdf.text(tmp_path / "a.pdf", [[line]]), (tmp_path / "a.pdf").read_bytes())
    assert page.text == text
    check_words(page)
    assert (page.boxes[1:, 0] >= page.boxes[:-1, 2] - 0.001).all()


def test_characters_beyond_the_basic_plane(extractor: Extractor, tmp_path: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}):
        figure = Figure(figsize=(6, 4))
        FigureCanvasPdf(figure)
        figure.text(0.2, 0.5, "before 😀 after")
        figure.savefig(out, format="pdf")
    page = only_page(extractor, tmp_path / "a.pdf", out.getvalue())
    assert words(page) == ["before", "😀", "after"]
    check_words(page)


def test_words_of_real_pages(extractor: Extractor, shared_data: Path) -> None:
    path = shared_data / "financebench-mini" / "pdfs" / "FOOTLOCKER_2022_8K_dated-2022-05-20.pdf"
    pages = extractor.read(path, "pdf", thumbnails=True).pages
    for page in pages:
        check_words(page)
        assert not any(ord(character) < 32 and character not in "\n\t" for character in page.text)
        assert max(Image.open(io.BytesIO(page.thumbnail)).size) == 320
        assert not page.needs_ocr


def test_scans_need_ocr_and_text_does_not(extractor: Extractor, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    layer = b"BT 3 Tr /F1 0.02 Tf 0.1 0.5 Td (%s) Tj ET"
    assert only_page(extractor, path, scan(b"")).needs_ocr
    assert only_page(extractor, path, scan(layer % b"Page 7")).needs_ocr
    assert not only_page(extractor, path, scan(layer % (b"what OCR once read, " * 4))).needs_ocr
    assert not only_page(extractor, path, simple(b"BT /F1 12 Tf 72 720 Td (short) Tj ET")).needs_ocr
    assert not only_page(extractor, path, simple(b"")).needs_ocr


def scan(layer: bytes) -> bytes:
    """A page that is one picture, with a text layer over it."""
    pdf = Pdf()
    head = b"/Type /XObject /Subtype /Image /Width 60 /Height 60 /ColorSpace /DeviceGray /BitsPerComponent 8"
    image = pdf.stream(bytes(3600), head)
    pdf.page(pdf.stream(b"612 0 0 792 0 0 cm /I Do " + layer), resources=b"/XObject << /I %d 0 R >>" % image)
    return pdf.bytes()


def test_a_text_layer_of_garbage_needs_ocr(extractor: Extractor, tmp_path: Path) -> None:
    pdf = Pdf()
    cmap = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def
        1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfrange <20> <7e> <e000> endbfrange
        endcmap end end"""
    unicode = pdf.stream(cmap)
    font = pdf.add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode %d 0 R >>" % unicode)
    content = pdf.stream(b"BT /F2 12 Tf 72 720 Td (nobody can read this though it looks well) Tj ET")
    pdf.page(content, resources=b"/Font << /F2 %d 0 R >>" % font)
    data = pdf.bytes().replace(b"/Font << /F1", b"/None << /F1")
    page = only_page(extractor, tmp_path / "a.pdf", data)
    assert page.needs_ocr
    assert any(0xE000 <= ord(character) < 0xF000 for character in page.text)


def test_pages_can_be_rendered_while_others_are_read(extractor: Extractor, pdf: Any, tmp_path: Path) -> None:
    path = pdf.text(tmp_path / "a.pdf", [["one"], ["two"], ["three"]], "Title")
    other = pdf.text(tmp_path / "b.pdf", [["other"]])
    pages = extractor.pages(path, "pdf")
    assert pages.title == "Title"
    found = []
    for page in pages:
        found.append(page.text)
        assert ink(extractor.render(path, "pdf", page.number or 0, longest=200)).any()
        assert ink(extractor.render(other, "pdf", 1, longest=200)).any()
    assert found == ["one", "two", "three"]
    with pytest.raises(InvalidInputError, match="no page 4"):
        extractor.render(path, "pdf", 4)


def test_sizes_of_rendered_pages(extractor: Extractor, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(simple())
    assert extractor.render(path, "pdf", 1, dpi=72).shape == (792, 612, 3)
    assert extractor.render(path, "pdf", 1, longest=396).shape == (396, 306, 3)
    assert extractor.render(path, "pdf", 1, longest=396, dpi=72).shape == (396, 306, 3)
    assert extractor.render(path, "pdf", 1, longest=9999, dpi=72).shape == (792, 612, 3)
    assert extractor.render(path, "pdf", 1).shape == (1650, 1275, 3)
    path.write_bytes(simple(box=b"[0 0 14400000 14400000]"))
    assert extractor.render(path, "pdf", 1, longest=100).shape == (100, 100, 3)
    pixels = extractor.render(path, "pdf", 1, longest=100_000)
    assert 39_000_000 < pixels.shape[0] * pixels.shape[1] <= 40_020_000
    with pytest.raises(InvalidInputError, match="more than 40 million pixels"):
        extractor.render(path, "pdf", 1, dpi=72)
    path.write_bytes(simple(box=b"[0 0 1 20000]"))
    with pytest.raises(InvalidInputError, match="too thin"):
        extractor.render(path, "pdf", 1, longest=100)
    with pytest.raises(InvalidInputError, match="positive"):
        extractor.render(path, "pdf", 1, longest=0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_images_are_pages(extractor: Extractor, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    page = only_page(extractor, path, saved(kind, (600, 400)), "image", thumbnails=True)
    assert (page.number, page.text, page.width, page.height, page.needs_ocr) == (1, "", 600, 400, True)
    assert Image.open(io.BytesIO(page.thumbnail)).size == (320, 213)
    expected = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(extractor.render(path, "image", 1), expected)
    assert extractor.render(path, "image", 1, longest=300, dpi=999).shape == (200, 300, 3)
    assert extractor.render(path, "image", 1, longest=3000).shape == (400, 600, 3)
    with pytest.raises(InvalidInputError, match="no page 2"):
        extractor.render(path, "image", 2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_upright(extractor: Extractor, tmp_path: Path, kind: str, turn: int) -> None:
    path = tmp_path / "a"
    exif = Image.Exif()
    exif[0x0112] = turn
    corner = Image.new("RGB", (80, 40), "white")
    corner.paste("black", (0, 0, 30, 20))
    corner.save(path, kind, exif=exif)
    (page,) = extractor.read(path, "image", thumbnails=True).pages
    pixels = extractor.render(path, "image", 1)
    with Image.open(path) as image:
        image.load()
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(pixels, expected)
    assert (page.height, page.width) == pixels.shape[:2]
    thumbnail = np.asarray(Image.open(io.BytesIO(page.thumbnail)).convert("RGB"))
    assert np.abs(thumbnail.astype(int) - expected).mean() < 20


def test_frames_of_a_tiff_are_pages(extractor: Extractor, tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    frames = [Image.new("RGB", (40 + number, 50), (number * 60, 0, 0)) for number in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    pages = extractor.read(path, "image").pages
    assert [(page.number, page.width) for page in pages] == [(number + 1, 40 + number) for number in range(4)]
    for number in (4, 1, 3):
        assert extractor.render(path, "image", number)[0, 0, 0] == (number - 1) * 60


def test_animations_are_their_first_frame(extractor: Extractor, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 50), color) for color in ("red", "blue")]
    for kind in ("WEBP", "PNG"):
        frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:], lossless=True)
        (page,) = extractor.read(tmp_path / "a", "image").pages
        assert page.number == 1
        assert extractor.render(tmp_path / "a", "image", 1)[9, 9].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("mode", "color", "shown"),
    [
        ("1", 0, (0, 0, 0)), ("L", 77, (77, 77, 77)), ("LA", (9, 0), (255, 255, 255)), ("P", 0, None),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)), ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)), ("I;16", 257, (1, 1, 1)), ("F", 0.0, (0, 0, 0)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
    ],
)  # fmt: skip
def test_all_kinds_of_pixels_become_rgb(
    extractor: Extractor, tmp_path: Path, mode: str, color: Any, shown: Any
) -> None:
    path = tmp_path / "a"
    Image.new(mode, (30, 20), color).save(path, "TIFF" if mode in ("CMYK", "F") else "PNG")
    pixels = extractor.render(path, "image", 1)
    assert pixels.shape == (20, 30, 3)
    assert pixels.flags.c_contiguous
    assert shown is None or np.abs(pixels.astype(int) - shown).max() <= 1
    assert extractor.read(path, "image", thumbnails=True).pages[0].thumbnail


@pytest.mark.slow
def test_large_images_fit_the_memory(extractor: Extractor, tmp_path: Path) -> None:
    path = tmp_path / "a"
    for kind in ("PNG", "WEBP"):
        Image.new("RGBA", (7000, 7000), (0, 0, 0, 0)).save(path, kind, lossless=True, method=0, compress_level=1)
        assert extractor.read(path, "image", thumbnails=True).pages[0].width == 7000
        pixels = extractor.render(path, "image", 1)
        assert 39_000_000 < pixels.shape[0] * pixels.shape[1] <= 40_000_000
        assert (pixels[::500] == 255).all()


def test_html_has_no_pages_to_render(extractor: Extractor, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<html><title>T</title><body><p>Some words.</p></body></html>")
    (page,) = extractor.read(path, "html", thumbnails=True).pages
    assert (page.number, page.text, page.width, page.thumbnail, len(page.spans)) == (None, "Some words.", 0, b"", 0)
    with pytest.raises(InvalidInputError, match="no pages"):
        extractor.render(path, "html", 1)


def slow_pages(count: int, same: bool) -> bytes:
    """Pages that take long to draw, all different or all the same."""
    pdf = Pdf()
    parent = 2 * count + 1
    kids = []
    for number in range(count):
        lines = b"0 0 m 612 792 l 300 9 l 9 700 l S\n" * 1500
        content = pdf.stream(lines + b"%d 0 m 9 9 l S" % (0 if same else 50 * number), pack=True)
        kids.append(
            pdf.add(b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Contents %d 0 R >>" % (parent, content))
        )
    pdf.add(b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(b"%d 0 R" % kid for kid in kids), count))
    pdf.root(parent)
    return pdf.bytes()


@pytest.mark.slow
def test_pages_that_are_delivered_earn_time(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    with Extractor(3.0, 1536 << 20) as extractor:
        path.write_bytes(slow_pages(12, same=False))
        assert len(extractor.read(path, "pdf", thumbnails=True).pages) == 12
        path.write_bytes(slow_pages(400, same=True))
        with pytest.raises(InvalidInputError, match="longer than 3 seconds"):
            extractor.read(path, "pdf", thumbnails=True)
