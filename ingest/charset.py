"""Bytes to text: which encoding, and what must never reach an index (NUL characters, lone surrogates)."""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""Beginnings of texts in encodings that are full of NUL bytes (that of UTF-32-LE begins like UTF-16-LE)."""
_WESTERN = frozenset("ÀÁÂÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüœŒ€£§°«»¿¡‘’“”–—…•©®\xa0")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SAMPLE = 64 * 1024


def clean(text: str) -> str:
    """The text without NUL characters, with lone surrogates replaced by U+FFFD."""
    if _UNSTORABLE.search(text) is None:
        return text
    return _UNSTORABLE.sub(lambda match: "" if match[0] == "\0" else "\ufffd", text)


def extracted(text: str) -> str:
    """The text that character offsets refer to: `clean`, with the line feed as the only line end."""
    return clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """`extracted`, with every run of white space as one space."""
    return " ".join(extracted(text).split())


def decode(data: bytes) -> str:
    """The text of a whole file, whatever its encoding; bytes that fit nowhere become U+FFFD. Never raises."""
    return extracted(data.decode(guess_encoding(data, whole=True), errors="replace"))


def guess_encoding(data: bytes, *, whole: bool = False) -> str:
    """Name of the encoding of a text, or of its beginning: when not `whole`, it may end within a character.

    Byte order marks, then UTF-16 by its NULs, then UTF-8 (also with a few broken bytes), then Windows-1252 for
    text that is plainly western, then charset-normalizer. Short texts in legacy encodings stay guesses.
    """
    declared = json_encoding(data)
    if declared != "utf-8":
        return declared
    broken_at = _first_invalid(data, whole)
    if broken_at is None or _mostly_utf8(data):
        return "utf-8"
    start = max(0, broken_at - _SAMPLE // 2)
    sample = data[start : start + _SAMPLE]
    return "cp1252" if _plainly_western(sample) else _statistical_guess(sample)


def json_encoding(data: bytes) -> str:
    """Name of the encoding of a JSON text from its beginning: UTF-8, or plainly UTF-16 or UTF-32."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    return wide_encoding(data) or "utf-8"


def wide_encoding(data: bytes) -> str | None:
    """UTF-16 without a byte order mark, recognised by NULs at every other byte; None when it is not that."""
    head = data[:4096]
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    name = "utf-16-le" if odd > even else "utf-16-be"
    if max(odd, even) < 0.4 * pairs or min(odd, even) > 0.05 * pairs:
        return None
    text = head[: 2 * pairs].decode(name, errors="replace")
    controls = sum(1 for character in text if character < " " and not character.isspace())
    return name if controls <= 0.05 * pairs else None


def _first_invalid(data: bytes, whole: bool) -> int | None:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, whole)
    except UnicodeDecodeError as error:
        return error.start
    return None


def _mostly_utf8(data: bytes) -> bool:
    """Whether broken bytes are few among valid multi-byte characters, which chance hardly makes."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    valid = sum(1 for character in text if character > "\x7f") - broken
    return valid > 4 * broken


def _plainly_western(sample: bytes) -> bool:
    high = [character for character in sample.decode("cp1252", errors="replace") if character > "\x7f"]
    return len(high) < 0.3 * len(sample) and _WESTERN.issuperset(high)


def _statistical_guess(sample: bytes) -> str:
    if sum(byte > 0x7F for byte in sample) < 0.01 * len(sample):
        return "utf-8"  # a few stray bytes tell nothing
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    return "utf-8" if best is None else best.encoding
