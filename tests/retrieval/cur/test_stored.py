"""Item vectors in LVQ rows: what a scan finds is what the decoded vectors say, wherever segments begin and end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import judge_of, low_rank

from latefold.index.lvq import LVQ
from latefold.retrieval.cur.items import ItemVectors
from latefold.retrieval.cur.rounds import Plan
from latefold.retrieval.cur.search import AnchorIndex, adacur, axn
from latefold.retrieval.cur.stored import StoredItems


def stored(vectors: np.ndarray, sizes: list[int], *, bits: int = 8, unit: float = 0.0) -> tuple[StoredItems, LVQ]:
    lvq = LVQ.fit(vectors, bits)
    rows = lvq.encode(vectors)
    return StoredItems(np.split(rows, np.cumsum(sizes)[:-1]), lvq, unit), lvq


def decoded(vectors: np.ndarray, lvq: LVQ, unit: float) -> ItemVectors:
    """The same items in memory."""
    plain = lvq.decode(lvq.encode(vectors))
    return ItemVectors(plain[:, :-1], plain[:, -1] * np.float32(unit)) if unit else ItemVectors(plain)


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@given(SIZES, st.sampled_from([0.0, 0.3, 7.0]), st.sampled_from([4, 8]), st.integers(0, 99), st.integers(0, 60))
def test_it_answers_as_the_decoded_vectors_in_memory_do(sizes, unit, bits, seed, count) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((sum(sizes), 9)).astype(np.float32)
    items, lvq = stored(vectors, sizes, bits=bits, unit=unit)
    plain = decoded(vectors, lvq, unit)
    assert (len(items), items.dim) == (len(plain), plain.dim)
    assert items.scale == pytest.approx(plain.scale, rel=1e-5)
    rows = rng.permutation(len(items))[: len(items) // 2]
    for ours, theirs in zip(items.take(rows), plain.take(rows), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    w, beta, allowed = rng.standard_normal(plain.dim), 0.7, rng.random(len(items)) < 0.6
    scores = items.scores(w, beta)
    step = max(np.abs(w).max(), beta * unit) / (250 if bits == 4 else 64_000)  # a scan rounds the query
    reach = step * (np.abs(lvq.decode(lvq.encode(vectors))).sum(axis=1) + np.abs(lvq.mean).sum())
    assert (np.abs(scores - plain.scores(w, beta)) <= reach + 1e-4).all()
    wanted = [row for row in sorted(range(len(items)), key=lambda row: (-scores[row], row)) if allowed[row]]
    assert items.top(w, beta, count, allowed).tolist() == wanted[:count]


@pytest.mark.parametrize("size", [1e-30, 1e30, 1e300])
def test_estimates_of_any_size_keep_their_order(rng, size: float) -> None:
    vectors = rng.standard_normal((50, 6)).astype(np.float32)
    items, _ = stored(vectors, [30, 20])
    w, everything = rng.standard_normal(6), np.ones(50, bool)
    usual = items.top(w, 0.0, 5, everything)
    assert items.top(size * w, 0.0, 5, everything).tolist() == usual.tolist()


def test_no_items() -> None:
    items = StoredItems([], LVQ(np.zeros(4, np.float32)))
    assert (len(items), items.scale, len(items.scores(np.zeros(4), 1.0))) == (0, 0.0, 0)
    assert items.top(np.zeros(4), 1.0, 3, np.ones(0, bool)).tolist() == []


@pytest.mark.parametrize("method", ["anncur", "adacur", "axn"])
def test_searches_over_codes_find_what_searches_over_their_vectors_find(method: str) -> None:
    shared, total = 0, 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        left, right, scores = low_rank(rng, 1, 400, 12, 0.5)
        vectors = (right + 0.2 * rng.standard_normal(right.shape)).astype(np.float32)
        items, lvq = stored(vectors, [150, 250])
        found = []
        for own in (items, decoded(vectors, lvq, 0.0)):
            judge = judge_of(scores[0], 60)[0]
            if method == "anncur":
                found.append(AnchorIndex(own, np.arange(25)).search(judge))
            elif method == "adacur":
                found.append(adacur(judge, own, plan=Plan(rounds=4)))
            else:
                found.append(axn(judge, own, left[0], plan=Plan(rounds=4)))
        shared += len(set(found[0].rows.tolist()) & set(found[1].rows.tolist()))
        total += 60
    assert shared >= 0.97 * total
