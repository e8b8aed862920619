import dataclasses
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.encodings import fde
from latefold.index.encodings.base import Encoding
from latefold.index.encodings.fde import FDE, FDEConfig
from latefold.index.encodings.streams import count_sketch, normals, signs
from latefold.index.kernels.sketch import CountSketch

DIM = 12


def ragged(rng, lengths, dim=DIM):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    vectors = rng.standard_normal((offsets[-1], dim))
    return TokenEmbeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), offsets)


def maxsim(query, document):
    return (query @ document.T).max(axis=1).sum()


@pytest.fixture
def tokens():
    return ragged(np.random.default_rng(5), [7, 0, 1, 30, 12])


CONFIGS = [
    FDEConfig(),
    FDEConfig(3, 0),
    FDEConfig(4, 3, None, fill_empty=True),
    FDEConfig(4, 3, 5, fill_empty=False),
    FDEConfig(3, 5, 4, True, 100),
    FDEConfig(3, 3, 5, True, projection="dense"),
    FDEConfig(3, 3, 5, fill_empty=False, control_variate=True),
    FDEConfig(3, 4, 5, True, 50, control_variate=True),
]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=str)


@each_config
def test_shapes_and_empty_items(tokens, config):
    encoding = FDE(config, DIM)
    assert isinstance(encoding, Encoding)
    for encoded in (encoding.encode_documents(tokens), encoding.encode_queries(tokens)):
        assert encoded.shape == (5, config.output_dim(DIM))
        assert encoded.dtype == np.float32
        assert not encoded[1].any()
        assert encoded[[0, 2, 3, 4]].any(axis=1).all()


@each_config
def test_an_item_does_not_depend_on_its_company(tokens, config):
    encoding = FDE(config, DIM)
    documents, queries = encoding.encode_documents(tokens), encoding.encode_queries(tokens)
    for i in range(len(tokens)):
        alone = tokens.take([i])
        np.testing.assert_array_equal(encoding.encode_documents(alone)[0], documents[i])
        np.testing.assert_array_equal(encoding.encode_queries(alone)[0], queries[i])


@each_config
def test_order_of_tokens_does_not_matter(config):
    rng = np.random.default_rng(8)
    encoding = FDE(config, DIM)
    item = ragged(rng, [25])
    # Ties of the fill go to the first token, so that without any the order of tokens is free.
    documents = FDEConfig(**{**vars(config), "fill_empty": False})
    shuffled = TokenEmbeddings(rng.permutation(item.vectors), item.offsets)
    for encode in (encoding.encode_queries, FDE(documents, DIM).encode_documents):
        np.testing.assert_allclose(encode(shuffled), encode(item), atol=1e-5)


@each_config
def test_documents_are_means_and_queries_are_sums(tokens, config):
    encoding = FDE(config, DIM)
    twice = TokenEmbeddings.from_list([np.concatenate([item, item]) for item in tokens], dim=DIM)
    np.testing.assert_allclose(encoding.encode_documents(twice), encoding.encode_documents(tokens), atol=1e-5)
    np.testing.assert_allclose(encoding.encode_queries(twice), 2 * encoding.encode_queries(tokens), atol=1e-5)


@each_config
def test_queries_are_additive(config):
    parts = ragged(np.random.default_rng(2), [6, 11])
    encoding = FDE(config, DIM)
    union = TokenEmbeddings(parts.vectors, np.array([0, 17]))
    np.testing.assert_allclose(encoding.encode_queries(union)[0], encoding.encode_queries(parts).sum(axis=0), atol=1e-5)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 5), st.booleans(), st.integers(0, 1000))
