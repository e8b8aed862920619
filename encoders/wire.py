"""Protobuf's wire format, as far as a few nodes in an ONNX graph need it; the `onnx` package is an extra.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MASK = (1 << 64) - 1

Value = int | str | bytes


class Field(NamedTuple):
    """number: of the field. raw: all its bytes. value: the number of a varint, or the content; fixed sizes as bytes."""

    number: int
    raw: memoryview
    value: int | memoryview

    @property
    def content(self) -> memoryview:
        """The bytes of a string, of a message or of packed numbers. Raises `ValueError` where there is one number."""
        if isinstance(self.value, int):
            raise ValueError(f"field {self.number} is a number")  # noqa: TRY004  # bad bytes, not a bad call
        return self.value

    @property
    def text(self) -> str:
        """The content as text. Raises `ValueError` where it is none."""
        return str(self.content, "utf-8")


def fields(content: memoryview) -> Iterator[Field]:
    """The fields of a message, in order. Raises `ValueError` on bytes that are no message."""
    at = 0
    while at < len(content):
        start = at
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(content, at)
            yield Field(number, content[start:at], value)
            continue
        if kind == _BYTES:
            size, at = _varint(content, at)
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise ValueError(f"wire type {kind} at byte {start} is none that is written today")
        if size > len(content) - at:
            raise ValueError(f"the field at byte {start} ends behind its message")
        at += size
        yield Field(number, content[start:at], content[at - size : at])


def message(*parts: tuple[int, Value]) -> bytes:
    """A message of these fields, numbers and values: int as varint, text and bytes with a length."""
    return b"".join(field(number, value) for number, value in parts)


def field(number: int, value: Value) -> bytes:
    """One field."""
    if isinstance(value, int):
        return _number(number << 3 | _VARINT) + _number(value & _MASK)
    content = value.encode() if isinstance(value, str) else value
    return header(number, len(content)) + content


def header(number: int, size: int) -> bytes:
    """What stands before `size` bytes of content."""
    return _number(number << 3 | _BYTES) + _number(size)


def _number(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at a byte, and where the next one does."""
    value = 0
    for place, byte in enumerate(content[at : at + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & _MASK, at + place + 1
    raise ValueError(f"no number ends after byte {at}")
