from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from processors import routes

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.kernels import byte_maxsim, byte_rows, int8, maxsim
from latefold.index.kernels.byte_maxsim import prepare
from latefold.index.kernels.byte_rows import TILE, Tile, eight, four
from latefold.index.kernels.lanes import lanes
from latefold.index.kernels.rows import LVQ4, LVQ4X4, LVQ8, decode

LAYOUTS = [LVQ8, LVQ4, LVQ4X4]
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def estimate(queries, *rows):
    return byte_maxsim.estimate(prepare(queries), *rows)


def score(queries, *rows):
    return byte_maxsim.score(prepare(queries), *rows)


def ragged(rng, lengths, dim):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenEmbeddings(rng.standard_normal((offsets[-1], dim)).astype(np.float32), offsets)


def random_rows(rng, count, dim, layout):
    """Any codes, with constants as of coordinates of about 1."""
    half = (dim + 1) // 2
    before, after = (dim, 0) if layout == LVQ8 else (half, half if layout == LVQ4X4 else 0)
    step = rng.uniform(0.5, 1, count) * 2 / (255 if layout == LVQ8 else 15)
    constants = np.stack([rng.uniform(-1.2, -0.8, count), step], axis=1).astype("<f2")
    codes = [rng.integers(0, 256, (count, width), np.uint8) for width in (before, after)]
    return np.concatenate([codes[0], constants.view(np.uint8), codes[1]], axis=1)


def maxsim_twin(vectors, spans, tokens, offsets):
    scores = np.full((len(spans), len(offsets) - 1), -np.inf)
    for i, (a, b) in enumerate(spans):
        for j, (start, stop) in enumerate(pairwise(offsets)):
            if stop > start:
                scores[i, j] = (vectors[a:b] @ tokens[start:stop].T).max(axis=1).sum()
    return scores


def planes(queries):
    """The vectors that both planes stand for, and the first alone, float64."""
    found = lanes(queries)
    _, panels, groups, _ = found.packed.shape
    tiles = found.packed.reshape(2, panels, groups, 16, 4).transpose(0, 1, 3, 2, 4)
    codes = tiles.reshape(2, panels * 16, groups * 4)[:, : len(queries.vectors), : queries.dim].astype(np.float64)
    scaled = codes * found.scales[:, : len(queries.vectors), None]
    return scaled.sum(axis=0), scaled[0]


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 40), max_size=4),
    st.lists(st.one_of(st.integers(0, 9), st.integers(TILE - 1, 2 * TILE + 1)), max_size=6),
    st.integers(1, 140),
    st.sampled_from(LAYOUTS),
    st.integers(0, 2**32 - 1),
)
def test_kernels_equal_their_twins(query_lengths, document_lengths, dim, layout, seed):
    rng = np.random.default_rng(seed)
    queries, offsets = ragged(rng, query_lengths, dim), ragged(rng, document_lengths, 1).offsets
    rows = random_rows(rng, offsets[-1], dim, layout)
    tokens = decode(rows, dim, layout).astype(np.float64)
    both, first = planes(queries)
    spans = lanes(queries).spans
    allowed = 1e-6 * np.sqrt(dim) * np.linalg.norm(queries.vectors, axis=1).sum() + 1e-9

    scores = score(queries, rows, layout, offsets)
    exact = maxsim_twin(both, spans, tokens, offsets)
    np.testing.assert_allclose(scores, exact, rtol=0, atol=allowed)

    estimates, errors = estimate(queries, rows, layout, offsets)
    np.testing.assert_allclose(estimates, maxsim_twin(first, spans, tokens, offsets), rtol=0, atol=allowed)
    found = np.isfinite(scores)
    assert (np.abs(estimates[found].astype(np.float64) - scores[found]) <= errors[found]).all()
    assert not errors[~found].any()
    longest = np.sqrt(dim) * max(1.0, np.abs(tokens).max(initial=0)) * 1.5
    assert (errors <= (lanes(queries).rest.sum() + allowed) * longest).all()


@each_layout
@pytest.mark.parametrize("dim", [30, 128])
def test_a_score_does_not_depend_on_its_company_or_on_threads(layout, dim, three_threads, monkeypatch):
    rng = np.random.default_rng(0)
    queries, offsets = ragged(rng, [5, 0, 16, 17, 40, 3], dim), ragged(rng, rng.integers(0, 80, 30), 1).offsets
    rows = random_rows(rng, offsets[-1], dim, layout)

    def both(queries, offsets, positions=None):
        return [score(queries, rows, layout, offsets, positions), *estimate(queries, rows, layout, offsets, positions)]

    together = both(queries, offsets)
    for i in range(len(queries)):
        np.testing.assert_array_equal(both(queries.take([i]), offsets), [part[i : i + 1] for part in together])
    for j in range(0, 30, 7):
        np.testing.assert_array_equal(both(queries, offsets[j : j + 2]), [part[:, j : j + 1] for part in together])
    positions = np.array([29, 3, 3, 0])
    np.testing.assert_array_equal(both(queries, offsets, positions), [part[:, positions] for part in together])
    monkeypatch.setattr(maxsim, "QUERY_BYTES", 20 * dim * 2)
    np.testing.assert_array_equal(both(queries, offsets), together)


