"""Random matrices of the encodings, from the raw Philox stream.

An index stores the seed and not the matrices. numpy promises that the raw stream of a bit generator never changes, but
not the streams of its distributions; so these are made here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray
from ..kernels.sketch import CountSketch


def raw_words(count: int, key: tuple[int, int, int]) -> npt.NDArray[np.uint64]:
    """`(count,)` random 64-bit words of the stream `key`: seed, repetition, purpose."""
    return np.random.Philox(np.random.SeedSequence(key)).random_raw(count)


def normals(shape: tuple[int, ...], key: tuple[int, int, int]) -> FloatArray:
    """Standard normal float32, by Box and Muller."""
    count = int(np.prod(shape))
    uniform = ((raw_words(2 * count, key) >> np.uint64(11)) + np.uint64(1)) * 2.0**-53  # in (0, 1]
    radii, angles = np.sqrt(-2 * np.log(uniform[:count])), 2 * np.pi * uniform[count:]
    values: FloatArray = (radii * np.cos(angles)).astype(np.float32).reshape(shape)
    return values


def count_sketch(count: int, width: int, key: tuple[int, int, int]) -> CountSketch:
    """A random sketch of `count` coordinates to `width`, uniform (to `width / 2**63`)."""
    words = raw_words(count, key)
    columns = ((words >> np.uint64(1)) % np.uint64(width)).astype(np.uint32)
    return CountSketch(columns, np.where(words & np.uint64(1), np.float32(1), np.float32(-1)))


def signs(shape: tuple[int, ...], key: tuple[int, int, int]) -> FloatArray:
    """+1 or -1 with equal chances, float32."""
    words = raw_words(int(np.prod(shape)), key).reshape(shape)
    return np.where(words & np.uint64(1), np.float32(1), np.float32(-1))
