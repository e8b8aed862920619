"""What a file is, by its content first and its name second."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from .charset import WIDE_MARKS, guess_encoding, wide_encoding
from .fields import has_text_field
from .options import Kind

HEAD_BYTES = 64 * 1024
"""How much of a file's beginning decides what it is."""

_MARKDOWN = {".md", ".markdown", ".mdown", ".mkd", ".qmd", ".rmd"}
_HTML = {".html", ".htm", ".xhtml"}
_JSONL = {".jsonl", ".ndjson"}
_TABLES = {".csv": ",;\t|", ".tsv": "\t", ".tab": "\t"}
_TEXT = {".txt", ".text", ".log", ".json", ".xml", ".rst", ".py", *_MARKDOWN, *_HTML, *_JSONL, *_TABLES}
_HTML_STARTS = ("<!doctype html", "<html", "<head", "<body")

_BINARY_STARTS = (
    (b"\0\0\x01\0", "icon"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office file"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\xfd7zXZ\0", "xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"SQLite format 3\0", "SQLite database"),
    (b"\x7fELF", "program"),
)
_IMAGE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")
_TEXTLIKE_STARTS = (  # they could begin a text too, so a NUL byte must follow
    (b"GIF8", "GIF image"),
    (b"RIFF", "image, sound or video"),
    (b"BM", "BMP image"),
    (b"BZh", "bzip2 archive"),
    (b"Rar!", "rar archive"),
    (b"MZ", "program"),
    (b"!<arch>", "library archive"),
    (b"ID3", "sound"),
    (b"OggS", "sound or video"),
)
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b")
_TEXT_FORMATS = (("{\\rtf", "RTF file"), ("%!PS", "PostScript file"), ("<svg", "SVG image"))


@dataclass(frozen=True)
class Unsupported:
    """A file that is left out on purpose."""

    reason: str


def sniff(name: str, head: bytes) -> Kind | Unsupported:
    """The kind of a file from its name and its first `HEAD_BYTES`."""
    suffix = PurePath(name).suffix.lower()
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in head[:1024]):
        return Kind.PDF
    if head.startswith(b"PAR1"):
        return Kind.PARQUET
    if head.startswith(_IMAGE_STARTS) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return Kind.IMAGE
    binary = _binary_reason(head, suffix)
    if binary is None:
        return _sniff_text(suffix, head)
    if suffix == ".pdf" and binary == "binary file":
        return Kind.PDF  # damaged: opening it gives the reason
    return Unsupported(f"unsupported type: {binary}")


def _binary_reason(head: bytes, suffix: str) -> str | None:
    for start, label in _BINARY_STARTS:
        if head.startswith(start):
            return label
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_label(head, suffix)
    if head.startswith(WIDE_MARKS) or wide_encoding(head) is not None:
        return None
    nuls = head.count(0)
    if nuls == 0:
        return "binary file" if _control_share(head) > 0.1 else None
    for start, label in _TEXTLIKE_STARTS:
        if head.startswith(start):
            return label
    if head[4:8] == b"ftyp":
        return "image or video"
    if head[257:262] == b"ustar":
        return "tar archive"
    stray = suffix in _TEXT and nuls < 0.01 * len(head) + 1 and _control_share(head) < 0.1
    return None if stray else "binary file"


def _zip_label(head: bytes, suffix: str) -> str:
    office = b"[Content_Types].xml" in head or b"mimetypeapplication/" in head
    if suffix in {".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub"} or office:
        return f"{suffix[1:]} file" if suffix else "Office file"
    return "zip archive"


def _control_share(head: bytes) -> float:
    return 1 - len(head.translate(None, _CONTROLS)) / max(1, len(head))


def _sniff_text(suffix: str, head: bytes) -> Kind | Unsupported:
    text = head.decode(guess_encoding(head), errors="replace").lstrip("\ufeff")
    start = _skip_prolog(text)
    for mark, label in _TEXT_FORMATS:
        if start.startswith(mark):
            return Unsupported(f"unsupported type: {label}")
    if start.startswith(_HTML_STARTS) or (suffix in _HTML and start.startswith("<")):
        return Kind.HTML
    if _is_jsonl(suffix, text):
        return Kind.JSONL
    if table_delimiter(suffix, text) is not None:
        return Kind.CSV
    return Kind.MARKDOWN if suffix in _MARKDOWN else Kind.TEXT


def _skip_prolog(text: str) -> str:
    """The beginning of the text in lower case, after white space, an XML declaration and comments."""
    start = text[:4096].lstrip().lower()
    while start.startswith(("<?xml", "<!--")):
        end = "?>" if start.startswith("<?xml") else "-->"
        _, found, start = start.partition(end)
        if not found:
            return ""
        start = start.lstrip()
    return start


def _is_jsonl(suffix: str, text: str) -> bool:
    """One JSON object a line, with a text field; a file that is not named so needs two such lines and no others."""
    if not text.lstrip().startswith("{") and suffix not in _JSONL:
        return False
    lines = text.split("\n")
    if len(text) >= HEAD_BYTES // 4:  # the last line may be cut off
        if len(lines) == 1:
            return suffix in _JSONL
        lines.pop()
    shown = [line for line in lines if line.strip()][:8]
    records = [has_text_field(_parse(line)) for line in shown]
    return any(records) if suffix in _JSONL else len(records) > 1 and all(records)


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def table_delimiter(suffix: str, text: str) -> str | None:
    """The delimiter with which the first row names a text column; None when this is no such table."""
    for delimiter in _TABLES.get(suffix, ""):
        try:
            row = next(csv.reader(text.splitlines(), delimiter=delimiter), [])
        except csv.Error:
            continue
        if has_text_field(dict.fromkeys(row, "")):
            return delimiter
    return None
