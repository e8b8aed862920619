"""How kernels are compiled and run: cached on disk, without the GIL, from as many threads as there are cores.

Threads are Python's, each inside a kernel that has released the GIL, and not numba's: its OpenMP layer kills a process
that forks afterwards, its portable layer aborts when two threads of a server enter it at once, and parallel code takes
several times longer to compile.

numba's disk cache watches the file of a kernel, not the files of the functions inlined into it: delete `__pycache__`
after editing a file whose functions others use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import config, njit

from ...encoders.embeddings import IntArray
from ...encoders.errors import InvalidInputError

Function = TypeVar("Function", bound=Callable[..., Any])

WORK_PER_THREAD = 1 << 24
"""Multiply-adds that repay the start of a thread (about a third of a millisecond)."""

# Sums may be reordered, so that they vectorize; infinities and NaN keep their meaning.
_REORDER = ("reassoc", "contract", "nsz")


def kernel(function: Function) -> Function:
    """Compile on first call and keep the machine code on disk."""
    try:
        compiled: Function = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the package nor the user's cache folder can be written
        compiled = njit(nogil=True)(function)
    return compiled


def inlined(function: Function) -> Function:
    """A function of kernels only, compiled into each caller."""
    compiled: Function = njit(forceinline=True)(function)
    return compiled


def inlined_borrowing(function: Function) -> Function:
    """Like `inlined`, for functions that make no arrays: references to those they are given are not counted.

    Counting is an atomic addition for each array on the way in and out, together longer than scoring a row.
    """
    compiled: Function = njit(forceinline=True, _nrt=False)(function)
    return compiled


def inlined_sums(function: Function) -> Function:
    """Like `inlined`, and free to reorder sums."""
    compiled: Function = njit(forceinline=True, fastmath=set(_REORDER))(function)
    return compiled


def frozen(array: npt.ArrayLike, dtype: npt.DTypeLike, ndim: int) -> npt.NDArray[Any]:
    """The array as a kernel's input: C-contiguous, aligned and read-only, so that all inputs share one signature.

    Copies what is not contiguous, aligned or of that dtype; other dtypes are never converted to bytes.
    """
    plain = np.asarray(array)
    flags = plain.flags
    if plain.ndim == ndim and plain.dtype == dtype and flags.c_contiguous and flags.aligned:  # as a rule
        if flags.writeable:
            plain = plain.view()
            plain.flags.writeable = False
        return plain
    if plain.ndim != ndim:
        raise InvalidInputError(f"got an array of shape {plain.shape}; expected {ndim} dimensions")
    if dtype is np.uint8 and plain.dtype != np.uint8:
        raise InvalidInputError(f"codes have dtype {plain.dtype}; expected uint8")
    view = np.require(plain, dtype, ("C", "A")).view()
    view.flags.writeable = False
    return view


def in_threads(work: Callable[[int, int], None], costs: int | IntArray, unit: int) -> None:
    """Call `work(start, stop)` on consecutive ranges that together cover all items, on several threads if it pays.

    costs: the number of items when all cost the same, or `(n + 1,)` int64 cumulative costs of `n` items.
    unit: multiply-adds of one unit of cost. `work` releases the GIL and writes only what belongs to its range.
    """
    if isinstance(costs, int):
        count = total = costs
    else:
        count, total = len(costs) - 1, int(costs[-1] - costs[0])
    parts = max(1, min(int(config.NUMBA_NUM_THREADS), count, total * unit // WORK_PER_THREAD))
    if parts == 1:
        work(0, count)
        return
    bounds = _split(costs, parts)
    with ThreadPoolExecutor(parts - 1) as pool:
        others = [pool.submit(work, a, b) for a, b in pairwise(bounds[:-1])]
        work(*bounds[-2:])  # here, as to start a thread and wait for it takes a tenth of a millisecond
        for done in others:
            done.result()


def _split(costs: int | IntArray, parts: int) -> Sequence[int]:
    """Bounds of `parts` ranges of about equal cost."""
    shares = np.arange(1, parts)
    if isinstance(costs, int):
        return [0, *(costs * shares // parts).tolist(), costs]
    wanted = costs[0] + (costs[-1] - costs[0]) * shares // parts
    return [0, *np.searchsorted(costs, wanted).tolist(), len(costs) - 1]