def test_rows_meet_queries_in_the_same_integers_on_every_route(monkeypatch):
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (9, 44), np.uint8)
    codes = rng.integers(-127, 128, (32, 40)).astype(np.int8)
    packed = int8.side_by_side(codes)[None]
    size = packed.shape[2] * 64
    for chosen in routes():
        monkeypatch.setattr(int8, "route", lambda _, chosen=chosen: chosen)
        products, pairs = njit(byte_rows.products.py_func), njit(byte_rows.pairs.py_func)

        @njit
        def run(tile, packed, narrow, out, products=products, pairs=pairs):
            a0, a1, a2, a3, a4, a5, a6, a7 = products(eight(), tile, 1, packed, size, narrow)
            (b0, b1, b2, b3), (c0, c1, c2, c3) = pairs(four(), tile, 5, packed, 0, size, narrow)
            at = 0
            for lane in (a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, c0, c1, c2, c3):
                int8.store_floats(out, at, int8.floats(lane))
                at += 16

        for narrow in (False, True):
            rows = stored & 15 if narrow else stored
            out = np.empty((16, 16), np.float32)
            run(Tile(rows, 0, 44, 9, np.empty((2, TILE), np.float32), rows, 0), packed, narrow, out)
            exact = rows[:, :40].astype(np.int64) @ codes.T.astype(np.int64)
            np.testing.assert_array_equal(out, np.concatenate([exact[1:, 16:], exact[5:, :16], exact[5:, 16:]]))


@pytest.mark.parametrize("converting", [True, False])
def test_constants_of_rows_are_read_to_the_last_and_not_beyond(converting, monkeypatch):
    if not converting:
        monkeypatch.setattr(byte_rows, "CONVERTING", "absent")
    read_constants = njit(byte_rows.read_constants.py_func)

    @njit
    def run(rows, start, count, layout, offset, factors, some):
        size = read_constants(rows, start, count, layout, offset, factors, int8.floats(np.float32(0)))
        int8.store_floats(some, 0, size)

    rng = np.random.default_rng(0)
    for layout, offset in ((LVQ8, 6), (LVQ4, 3), (LVQ4X4, 3)):
        rows = random_rows(rng, 40, 6, layout)
        lower, step = rows[:, offset : offset + 4].copy().view("<f2").astype(np.float32).T
        if layout == LVQ4X4:
            lower, step = lower - step / 2, step / 15
        top = lower + step * (255, 0, 15, 240)[layout]
        for start, count in ((0, 40), (3, 16), (39, 1)):
            factors, some = np.zeros((2, TILE), np.float32), np.empty(16, np.float32)
            run(rows[: start + count], start, count, layout, offset, factors, some)
            part = slice(start, start + count)
            np.testing.assert_allclose(factors[:, :count], [lower[part], step[part]], rtol=1e-6)
            largest = np.maximum(np.abs(lower[part]), np.abs(top[part])).max()
            np.testing.assert_allclose(some.max(), largest, rtol=1e-6)


def test_queries_of_one_plane_only_are_scored_like_others():
    rows = random_rows(np.random.default_rng(0), 3, 4, LVQ8)
    vectors = np.array([[127, -3, 0, 1], [0, 0, 0, 0], [1e30, 0, 0, 1e-30]], np.float32)
    queries = TokenEmbeddings(vectors, np.arange(4))
    exact = maxsim_twin(vectors.astype(np.float64), lanes(queries).spans, decode(rows, 4, LVQ8), np.array([0, 3]))
    np.testing.assert_allclose(score(queries, rows, LVQ8, np.array([0, 3])), exact, rtol=1e-6)


@pytest.mark.parametrize("offsets", [[0, 6], [-1, 3], [3, 1], [0, 2**62]])
def test_offsets_outside_the_rows_are_refused(offsets):
    rng = np.random.default_rng(0)
    queries, rows = ragged(rng, [2], 4), random_rows(rng, 5, 4, LVQ8)
    for run in (score, estimate):
        with pytest.raises(InvalidInputError, match="within the 5 token rows"):
            run(queries, rows, LVQ8, np.array(offsets))