def test_without_projection_maxsim_is_an_upper_bound(query_length, length, bits, fill, seed):
    """Lemma A.3 of the paper, for every seed: the mean of a partition is no better than its best token."""
    rng = np.random.default_rng(seed)
    query, document = ragged(rng, [query_length]), ragged(rng, [length])
    encoding = FDE(FDEConfig(3, bits, None, fill, seed=seed), DIM)
    estimate = encoding.encode_queries(query)[0] @ encoding.encode_documents(document)[0] / 3
    if fill or bits == 0:
        assert estimate <= maxsim(query[0], document[0]) + 1e-4
    else:  # a query token in an empty partition adds nothing
        best = (query[0] @ document[0].T).max(axis=1)
        assert estimate <= np.maximum(best, 0).sum() + 1e-4


def test_single_token_documents_are_exact_without_projection():
    rng = np.random.default_rng(3)
    queries, documents = ragged(rng, [9, 1, 20]), ragged(rng, [1] * 15)
    encoding = FDE(FDEConfig(4, 4, None, fill_empty=True), DIM)
    estimates = encoding.encode_queries(queries) @ encoding.encode_documents(documents).T
    exact = [[maxsim(q, d) for d in documents] for q in queries]
    np.testing.assert_allclose(estimates, 4 * np.array(exact), atol=1e-4)


def test_without_bits_it_is_the_sum_times_the_mean():
    tokens = ragged(np.random.default_rng(4), [5, 9])
    encoding = FDE(FDEConfig(6, 0, None), DIM)
    estimates = encoding.encode_queries(tokens) @ encoding.encode_documents(tokens).T
    sums, means = np.array([item.sum(0) for item in tokens]), np.array([item.mean(0) for item in tokens])
    np.testing.assert_allclose(estimates, 6 * sums @ means.T, atol=1e-4)


def sketched_products(x, y, width, count, projection):
    """`<Sx, Sy>` for `count` independent projections: the repetitions of an encoding without partitions."""
    encoding = FDE(FDEConfig(count, 0, width, projection=projection), len(x))
    pair = TokenEmbeddings(np.stack([x, y]), np.array([0, 1, 2]))
    sketched = encoding.encode_documents(pair).reshape(2, count, width).astype(np.float64)
    return (sketched[0] * sketched[1]).sum(axis=1)


@pytest.mark.parametrize("projection", ["sketch", "dense"])
def test_inner_projection_is_unbiased_with_the_variance_of_a_sketch(projection):
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((2, 64))
    width, count = 8, 20_000
    products = sketched_products(x, y, width, count, projection)
    variance = ((x @ x) * (y @ y) + (x @ y) ** 2 - 2 * (x**2 * y**2).sum()) / width
    assert products.mean() == pytest.approx(x @ y, abs=4 * np.sqrt(variance / count))
    assert products.var() == pytest.approx(variance, rel=0.06)


def test_final_projection_is_unbiased():
    rng = np.random.default_rng(9)
    tokens = ragged(rng, [6, 8])
    plain = FDE(FDEConfig(2, 2, 4, seed=0), DIM)
    query, document = plain.encode_queries(tokens)[0], plain.encode_documents(tokens)[1]
    gaussians = np.stack([normals((DIM, 2), (0, r, 0)) for r in range(2)])
    drawn = [count_sketch(DIM, 4, (0, r, 1)) for r in range(2)]
    inner = CountSketch(np.stack([d.columns for d in drawn]), np.stack([d.signs for d in drawn]))
    estimates = []
    for seed in range(1500):
        final = count_sketch(32, 16, (seed, 0, 2))
        encoding = FDE.from_matrices(FDEConfig(2, 2, 4, final_dim=16), gaussians, inner, final)
        estimates.append(encoding.encode_queries(tokens)[0] @ encoding.encode_documents(tokens)[1])
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(float(query @ document), abs=4 * error)


def test_more_repetitions_divide_the_variance():
    tokens = ragged(np.random.default_rng(10), [8, 20], dim=16)

    def variance(repetitions):
        estimates = []
        for seed in range(300):
            encoding = FDE(FDEConfig(repetitions, 2, 4, seed=seed), 16)
            estimates.append(encoding.encode_queries(tokens)[0] @ encoding.encode_documents(tokens)[1] / repetitions)
        return np.var(estimates)

    assert variance(2) / variance(16) == pytest.approx(8, rel=0.4)


