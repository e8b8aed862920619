import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.index.kernels import scan as module
from latefold.index.kernels.queries import pack, quantize_queries
from latefold.index.kernels.rows import LVQ4, LVQ8, decode
from latefold.index.kernels.scan import lvq_scores, lvq_top

LAYOUTS = {4: LVQ4, 8: LVQ8}


def random_rows(rng, count, dim, bits):
    rows = rng.integers(0, 256, (count, -(-dim * bits // 8) + 4), np.uint8)
    constants = np.stack([-rng.random(count), rng.random(count) / 100], axis=1).astype("<f2")
    rows[:, -4:] = constants.view(np.uint8)
    return rows


def scores_twin(queries, mean, rows, bits):
    """Products of the rounded queries with the decoded vectors, in float64."""
    codes, constants = quantize_queries(queries, mean, bits // 4, 2**bits - 1)
    rounded = np.einsum("mp,pmd->md", constants[:, : bits // 4].astype(np.float64), codes)
    vectors = decode(rows, len(mean), LAYOUTS[bits]).astype(np.float64)
    sizes = np.abs(rounded) @ (np.abs(vectors) + 1).T + np.abs(queries.astype(np.float64)) @ np.abs(mean)[:, None]
    return rounded @ vectors.T + (queries.astype(np.float64) @ mean)[:, None], sizes


def sorted_twin(scores, positions, k):
    """What `lvq_top` gives, by sorting all scores."""
    order = np.lexsort((np.broadcast_to(positions, scores.shape), -scores), axis=1)[:, :k]
    best = np.full((len(scores), k), -1), np.full((len(scores), k), -np.inf, np.float32)
    best[0][:, : order.shape[1]] = positions[order]
    best[1][:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
    return best


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1].view(np.uint32), expected[1].view(np.uint32))


@settings(deadline=None)
@given(st.sampled_from([4, 8]), st.integers(0, 9), st.integers(0, 40), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_kernel_equals_its_twin(bits, query_count, count, dim, seed):
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((query_count, dim)).astype(np.float32)
    mean = rng.standard_normal(dim).astype(np.float32)
    rows = random_rows(rng, count, dim, bits)
    scores = lvq_scores(pack(queries, mean, bits), rows, bits)
    exact, sizes = scores_twin(queries, mean, rows, bits)
    assert scores.shape == exact.shape
    assert (np.abs(scores - exact) <= 2.0**-20 * sizes).all()


@settings(deadline=None)
@given(st.sampled_from([4, 8]), st.integers(0, 4), st.integers(0, 900), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_best_are_those_of_all_scores_sorted(bits, query_count, count, dim, seed):
    rng = np.random.default_rng(seed)
    weights = pack(rng.standard_normal((query_count, dim)).astype(np.float32), np.zeros(dim, np.float32), bits)
    rows = random_rows(rng, count, dim, bits)
    rows[:, -4:] = random_rows(rng, 1, dim, bits)[0, -4:]  # so that many scores are equal
    k = int(rng.integers(0, count + 3))
    scores, every = lvq_scores(weights, rows, bits), np.arange(count)
    assert_same(lvq_top(weights, rows, bits, k), sorted_twin(scores, every, k))

    for share in (0.0, 0.1, 0.8, 1.0):
        mask = rng.random(count) < share
        assert_same(lvq_top(weights, rows, bits, k, allowed=mask), sorted_twin(scores[:, mask], every[mask], k))
    positions = rng.permutation(count)[: count // 2]
    np.testing.assert_array_equal(lvq_scores(weights, rows, bits, positions), scores[:, positions])
    expected = sorted_twin(scores[:, positions], positions, k)
    assert_same(lvq_top(weights, rows, bits, k, positions), expected)
    assert_same(lvq_top(weights, rows, bits, k, np.append(positions, positions[:3])), expected)
    chosen = positions[mask[positions]]
    assert_same(lvq_top(weights, rows, bits, k, positions, mask), sorted_twin(scores[:, chosen], chosen, k))


@pytest.mark.parametrize("bits", [4, 8])
def test_threads_and_passes_change_nothing(bits, three_threads, monkeypatch):
    rng = np.random.default_rng(1)
    rows, mean = random_rows(rng, 700, 70, bits), np.zeros(70, np.float32)
    weights = pack(rng.standard_normal((6, 70)).astype(np.float32), mean, bits)
    scores, best = lvq_scores(weights, rows, bits), lvq_top(weights, rows, bits, 40)
    monkeypatch.setattr(module, "QUERY_BYTES", 512)
    monkeypatch.setattr(module, "in_threads", lambda work, count, _: work(0, count))
    np.testing.assert_array_equal(lvq_scores(weights, rows, bits), scores)
    assert_same(lvq_top(weights, rows, bits, 40), best)
    alone = [lvq_scores(weights, rows[i : i + 1], bits) for i in range(0, 700, 50)]
    np.testing.assert_array_equal(np.concatenate(alone, axis=1), scores[:, ::50])


@pytest.mark.parametrize("bits", [4, 8])
def test_long_vectors_lose_no_precision(bits):
    rng = np.random.default_rng(0)
    rows, mean = random_rows(rng, 51, 10_240, bits), rng.standard_normal(10_240).astype(np.float32)
    queries = rng.standard_normal((3, 10_240)).astype(np.float32)
    exact, sizes = scores_twin(queries, mean, rows, bits)
    assert (np.abs(lvq_scores(pack(queries, mean, bits), rows, bits) - exact) <= 2.0**-22 * sizes).all()


def test_nothing_is_read_beyond_a_memory_map(tmp_path):
    """A page that ends with the file: a read beyond the last row would be beyond the map."""
    rng = np.random.default_rng(0)
    for bits, dim in ((4, 120), (8, 60), (8, 1020)):
        rows = random_rows(rng, 4096 // (dim * bits // 8 + 4), dim, bits)
        assert rows.size == 4096
        rows.tofile(tmp_path / "rows")
        mapped = np.memmap(tmp_path / "rows", np.uint8, "r", shape=rows.shape)
        weights = pack(rng.standard_normal((2, dim)).astype(np.float32), np.zeros(dim, np.float32), bits)
        padded = np.concatenate([rows, rows])
        np.testing.assert_array_equal(
            lvq_scores(weights, mapped, bits), lvq_scores(weights, padded, bits)[:, : len(rows)]
        )


REPORT = """
import json, numpy as np
from latefold.index.kernels.int8 import compiled_route
from latefold.index.kernels.queries import pack
from latefold.index.kernels.scan import lvq_scores
rows = np.random.default_rng(0).integers(0, 128, (40, 84), np.uint8)
rows[:, -4:] = [0, 184, 0, 36]
found = [compiled_route().name]
for bits, dim in ((4, 160), (8, 80)):
    queries = np.random.default_rng(1).standard_normal((2, dim)).astype(np.float32)
    found.append(lvq_scores(pack(queries, np.ones(dim, np.float32), bits), rows, bits).view(np.uint32).tolist())
print(json.dumps(found))
"""


def test_a_lesser_processor_gives_the_same_scores(tmp_path):
    """A process that compiles for a processor without vector extensions, and the route it reports."""
    lesser = {**os.environ, "NUMBA_CPU_FEATURES": "", "NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", REPORT], env=lesser, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    route, *scores = json.loads(done.stdout)
    assert route == "PLAIN"
    namespace: dict = {}
    exec(REPORT.replace("print", "print_"), {"print_": lambda text: namespace.update(here=json.loads(text))})
    assert scores == namespace["here"][1:]


@pytest.mark.parametrize("positions", [[-1], [5], [0, 2**40]])
def test_positions_outside_are_refused(positions):
    rows = random_rows(np.random.default_rng(0), 5, 8, 8)
    weights = pack(np.zeros((1, 8), np.float32), np.zeros(8, np.float32), 8)
    with pytest.raises(InvalidInputError, match="0 to 4"):
        lvq_scores(weights, rows, 8, np.array(positions))
    with pytest.raises(InvalidInputError, match="0 to 4"):
        lvq_top(weights, rows, 8, 1, np.array(positions))


def test_masks_of_another_length_are_refused():
    rows = random_rows(np.random.default_rng(0), 5, 8, 8)
    weights = pack(np.zeros((1, 8), np.float32), np.zeros(8, np.float32), 8)
    with pytest.raises(InvalidInputError, match="4 rows; there are 5"):
        lvq_top(weights, rows, 8, 1, allowed=np.ones(4, np.bool_))
