"""Exact rankings against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latefold import TokenEmbeddings
from latefold.eval.truth import best, exact_top, maxsim_scores
from latefold.eval.vectors import Vectors


def on_disk(path, tokens, digest="d"):
    np.save(path, tokens.vectors.astype("<f2"))
    start = np.load(path, mmap_mode="r").offset
    return Vectors(path, start, tokens.dim, tokens.offsets, np.zeros((len(tokens), tokens.dim), np.float32), digest)


@pytest.fixture
def documents(rng, tmp_path):
    lengths = [3, 0, 7, 1, 5]
    tokens = TokenEmbeddings.from_list([rng.integers(-8, 8, (n, 4)) / 4 for n in lengths], dim=4)
    return on_disk(tmp_path / "documents.npy", tokens)


@pytest.fixture
def queries(rng, tmp_path):
    tokens = TokenEmbeddings.from_list([rng.integers(-8, 8, (n, 4)) / 4 for n in (2, 0, 5, 0)], dim=4)
    return on_disk(tmp_path / "queries.npy", tokens, "q")


def test_scores_equal_plain_maxsim(documents, queries):
    scores = maxsim_scores(documents, queries.read())
    for i, query in enumerate(queries.read()):
        for j, document in enumerate(documents.read()):
            expected = (query @ document.T).max(axis=1).sum() if len(document) else -np.inf
            assert scores[i, j] == (expected if len(query) else 0)


def test_rankings_are_kept_by_digest(documents, queries, tmp_path):
    rows = exact_top(tmp_path / "truth", documents, queries)
    np.testing.assert_array_equal(rows[0], best(maxsim_scores(documents, queries.read()), 100)[0])
    (kept,) = (tmp_path / "truth").iterdir()
    np.save(kept, rows[:, ::-1])
    np.testing.assert_array_equal(exact_top(tmp_path / "truth", documents, queries), rows[:, ::-1])
    exact_top(tmp_path / "truth", documents.head(3), queries)
    assert len(list((tmp_path / "truth").iterdir())) == 2


@given(arrays(np.float32, (3, 9), elements=st.sampled_from([-np.inf, -1, 0, 0.5, 2])), st.integers(1, 12))
def test_best_is_a_stable_sort(scores, count):
    np.testing.assert_array_equal(best(scores, count), np.argsort(-scores, axis=1, kind="stable")[:, :count])
