from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.ingest.options import Kind
from latefold.ingest.sniff import Unsupported, sniff

RECORD = json.dumps({"_id": "1", "text": "hello"})


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.txt", b"plain words", Kind.TEXT),
        ("noname", b"plain words", Kind.TEXT),
        ("a.py", b"import os\n", Kind.TEXT),
        ("a.json", b'{"text": "one object, many lines",\n "a": 1}', Kind.TEXT),
        ("a.xml", b"<?xml version='1.0'?><feed></feed>", Kind.TEXT),
        ("a.md", b"# Title", Kind.MARKDOWN),
        ("a.md", b'<p align="center">a logo</p>\n# Title', Kind.MARKDOWN),
        ("a.html", b"<p>fragment</p>", Kind.HTML),
        ("a.txt", b"\n <!-- c --> <!DOCTYPE html><html></html>", Kind.HTML),
        ("a", b'<?xml version="1.0"?>\n<html xmlns="x"></html>', Kind.HTML),
        ("a.html", b"just words", Kind.TEXT),
        ("a.pdf", b"%PDF-1.7\n", Kind.PDF),
        ("a.txt", b"\n%PDF-1.7\n", Kind.PDF),
        ("a.pdf", b"junk before %PDF-1.7\n", Kind.PDF),
        ("a.pdf", b"<html>not found</html>", Kind.HTML),
        ("a.pdf", b"\0\1\2\3" * 9, Kind.PDF),
        ("a.py", b"MAGIC = b'%PDF-'", Kind.TEXT),
        ("a", b"PAR1\x15\x04", Kind.PARQUET),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0", Kind.IMAGE),
        ("a", b"\xff\xd8\xff\xe0", Kind.IMAGE),
        ("a", b"II*\0\x08\0\0\0", Kind.IMAGE),
        ("a", b"MM\0*\0\0\0\x08", Kind.IMAGE),
        ("a", b"RIFF\x10\0\0\0WEBPVP8 ", Kind.IMAGE),
        ("a.jsonl", RECORD.encode(), Kind.JSONL),
        ("a.txt", f"{RECORD}\n\n{RECORD}\n".encode(), Kind.JSONL),
        ("a.jsonl", f"not json\n{RECORD}\n".encode(), Kind.JSONL),
        ("a.txt", f"not json\n{RECORD}\n".encode(), Kind.TEXT),
        ("a.jsonl", b'{"ts": 1, "level": "info"}\n' * 3, Kind.TEXT),
        ("a.jsonl", b'{"text": "' + b"x" * 65526, Kind.JSONL),
        ("a.csv", b"id,Text\n1,hello\n", Kind.CSV),
        ("a.csv", b"id;text\n1;hello\n", Kind.CSV),
        ("a.tsv", b"id\ttext\n1\thello\n", Kind.CSV),
        ("a.csv", b"x,y\n1,2\n", Kind.TEXT),
        ("a.txt", b"id,text\n1,hello\n", Kind.TEXT),
        ("a.csv", "id,text\n1,hello\n".encode("utf-16"), Kind.CSV),
        ("a.txt", "hello".encode("utf-16"), Kind.TEXT),
        ("a.bin", "hello all".encode("utf-16-le"), Kind.TEXT),
        ("a.txt", b"words " * 40 + b"\0 one stray NUL", Kind.TEXT),
        ("a.txt", b"MZ is how it begins", Kind.TEXT),
    ],
)
def test_kinds(name: str, head: bytes, kind: Kind) -> None:
    assert sniff(name, head) is kind


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        ("a", b"GIF89a\0\0", "GIF image"),
        ("a.docx", b"PK\x03\x04\x14\0", "docx file"),
        ("a.zip", b"PK\x03\x04\x14\0", "zip archive"),
        ("a", b"PK\x03\x04\x14\0 [Content_Types].xml", "Office file"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office file"),
        ("a.gz", b"\x1f\x8b\x08", "gzip archive"),
        ("a", b"\0\1\2\3" * 9, "binary file"),
        ("a.txt", b"\0" * 50 + b"text", "binary file"),
        ("a.txt", bytes(range(1, 32)), "binary file"),
        ("a.rtf", rb"{\rtf1 hello}", "RTF file"),
        ("a.svg", b"<?xml version='1.0'?><svg></svg>", "SVG image"),
        ("a.mp4", b"\0\0\0\x18ftypmp42", "image or video"),
        ("a", b"x" * 257 + b"ustar\0", "tar archive"),
    ],
)
def test_unsupported_types_have_a_reason(name: str, head: bytes, reason: str) -> None:
    assert sniff(name, head) == Unsupported(f"unsupported type: {reason}")


@given(st.sampled_from(["a", "a.txt", "a.csv", "a.jsonl", "a.html", "a.pdf", "a.md"]), st.binary(max_size=200))
def test_any_bytes_are_something(name: str, head: bytes) -> None:
    assert isinstance(sniff(name, head), Kind | Unsupported)
