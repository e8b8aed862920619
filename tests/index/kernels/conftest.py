import pytest

from latefold.index.kernels import jit


@pytest.fixture
def three_threads(monkeypatch):
    """Let every kernel call, however small, run on three threads."""
    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(jit, "WORK_PER_THREAD", 1)
