"""The bytes by which one model file differs from another of the same length: a graph whose top layers were trained."""

from __future__ import annotations

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .errors import EncoderError

DELTA_FILE = "delta.safetensors"
MAX_BYTES = 1 << 30
_NAMES = ("bounds", "bytes")
_GAP = 64
"""Equal bytes between two changed ones from which on they are separate ranges: a range costs 16 bytes itself."""


def make_delta(old: bytes, new: bytes) -> bytes:
    """What `apply_delta` needs to make `new` out of `old`, as a safetensors file with the tensors `bounds`, `(n, 2)`
    int64 with the start and end of each changed range, and `bytes`, uint8 with their contents one after the other.

    Raises `EncoderError` when they are not of one length: then they are not the same graph with other weights.
    """  # noqa: D205
    if len(old) != len(new):
        raise EncoderError(f"the graphs have {len(old)} and {len(new)} bytes; weights alone do not change the length")
    target = np.frombuffer(new, np.uint8)
    changed = np.flatnonzero(np.frombuffer(old, np.uint8) != target)
    cuts = np.flatnonzero(np.diff(changed) > _GAP) + 1
    runs = [run for run in np.split(changed, cuts) if len(run)]
    bounds = np.array([(run[0], run[-1] + 1) for run in runs], np.int64).reshape(-1, 2)
    content = np.concatenate([np.empty(0, np.uint8), *(target[start:end] for start, end in bounds)])
    return bytes(save({"bounds": bounds, "bytes": content}))


def apply_delta(old: bytes, delta: bytes) -> bytes:
    """The file that `make_delta` was given as `new`.

    Raises `EncoderError` when the delta is damaged or made for a file of another length.
    """
    if len(delta) > MAX_BYTES:
        raise EncoderError(f"{DELTA_FILE} has {len(delta)} bytes; at most {MAX_BYTES} are read")
    try:
        tensors = load(delta)
        bounds, content = (tensors[name] for name in _NAMES)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{DELTA_FILE} is no readable safetensors file: {error!r}") from error
    if bounds.dtype != np.int64 or bounds.shape[1:] != (2,) or content.dtype != np.uint8 or content.ndim != 1:
        raise EncoderError(
            f"{DELTA_FILE} holds bounds {bounds.dtype} {bounds.shape} and bytes {content.dtype} {content.shape};"
            " expected int64 (n, 2) and uint8 (total,)"
        )
    flat = bounds.reshape(-1)
    if ((flat < 0) | (flat > len(old))).any() or (np.diff(flat) <= 0).any():
        raise EncoderError(f"{DELTA_FILE} changes ranges that are not ascending ones of {len(old)} bytes")
    offsets = np.concatenate([[0], np.cumsum(bounds[:, 1] - bounds[:, 0])])
    if offsets[-1] != len(content):
        raise EncoderError(f"{DELTA_FILE} has {len(content)} bytes for ranges of {offsets[-1]}")
    made = np.frombuffer(old, np.uint8).copy()
    for (start, end), first, last in zip(bounds.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        made[start:end] = content[first:last]
    return made.tobytes()
