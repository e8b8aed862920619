"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its idle threads spin beside the processes that tests start

import numpy as np
import pytest
from hypothesis import settings

from latefold import TokenEmbeddings

# How long an example takes says nothing on a busy machine; and a change is to be judged by the same examples each time.
settings.register_profile("latefold", deadline=None, derandomize=True)
settings.load_profile("latefold")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real test collections, one BEIR folder each, beside the checkout."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no shared/data folder beside the checkout: the real test collections are not here")
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def make_embeddings(rng):
    """Random unit vectors: `make_embeddings(items, dim=16, low=1, high=9)`."""

    def make(items: int, *, dim: int = 16, low: int = 1, high: int = 9) -> TokenEmbeddings:
        lengths = rng.integers(low, high, items)
        vectors = rng.standard_normal((int(lengths.sum()), dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return TokenEmbeddings(vectors, np.concatenate([[0], np.cumsum(lengths)]))

    return make
