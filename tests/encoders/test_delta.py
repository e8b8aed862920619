"""Differences of model files: exact, small, and refused where they cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from latefold.encoders.delta import apply_delta, make_delta
from latefold.encoders.errors import EncoderError


@given(st.binary(max_size=600), st.data())
def test_the_delta_makes_the_new_file_out_of_the_old_one(old: bytes, data: st.DataObject) -> None:
    new = bytearray(old)
    if old:
        for place in data.draw(st.lists(st.integers(0, len(old) - 1), max_size=20)):
            new[place] = data.draw(st.integers(0, 255))
    assert apply_delta(old, make_delta(old, bytes(new))) == bytes(new)


def test_only_what_differs_is_stored() -> None:
    old = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8)
    new = old.copy()
    new[5000:9000] += 1
    new[70_000] += 1
    assert len(make_delta(old.tobytes(), new.tobytes())) < 4500
    assert len(make_delta(old.tobytes(), old.tobytes())) < 300


def test_graphs_of_another_length_have_no_delta() -> None:
    with pytest.raises(EncoderError, match="3 and 4 bytes"):
        make_delta(b"abc", b"abcd")


@pytest.mark.parametrize(
    ("bounds", "size", "reason"),
    [
        ([[0, 101]], 101, "ascending"),
        ([[-1, 2]], 3, "ascending"),
        ([[5, 9], [8, 10]], 6, "ascending"),
        ([[5, 5]], 0, "ascending"),
        ([[0, 2**63 - 1], [-(2**63), -1], [0, 7]], 5, "ascending"),
        ([[0, 4]], 3, "3 bytes for ranges of 4"),
        ([0, 4], 4, "expected int64"),
    ],
)
def test_impossible_ranges_are_refused(bounds: list[object], size: int, reason: str) -> None:
    delta = save({"bounds": np.array(bounds, np.int64), "bytes": np.zeros(size, np.uint8)})
    with pytest.raises(EncoderError, match=reason):
        apply_delta(bytes(100), delta)


@pytest.mark.parametrize("delta", [b"", b"\x80\x04]\x94.", save({"bounds": np.zeros((0, 2), np.int64)})])
def test_other_files_are_refused(delta: bytes) -> None:
    with pytest.raises(EncoderError, match="no readable safetensors"):
        apply_delta(bytes(100), delta)


def test_wrong_types_are_refused() -> None:
    delta = save({"bounds": np.zeros((0, 2), np.int32), "bytes": np.zeros(0, np.uint8)})
    with pytest.raises(EncoderError, match="int32"):
        apply_delta(bytes(100), delta)
