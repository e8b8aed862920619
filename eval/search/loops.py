"""Compiled loops of the benchmark itself: maxima of segments, and what the machine can do at most."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, thread_time

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from ...index.kernels.int8 import dot, load, total, zeros
from ...index.kernels.jit import kernel

_ROUNDS = 5
_CHAINS, _BYTES = 12, 64


@kernel
def sum_highest(products: FloatArray, offsets: IntArray, out: FloatArray) -> None:
    """`out[i]`: the sum over columns of the largest of the rows `offsets[i]` to `offsets[i + 1]`; -inf without rows."""
    width = products.shape[1]
    highest = np.empty(width, np.float32)
    for i in range(len(out)):
        highest[:] = -np.inf
        for t in range(offsets[i], offsets[i + 1]):
            for j in range(width):
                highest[j] = max(highest[j], products[t, j])
        best = np.float32(0)
        for j in range(width):
            best += highest[j]
        out[i] = best


@kernel
def _byte_products(codes: npt.NDArray[np.uint8], weights: npt.NDArray[np.int8], repetitions: int) -> int:
    """Twelve independent chains of products of bytes, nothing read or written in between."""
    x, y = load(codes, 0), load(weights, 0)
    a = b = c = d = e = f = g = h = i = j = k = m = zeros()
    for _ in range(repetitions):
        a, b, c, d = dot(a, x, y), dot(b, x, y), dot(c, x, y), dot(d, x, y)
        e, f, g, h = dot(e, x, y), dot(f, x, y), dot(g, x, y), dot(h, x, y)
        i, j, k, m = dot(i, x, y), dot(j, x, y), dot(k, x, y), dot(m, x, y)
    first: int = total(a) + total(b) + total(c) + total(d) + total(e) + total(f)
    second: int = total(g) + total(h) + total(i) + total(j) + total(k) + total(m)
    return first + second


def int8_peak(threads: int, repetitions: int = 4_000_000) -> float:
    """Multiplications and additions of bytes a second, all threads together: the best of some rounds.

    Of CPU time on one thread, which a busy machine does not distort; of wall time on several.
    """
    codes, weights = np.ones(_BYTES, np.uint8), np.ones(_BYTES, np.int8)
    _byte_products(codes, weights, 1)

    def work(_: int) -> float:
        before = thread_time()
        _byte_products(codes, weights, repetitions)
        return thread_time() - before

    operations = 2.0 * _CHAINS * _BYTES * repetitions * threads
    return operations / _best(work, threads)


def read_peak(threads: int, size: int = 1 << 28) -> float:
    """Bytes a second that threads read from memory together, in long dot products: the best of some rounds."""
    parts = [np.ones(size // 4, np.float32) for _ in range(threads)]

    def work(part: int) -> float:
        before = thread_time()
        np.dot(parts[part], parts[part])
        return thread_time() - before

    return float(sum(part.nbytes for part in parts)) / _best(work, threads)


def _best(work: object, threads: int) -> float:
    assert callable(work)
    spent = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            before = perf_counter()
            own = list(pool.map(work, range(threads)))
            spent.append(own[0] if threads == 1 else perf_counter() - before)
    return min(spent)