@pytest.mark.parametrize("control_variate", [False, True])
def test_what_is_sketched_to_the_end_never_exists(control_variate):
    documents = ragged(np.random.default_rng(14), [3] * 500, dim=32)
    config = FDEConfig(32, 5, None, final_dim=16, control_variate=control_variate)
    encoding = FDE(config, 32)
    encoding.encode_documents(documents.take([0]))
    tracemalloc.start()
    try:
        encoding.encode_documents(documents)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert config.virtual_dim(32) * 4 * 500 > 60e6
    assert peak < 1e6


@pytest.mark.parametrize("width", [5, 16, 40])
def test_a_sketch_scatters_as_its_matrix_multiplies(width, monkeypatch):
    """Bit for bit: the width alone decides which of the two a kernel does."""
    tokens = ragged(np.random.default_rng(15), [20, 3], dim=70)
    for config in (FDEConfig(3, 3, width), FDEConfig(3, 3, width, final_dim=50)):
        multiplied = FDE(config, 70)
        with monkeypatch.context() as patch:
            patch.setattr(fde, "_MAX_MATRIX_WIDTH", 0)
            scattered = FDE(config, 70)
        np.testing.assert_array_equal(scattered.encode_documents(tokens), multiplied.encode_documents(tokens))
        np.testing.assert_array_equal(scattered.encode_queries(tokens), multiplied.encode_queries(tokens))


def test_more_candidates_of_the_exact_ranking_are_found_than_by_chance():
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((40, 32))
    items = [centres[rng.integers(0, 40, 12)] + 0.4 * rng.standard_normal((12, 32)) for _ in range(400)]
    documents = TokenEmbeddings.from_list(items)
    queries = TokenEmbeddings.from_list([item[:6] + 0.3 * rng.standard_normal((6, 32)) for item in items[:40]])
    encoding = FDE(FDEConfig(), 32)
    estimates = encoding.encode_queries(queries) @ encoding.encode_documents(documents).T
    found = []
    for query, row in zip(queries, estimates, strict=True):
        exact = np.argsort([-maxsim(query, document) for document in documents])[:10]
        found.append(np.isin(exact, np.argsort(-row)[:50]).mean())
    assert np.mean(found) > 0.8  # by chance 0.125


def test_several_threads_encode_the_same(tokens, monkeypatch):
    from latefold.index.kernels import jit

    encoding = FDE(FDEConfig(), DIM)
    documents, queries = encoding.encode_documents(tokens), encoding.encode_queries(tokens)
    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(jit, "WORK_PER_THREAD", 1)
    np.testing.assert_array_equal(encoding.encode_documents(tokens), documents)
    np.testing.assert_array_equal(encoding.encode_queries(tokens), queries)


def test_random_streams_are_what_they_were():
    """Indexes store the seed only: another stream would make their vectors meaningless."""
    first = normals((2, 2), (42, 0, 0)).ravel()
    np.testing.assert_allclose(first, [1.06494558, -1.97558641, -0.78920996, 0.26778311], rtol=1e-6)
    sketch = count_sketch(8, 16, (42, 19, 1))
    assert (sketch.columns * sketch.signs).tolist() == [5, 11, -15, -6, 5, 1, -2, 4]
    assert signs((2, 4), (42, 19, 1)).tolist() == [[1, 1, -1, -1], [1, 1, -1, 1]]


def test_random_numbers_are_normal_and_uniform():
    values = normals((200, 200), (1, 2, 3)).astype(np.float64)
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.var() == pytest.approx(1, abs=0.03)
    assert (values**4).mean() == pytest.approx(3, abs=0.2)
    assert (np.abs(values) < 1).mean() == pytest.approx(0.6827, abs=0.01)
    sketch = count_sketch(40_000, 8, (1, 2, 3))
    assert np.bincount(sketch.columns).min() > 4700
    assert abs(sketch.signs.sum()) < 800
    assert abs((sketch.signs * (sketch.columns - 3.5)).mean()) < 0.05
    assert abs(signs((200, 200), (1, 2, 3)).sum()) < 800


