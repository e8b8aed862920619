import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.index.kernels import jit
from latefold.index.kernels.jit import WORK_PER_THREAD, frozen, in_threads, kernel


def test_frozen_gives_one_kind_of_array():
    source = np.arange(24, dtype=np.float64).reshape(4, 6)
    unaligned = np.frombuffer(b"\0" + bytes(48), np.uint8)[1:].view(np.float64).reshape(2, 3)
    for array in (source, source.T, source[:, ::2], source.astype(np.float32), unaligned, source[:0]):
        result = frozen(array, np.float32, 2)
        assert type(result) is np.ndarray
        assert result.dtype == np.float32
        assert result.flags.c_contiguous
        assert result.flags.aligned
        assert not result.flags.writeable
        np.testing.assert_array_equal(result, array)


def test_frozen_does_not_copy_or_freeze_what_is_fine_already(tmp_path):
    path = tmp_path / "rows"
    np.arange(12, dtype=np.uint8).tofile(path)
    mapped = np.memmap(path, np.uint8, "r", shape=(3, 4))
    assert np.shares_memory(frozen(mapped, np.uint8, 2), mapped)
    owned = np.zeros((3, 4), np.uint8)
    assert np.shares_memory(frozen(owned, np.uint8, 2), owned)
    assert owned.flags.writeable


def test_frozen_refuses_other_shapes_and_codes_of_other_types():
    with pytest.raises(InvalidInputError, match="expected 2 dimensions"):
        frozen(np.zeros(3), np.float32, 2)
    with pytest.raises(InvalidInputError, match="expected uint8"):
        frozen(np.zeros((2, 3), np.int64), np.uint8, 2)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_ranges_of_threads_cover_every_item_once(lengths, cores):
    costs = np.concatenate([[0], np.cumsum(lengths)])
    seen: list[int] = []
    lock = threading.Lock()

    def work(start, stop):
        with lock:
            seen.extend(range(start, stop))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit.config, "NUMBA_NUM_THREADS", cores)
        in_threads(work, costs, unit=WORK_PER_THREAD)
        in_threads(work, len(lengths), unit=WORK_PER_THREAD)
    assert sorted(seen) == sorted(2 * list(range(len(lengths))))


@pytest.mark.parametrize("failing", [0, 99])
def test_errors_in_threads_reach_the_caller(failing, monkeypatch):
    def work(start, stop):
        if start <= failing < stop:
            raise InvalidInputError(f"{start} to {stop}")

    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", 3)
    with pytest.raises(InvalidInputError):
        in_threads(work, 100, WORK_PER_THREAD)


def test_a_kernel_that_cannot_be_cached_still_runs():
    namespace: dict = {}
    exec("def double(x):\n    return 2 * x\n", namespace)  # numba finds no file to keep its machine code beside
    assert kernel(namespace["double"])(21) == 42
