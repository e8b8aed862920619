"""Protobuf's wire format: what is written is read again, and by protobuf itself; other bytes are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders import wire

NUMBERS = st.integers(1, (1 << 29) - 1)
VALUES = st.one_of(st.integers(0, (1 << 64) - 1), st.binary(max_size=300))


@given(st.lists(st.tuples(NUMBERS, VALUES), max_size=12))
def test_fields_come_back(parts: list[tuple[int, int | bytes]]) -> None:
    made = wire.message(*parts)
    found = list(wire.fields(memoryview(made)))
    values = [item.value if isinstance(item.value, int) else bytes(item.value) for item in found]
    assert list(zip((item.number for item in found), values, strict=True)) == parts
    assert b"".join(item.raw for item in found) == made


@given(st.binary(max_size=80))
def test_bytes_are_refused_or_split_into_fields(content: bytes) -> None:
    try:
        found = list(wire.fields(memoryview(content)))
    except ValueError:
        return
    assert b"".join(item.raw for item in found) == content


@pytest.mark.parametrize(
    "content", [b"\x08", b"\x0a\x05abcd", b"\x0d\x00\x00", b"\x0b", b"\x80" * 11, b"\x09" + bytes(7)]
)
def test_bytes_that_end_too_early_or_mean_nothing_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="byte"):
        list(wire.fields(memoryview(content)))


@given(st.text(max_size=20), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(width=32, allow_nan=False))
def test_protobuf_reads_what_is_written_and_its_bytes_are_read(name: str, integer: int, number: float) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    read = onnx.AttributeProto.FromString(wire.message((1, name), (3, integer)))
    assert (read.name, read.i) == (name, integer)
    read.f = number
    (first, second, third) = wire.fields(memoryview(read.SerializeToString(deterministic=True)))
    assert (first.text, len(second.content), third.value) == (name, 4, integer % (1 << 64))