@each_config
def test_a_configuration_survives_json(config):
    assert FDEConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_the_seed_decides_in_this_process_and_in_another(tokens):
    vectors = FDE(FDEConfig(seed=7), DIM).encode_documents(tokens)
    np.testing.assert_array_equal(FDE(FDEConfig(seed=7), DIM).encode_documents(tokens), vectors)
    assert not np.array_equal(FDE(FDEConfig(seed=8), DIM).encode_documents(tokens), vectors)
    program = (
        "import sys; import numpy as np\n"
        "from latefold.encoders.embeddings import TokenEmbeddings\n"
        "from latefold.index.encodings.fde import FDE, FDEConfig\n"
        f"vectors = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(-1, {DIM})\n"
        f"tokens = TokenEmbeddings(vectors, np.array({tokens.offsets.tolist()}))\n"
        f"sys.stdout.buffer.write(FDE(FDEConfig(seed=7), {DIM}).encode_documents(tokens).tobytes())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=tokens.vectors.tobytes(), capture_output=True, check=True
    )
    assert done.stdout == vectors.tobytes()


def test_the_configuration_loads_without_a_compiler():
    program = "import sys, latefold.index.encodings.fde; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"repetitions": 0},
        {"repetitions": 2.0},
        {"repetitions": True},
        {"simhash_bits": -1},
        {"simhash_bits": 17},
        {"projected_dim": 0},
        {"projected_dim": "16"},
        {"fill_empty": 1},
        {"final_dim": 0},
        {"projection": "ams"},
        {"control_variate": 0},
        {"seed": -1},
        {"seed": None},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(fields):
    with pytest.raises(InvalidInputError, match=f"FDE {next(iter(fields))}"):
        FDEConfig(**fields)


def test_dimensions_that_do_not_fit_are_refused(tokens):
    with pytest.raises(InvalidInputError, match="virtual_dim"):
        FDE(FDEConfig(4096, 16, None), 128)
    with pytest.raises(InvalidInputError, match="FDE dim"):
        FDE(FDEConfig(), 0)
    with pytest.raises(InvalidEmbeddingsError, match=f"have {DIM} dimensions.* takes 13"):
        FDE(FDEConfig(), 13).encode_documents(tokens)


def test_given_matrices_that_do_not_fit_are_refused():
    config = FDEConfig(2, 3, 4)
    gaussians = np.zeros((2, DIM, 3), np.float32)
    inner = count_sketch(2 * DIM, 4, (0, 0, 0))
    fitting = CountSketch(inner.columns.reshape(2, DIM), inner.signs.reshape(2, DIM))
    FDE.from_matrices(config, gaussians, fitting)
    with pytest.raises(InvalidInputError, match="gaussians"):
        FDE.from_matrices(config, gaussians[:1], fitting)
    with pytest.raises(InvalidInputError, match="needs an inner"):
        FDE.from_matrices(config, gaussians)
    with pytest.raises(InvalidInputError, match="has no final"):
        FDE.from_matrices(config, gaussians, fitting, inner)
    with pytest.raises(InvalidInputError, match="shape"):
        FDE.from_matrices(config, gaussians, inner)
    with pytest.raises(InvalidInputError, match="outside 0 to 3"):
        FDE.from_matrices(config, gaussians, CountSketch(fitting.columns + 1, fitting.signs))
    dense = FDEConfig(2, 3, 4, projection="dense")
    matrix = np.ones((2, DIM, 4), np.float32)
    FDE.from_matrices(dense, gaussians, matrix)
    with pytest.raises(InvalidInputError, match="no count sketch"):
        FDE.from_matrices(config, gaussians, matrix)
    for wrong in (fitting, matrix[:, :, :3]):
        with pytest.raises(InvalidInputError, match="inner projection has shape"):
            FDE.from_matrices(dense, gaussians, wrong)
