from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.ingest.extractor import Extractor
from latefold.ingest.pages import Extracted

PARAGRAPH = "<p>A paragraph with a good number of words about cats, dogs and the weather of the week.</p>"


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    with Extractor(60.0, 1 << 30) as made:
        yield made


def numbered(extracted: Extracted) -> list[tuple[int | None, str]]:
    return [(page.number, page.text) for page in extracted.pages]


def test_pdf_pages_and_title(extractor: Extractor, pdf: Any, tmp_path: Path) -> None:
    path = pdf.text(tmp_path / "a.pdf", [["Hello (world)", "next line"], [], ["page three"]], "Tïtle")
    extracted = extractor.read(path, "pdf")
    assert extracted.title == "Tïtle"
    assert numbered(extracted) == [(1, "Hello (world)\nnext line"), (2, ""), (3, "page three")]
    assert extracted.unreadable == []


def test_a_real_pdf(extractor: Extractor, shared_data: Path) -> None:
    path = shared_data / "financebench-mini" / "pdfs" / "FOOTLOCKER_2022_8K_dated-2022-05-20.pdf"
    extracted = extractor.read(path, "pdf")
    assert [page.number for page in extracted.pages] == list(range(1, len(extracted.pages) + 1))
    text = "\n".join(page.text for page in extracted.pages)
    assert "Foot Locker" in text
    assert "\r" not in text
    assert "\ufffe" not in text


def test_encrypted_and_damaged_pdfs_have_reasons(extractor: Extractor, pdf: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="encrypted"):
        extractor.read(pdf.encrypted(tmp_path / "e.pdf"), "pdf")
    good = pdf.text(tmp_path / "a.pdf", [["hello"]])
    (tmp_path / "cut.pdf").write_bytes(good.read_bytes()[:200])
    with pytest.raises(InvalidInputError, match="not a readable PDF"):
        extractor.read(tmp_path / "cut.pdf", "pdf")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        extractor.read(tmp_path / "missing.pdf", "pdf")
    assert numbered(extractor.read(good, "pdf")) == [(1, "hello")]


def test_a_pdf_that_unpacks_to_too_much_is_refused_and_the_next_is_read(pdf: Any, tmp_path: Path) -> None:
    good = pdf.text(tmp_path / "a.pdf", [["hello"]])
    bomb = pdf.memory_bomb(tmp_path / "bomb.pdf", 300 << 20)
    with Extractor(60.0, 400 << 20) as extractor:
        with pytest.raises(InvalidInputError, match="400 MiB of memory"):
            extractor.read(bomb, "pdf")
        assert numbered(extractor.read(good, "pdf")) == [(1, "hello")]


def test_a_pdf_that_takes_too_long_is_given_up_and_the_next_is_read(pdf: Any, tmp_path: Path) -> None:
    good = pdf.text(tmp_path / "a.pdf", [["hello"]])
    with Extractor(3.0, 1536 << 20) as extractor:
        with pytest.raises(InvalidInputError, match="longer than 3 seconds"):
            extractor.read(pdf.time_bomb(tmp_path / "bomb.pdf"), "pdf")
        assert numbered(extractor.read(good, "pdf")) == [(1, "hello")]


def html(extractor: Extractor, path: Path, page: str, encoding: str = "utf-8") -> tuple[str, str]:
    path.write_bytes(page.encode(encoding))
    extracted = extractor.read(path, "html")
    return extracted.title, "\n".join(page.text for page in extracted.pages)


def test_html_gives_the_main_text_and_the_title(extractor: Extractor, tmp_path: Path) -> None:
    page = f"""<html><head><title>Cats &amp;
      dogs</title><script>var hidden = 1</script><style>p {{}}</style></head>
      <body><nav><a href=x>Home</a></nav><h1>Heading</h1>{PARAGRAPH * 4}<!-- remark -->
      <ul><li>A point that is made in a list of several points.</li></ul></body></html>"""
    title, text = html(extractor, tmp_path / "a.html", page)
    assert title == "Cats & dogs"
    assert text.startswith("Heading\nA paragraph")
    assert "point that is made" in text
    for hidden in ("var hidden", "remark", "Home", "{}"):
        assert hidden not in text


def test_html_without_a_main_text_gives_all_text(extractor: Extractor, tmp_path: Path) -> None:
    rows = "".join(f'<tr><td><a href="#{i}">Chapter {i}</a></td><td>p. {i}</td></tr>' for i in range(200))
    _, text = html(
        extractor, tmp_path / "a.html", f"<html><body><table>{rows}</table><script>no</script></body></html>"
    )
    assert "Chapter 199" in text
    assert "no" not in text.split()


def test_html_in_another_encoding_and_with_nuls(extractor: Extractor, tmp_path: Path) -> None:
    page = f"<html><head><title>Größe</title></head><body>{PARAGRAPH} Straße in München {PARAGRAPH}</body></html>"
    for encoding in ("latin-1", "utf-16", "utf-8-sig"):
        title, text = html(extractor, tmp_path / "a.html", page, encoding)
        assert title == "Größe"
        assert "München" in text
    russian = '<html><head><meta charset="windows-1251"><title>Язык</title></head><body>words</body></html>'
    assert html(extractor, tmp_path / "a.html", russian, "cp1251")[0] == "Язык"
    assert "\0" not in html(extractor, tmp_path / "a.html", page.replace("cats", "c\0ats"))[1]


@pytest.mark.parametrize(
    "page",
    [
        "<html>",
        "<html><body>" + "<div>" * 50_000 + "deep",
        "<html><body>" + "<b><i>" * 5_000 + "deep",
        "<html><body><p " + "a=1 " * 100_000 + ">x</p>",
        "<html><body>" + "<table><tr><td>" * 3_000 + "x",
        "<html>\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_hostile_html_does_no_harm(extractor: Extractor, tmp_path: Path, page: str) -> None:
    title, _ = html(extractor, tmp_path / "a.html", page)
    assert title == ""
