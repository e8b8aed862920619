"""IEEE half precision: reading inside kernels by integer arithmetic, rounding down and up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .jit import inlined

HALF_MAX = 65504.0
"""Largest finite half."""

Halves = npt.NDArray[np.float16]


@inlined
def half_to_float(low: np.uint8, high: np.uint8) -> np.float32:
    """The float32 of a half given as its low and high byte.

    Exponent and mantissa move to their places in a float32, whose exponent bias is larger by 112. Every intermediate is
    cast to 32 bits, without which numba computes in 64 and half as many fit a vector register.
    """
    half = np.uint32(np.uint32(low) | np.uint32(np.uint32(high) << np.uint32(8)))
    magnitude = np.uint32(np.uint32(half & np.uint32(0x7FFF)) << np.uint32(13))
    value = magnitude.view(np.float32) * np.float32(2.0**112)
    if magnitude >= np.uint32(0x0F800000):  # infinity or NaN
        special = np.uint32(magnitude | np.uint32(0x7F800000))
        value = special.view(np.float32)
    return -value if half & np.uint32(0x8000) else value


def half_below(values: npt.NDArray[np.floating]) -> Halves:
    """The largest halves that are not above `values`, which must lie within `HALF_MAX`."""
    halves = values.astype(np.float16)
    np.nextafter(halves, np.float16(-np.inf), out=halves, where=halves > values)
    return halves


def half_above(values: npt.NDArray[np.floating]) -> Halves:
    """The smallest halves that are not below `values`, which must lie within `HALF_MAX`."""
    halves = values.astype(np.float16)
    np.nextafter(halves, np.float16(np.inf), out=halves, where=halves < values)
    return halves
