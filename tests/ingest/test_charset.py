from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.ingest.charset import clean, decode, extracted, guess_encoding

FRENCH = "Le café est près de la forêt. Où êtes-vous allés cet été ? Ça va bien, merci."
GERMAN = "Die Größe der Straße überrascht mich, schöne Grüße aus München."
RUSSIAN = "Обработка естественного языка — общее направление искусственного интеллекта. " * 3
CHINESE = "自然语言处理是计算机科学领域与人工智能领域中的一个重要方向。" * 3


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "utf-8"),
        (FRENCH, "utf-8-sig"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (FRENCH, "utf-32"),
        (FRENCH, "cp1252"),
        (GERMAN, "latin-1"),
        ("café", "latin-1"),
        (RUSSIAN, "cp1251"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-16"),
    ],
)
def test_decode_recognises_the_encoding(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_broken_bytes_in_utf8_do_not_change_the_encoding() -> None:
    data = FRENCH.encode()
    assert decode(data[:8] + b"\xff" + data[8:]).count("\ufffd") == 1


@given(st.binary(max_size=300))
def test_any_bytes_become_a_storable_text(data: bytes) -> None:
    text = decode(data)
    assert "\0" not in text
    assert "\r" not in text
    text.encode("utf-8")


@given(st.text(max_size=100))
def test_utf8_survives(text: str) -> None:
    if not text.startswith("\ufeff") and guess_encoding(text.encode()) == "utf-8":
        assert decode(text.encode()) == extracted(text)


def test_a_beginning_may_end_within_a_character() -> None:
    assert guess_encoding("é".encode() * 50 + "é".encode()[:1]) == "utf-8"


def test_clean_drops_nuls_and_lone_surrogates() -> None:
    assert clean("a\0b\ud800c\udfff😀") == "ab\ufffdc\ufffd😀"
