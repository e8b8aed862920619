"""The header of array files, and what is said of files that are not ours."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import FormatVersionError, IndexCorruptedError
from latefold.index.storage.format import FORMAT_VERSION, HEADER_SIZE, MAGIC, Header, check_version

headers = st.builds(Header, st.sampled_from(["uint8", "int64"]), st.integers(0, 1 << 40), st.integers(0, 1 << 20))


@given(headers)
def test_a_header_survives_packing(header: Header) -> None:
    data = header.pack()
    assert len(data) == HEADER_SIZE
    assert Header.unpack(data, "x.bin") == header


def test_the_bytes_of_a_header() -> None:
    assert Header("int64", 3, 0).pack() == MAGIC + struct.pack("<HH8sQQ32x", FORMAT_VERSION, 0, b"<i8", 3, 0)


@pytest.mark.parametrize(
    ("header", "shape", "size"),
    [
        (Header("int64", 3, 0), (3,), 64 + 24),
        (Header("uint8", 3, 5), (3, 5), 64 + 15),
        (Header("uint8", 0, 5), (0, 5), 64),
        (Header("int64", 0, 0), (0,), 64),
    ],
)
def test_shape_and_size(header: Header, shape: tuple[int, ...], size: int) -> None:
    assert header.shape == shape
    assert header.file_size == size


@given(headers, st.integers(0, HEADER_SIZE - 1), st.integers(1, 255))
def test_a_changed_header_is_refused_or_reads_differently(header: Header, place: int, change: int) -> None:
    data = bytearray(header.pack())
    data[place] ^= change
    try:
        assert Header.unpack(bytes(data), "x.bin") != header
    except (IndexCorruptedError, FormatVersionError) as error:
        message = str(error)
    else:
        return
    assert "x.bin" in message


@given(st.binary(max_size=2 * HEADER_SIZE))
def test_any_bytes_give_a_header_or_a_typed_error(data: bytes) -> None:
    for value in (data, MAGIC + data, MAGIC + struct.pack("<HH", FORMAT_VERSION, 0) + data):
        try:
            header = Header.unpack(value, "x.bin")
        except (IndexCorruptedError, FormatVersionError):
            continue
        assert header.pack()[:HEADER_SIZE] == value[:HEADER_SIZE]


@pytest.mark.parametrize(("rows", "columns"), [(1 << 49, 1), (1, 1 << 32), ((1 << 64) - 1, (1 << 64) - 1)])
def test_impossible_sizes_are_damage(rows: int, columns: int) -> None:
    data = Header("uint8", rows, columns).pack()
    with pytest.raises(IndexCorruptedError, match=r"x\.bin"):
        Header.unpack(data, "x.bin")


def test_versions() -> None:
    check_version(FORMAT_VERSION, "x.bin")
    with pytest.raises(FormatVersionError, match=r"x\.bin has format version 3.*upgrade latefold"):
        check_version(FORMAT_VERSION + 1, "x.bin")
    with pytest.raises(FormatVersionError, match=r"x\.bin has format version 1.*index again"):
        check_version(1, "x.bin")
    with pytest.raises(IndexCorruptedError, match=r"x\.bin has format version 0"):
        check_version(0, "x.bin")
