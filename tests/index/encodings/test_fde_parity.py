"""The encoding against a slow transcription of the reference implementation (algorithm of google/graph-mining's
`fixed_dimensional_encoding.cc`), with the same matrices on both sides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.index.encodings.fde import FDE, FDEConfig
from latefold.index.kernels.sketch import CountSketch


def partition(point, gaussian):
    index = 0
    for t in range(gaussian.shape[1]):
        bit = int(float(np.dot(gaussian[:, t], point)) > 0)
        index = 2 * index + (bit ^ (index & 1))
    return index


def hamming(point, gaussian, index):
    """Disagreeing bits between the signs of a point and the bits that lead to partition `index`."""
    wanted = index ^ (index >> 1)
    count, bits = 0, gaussian.shape[1]
    for t in range(bits):
        bit = int(float(np.dot(gaussian[:, t], point)) > 0)
        count += bit != (wanted >> (bits - 1 - t)) & 1
    return count


def slow_sketch(point, columns, signs, width):
    out = [0.0] * width
    for value, column, sign in zip(point, columns, signs, strict=True):
        out[column] += sign * value
    return out


def slow_block(projected, points, gaussian, index, document, fill):
    inside = [j for j, point in enumerate(points) if partition(point, gaussian) == index]
    if inside:
        total = np.sum([projected[j] for j in inside], axis=0)
        return total / len(inside) if document else total
    if document and fill and gaussian.shape[1] > 0:
        distances = [hamming(point, gaussian, index) for point in points]
        return np.array(projected[distances.index(min(distances))])
    return np.zeros(len(projected[0]))


def slow_project(point, inner, r, width):
    if inner is None:
        return point
    if isinstance(inner, CountSketch):
        return slow_sketch(point, inner.columns[r], inner.signs[r], width)
    return [sum(point[j] * inner[r, j, c] for j in range(len(point))) for c in range(width)]


def slow_encode(config, gaussians, inner, final, points, document):
    if len(points) == 0:
        return np.zeros(config.output_dim(gaussians.shape[1]))
    points = points.astype(np.float64)
    payload, kept = points, []
    if config.control_variate:
        kept = points.mean(axis=0) if document else config.repetitions * points.sum(axis=0)
        payload = points - points.mean(axis=0) if document else points
    blocks = []
    for r in range(config.repetitions):
        projected = [slow_project(p, inner, r, config.projected_dim) for p in payload]
        for index in range(2**config.simhash_bits):
            blocks.append(slow_block(projected, points, gaussians[r], index, document, config.fill_empty))
    flat = np.concatenate(blocks)
    folded = flat if final is None else slow_sketch(flat, final.columns, final.signs, config.final_dim)
    return np.concatenate([folded, kept])


def random_sketch(rng, shape, width):
    return CountSketch(rng.integers(0, width, shape), rng.choice([-1.0, 1.0], shape))


def random_inner(rng, config, dim):
    width = config.projected_dim
    if width is None or width >= dim:
        return None
    if config.projection == "dense":
        return rng.choice([-1.0, 1.0], (config.repetitions, dim, width)) / np.sqrt(width)
    return random_sketch(rng, (config.repetitions, dim), width)


configs = st.builds(
    FDEConfig,
    repetitions=st.integers(1, 3),
    simhash_bits=st.integers(0, 5),
    projected_dim=st.sampled_from([None, 1, 3, 4, 9, 16, 20, 55]),
    fill_empty=st.booleans(),
    final_dim=st.sampled_from([None, 1, 17]),
    projection=st.sampled_from(["sketch", "dense"]),
    control_variate=st.booleans(),
)


@settings(deadline=None, max_examples=80)
@given(
    config=configs,
    dim=st.sampled_from([1, 9, 64, 70]),
    lengths=st.lists(st.integers(0, 12), max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_encoding_equals_the_reference(config, dim, lengths, seed):
    rng = np.random.default_rng(seed)
    # Small fractions: sums of their products are exact, so that no sign depends on the order of summation.
    gaussians = rng.integers(-16, 17, (config.repetitions, dim, config.simhash_bits)) / 8
    inner = random_inner(rng, config, dim)
    outer = random_sketch(rng, config.virtual_dim(dim), config.final_dim) if config.final_dim else None
    items = [rng.integers(-16, 17, (n, dim)) / 8 for n in lengths]
    for item in items:
        item[rng.random(len(item)) < 0.1] = 0  # zero vectors: every bit is 0, strictly
    tokens = TokenEmbeddings.from_list(items, dim=dim)

    encoding = FDE.from_matrices(config, gaussians, inner, outer)
    assert encoding.output_dim == config.output_dim(dim)
    for document, encode in ((True, encoding.encode_documents), (False, encoding.encode_queries)):
        expected = [slow_encode(config, gaussians, inner, outer, item, document) for item in tokens]
        result = encode(tokens)
        assert result.shape == (len(items), encoding.output_dim)
        assert result.dtype == np.float32
        for row, reference in zip(result, expected, strict=True):
            np.testing.assert_allclose(row, reference, rtol=1e-5, atol=1e-5 * max(1, np.abs(reference).max()))


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_partition_numbers_are_a_gray_code(bits):
    """Every sign pattern has its own partition, and neighbours differ in one bit."""
    patterns = [[(number >> t) & 1 for t in range(bits)] for number in range(2**bits)]
    points = 2 * np.array(patterns, np.float32) - 1
    tokens = TokenEmbeddings(points, np.arange(len(points) + 1))
    config = FDEConfig(1, bits, None, fill_empty=False)
    encoding = FDE.from_matrices(config, np.eye(bits, dtype=np.float32)[None])
    blocks = encoding.encode_documents(tokens).reshape(len(points), 2**bits, bits)
    occupied = [np.flatnonzero(block.any(axis=1)) for block in blocks]
    assert sorted(int(o[0]) for o in occupied if len(o) == 1) == list(range(2**bits))
    by_partition = points[np.argsort([int(o[0]) for o in occupied])]
    assert ((by_partition[1:] != by_partition[:-1]).sum(axis=1) == 1).all()
