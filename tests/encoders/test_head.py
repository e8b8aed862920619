"""The head: its bytes, and what it refuses."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from latefold.encoders.errors import EncoderError
from latefold.encoders.head import MAX_BYTES, MAX_MARKER, Head


def make_head(width: int = 24, dims: int = 12, seed: int = 0, *, scalar_mix: bool = False) -> Head:
    rng = np.random.default_rng(seed)
    return Head(
        np.float32(0.4) if scalar_mix else rng.standard_normal(width).astype(np.float32),
        rng.standard_normal((width, dims)).astype(np.float32),
        rng.standard_normal(dims).astype(np.float32),
    )


def parts(head: Head) -> dict[str, np.ndarray]:
    return {"mix": head.mix, "weight": head.weight, "bias": head.bias}


def test_the_weight_of_the_marker_is_kept_and_checked() -> None:
    plain, weighted = make_head(), replace(make_head(), marker=2.5)
    assert Head.read(plain.to_bytes()).marker == 1
    assert Head.read(weighted.to_bytes()).marker == 2.5
    assert len(weighted.to_bytes()) > len(plain.to_bytes())
    for wrong in (0.0, -1.0, float("nan"), MAX_MARKER * 2):
        with pytest.raises(EncoderError, match="marker of the head counts"):
            replace(plain, marker=wrong)
    for stored in (np.ones(1, np.float32), np.float64(2), np.float32("inf")):
        with pytest.raises(EncoderError, match="marker"):
            Head.read(save({**parts(plain), "marker": np.asarray(stored)}))


@pytest.mark.parametrize("scalar_mix", [True, False])
def test_bytes_come_back_as_the_same_head(scalar_mix: bool) -> None:
    head = make_head(scalar_mix=scalar_mix)
    again = Head.read(head.to_bytes())
    for name, value in parts(head).items():
        np.testing.assert_array_equal(getattr(again, name), value)
        assert getattr(again, name).shape == value.shape
    assert again.to_bytes() == head.to_bytes()
    assert (again.width, again.dims) == (24, 12)


@pytest.mark.parametrize(
    "change",
    [
        {"mix": np.ones(23, np.float32)},
        {"mix": np.ones((1, 24), np.float32)},
        {"weight": np.ones(24, np.float32)},
        {"weight": np.ones((24, 0), np.float32), "bias": np.ones(0, np.float32)},
        {"weight": np.ones((24, 12), np.float64)},
        {"weight": np.full((24, 12), np.nan, np.float32)},
        {"bias": np.ones(11, np.float32)},
        {"bias": np.full(12, np.inf, np.float32)},
        {"bias": np.ones(12, np.int32)},
        {"more": np.ones(1, np.float32)},
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(EncoderError):
        Head.read(save({**parts(make_head()), **change}))


def test_a_missing_part_is_refused_by_name() -> None:
    tensors = parts(make_head())
    del tensors["bias"]
    with pytest.raises(EncoderError, match="holds mix, weight; expected mix, weight, bias"):
        Head.read(save(tensors))


def bfloat16_head() -> bytes:
    header = b'{"mix":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    return struct.pack("<Q", len(header)) + header + b"\0\0"


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04]\x94.", b"\xff" * 64, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{}", bfloat16_head()],
)
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(EncoderError, match=r"head\.safetensors"):
        Head.read(content)


@given(st.integers(0, 2000), st.integers(1, 255))
def test_a_damaged_file_is_refused_or_a_head(place: int, change: int) -> None:
    content = bytearray(make_head().to_bytes())
    content[place % len(content)] ^= change
    try:
        head = Head.read(bytes(content))
    except EncoderError:
        return
    assert (head.width, head.dims) == (24, 12)


def test_a_huge_file_is_not_even_parsed() -> None:
    with pytest.raises(EncoderError, match="at most"):
        Head.read(b"\0" * (MAX_BYTES + 1))
