import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.base import load_encoder
from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.encodings.base import Encoding
from latefold.index.encodings.fde import FDEConfig
from latefold.index.encodings.features import Centroids, singles
from latefold.index.encodings.learned import Learned, LearnedConfig
from latefold.index.kernels import jit
from latefold.index.tokens.base import codec

DIM = 20
SMALL_FDE = FDEConfig(repetitions=5, simhash_bits=2, projected_dim=8, fill_empty=False)
CONFIGS = [
    LearnedConfig(width=64, learn_tokens=300),
    LearnedConfig(width=50, learn_tokens=333, mean_skip=False, ridge=1),
    LearnedConfig(features="fde", fde=SMALL_FDE, learn_tokens=400),
]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=["random", "without skip", "fde"])


def ragged(rng, lengths, dim=DIM):
    """Tokens around a few topics, one or two to an item, with a direction in common."""
    topics = rng.standard_normal((30, dim))
    items = []
    for length in lengths:
        chosen = rng.choice(topics, 2)[rng.integers(0, 2, length)]
        vectors = chosen + 0.7 * rng.standard_normal((length, dim)) + 1
        items.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return TokenEmbeddings.from_list(items, dim=dim)


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(5)
    return ragged(rng, [7, 0, 1, 30, 12, *rng.integers(1, 25, 115)])


@pytest.fixture(scope="module")
def fitted(documents):
    return {config: Learned.fit(config, documents) for config in CONFIGS}


def best_products(vectors, documents):
    """`(n, s)`: the best product of each vector with a token of each document; 0 for one without."""
    return np.array(
        [(d.astype(np.float64) @ vectors.T).max(0) if len(d) else np.zeros(len(vectors)) for d in documents]
    )


def means(documents):
    return np.array([d.mean(0, dtype=np.float64) if len(d) else np.zeros(documents.dim) for d in documents])


@each_config
def test_shapes_and_empty_items(documents, fitted, config):
    encoding = fitted[config]
    assert isinstance(encoding, Encoding)
    assert encoding.dim == DIM
    assert encoding.output_dim == config.output_dim(DIM)
    for encoded in (encoding.encode_documents(documents), encoding.encode_queries(documents)):
        assert encoded.shape == (120, encoding.output_dim)
        assert encoded.dtype == np.float32
        assert not encoded[1].any()
    assert encoding.encode_documents(documents).any(axis=1).tolist() == (documents.lengths > 0).tolist()
    nothing = TokenEmbeddings.from_list([], dim=DIM)
    assert encoding.encode_documents(nothing).shape == (0, encoding.output_dim)


@each_config
def test_an_item_does_not_depend_on_its_company_or_on_threads(documents, fitted, config, monkeypatch):
    encoding = fitted[config]
    rows = codec("lvq8").fit(documents.vectors).encode(documents.vectors)
    encoded, queries = encoding.encode_documents(documents), encoding.encode_queries(documents)
    from_rows = encoding.encode_codes(rows, documents.offsets)
    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(jit, "WORK_PER_THREAD", 1)
    monkeypatch.setattr("latefold.index.encodings.learned.BLOCK_BYTES", 1)
    np.testing.assert_array_equal(encoding.encode_documents(documents), encoded)
    for i in range(0, 120, 3):
        alone = documents.take([i])
        np.testing.assert_array_equal(encoding.encode_documents(alone)[0], encoded[i])
        np.testing.assert_array_equal(encoding.encode_queries(alone)[0], queries[i])
        np.testing.assert_array_equal(encoding.encode_codes(rows, documents.offsets[i : i + 2])[0], from_rows[i])


@each_config
def test_queries_are_additive_and_order_does_not_matter(fitted, config):
    rng = np.random.default_rng(1)
    encoding, parts = fitted[config], ragged(rng, [6, 11])
    union = TokenEmbeddings(parts.vectors, np.array([0, 17]))
    shuffled = TokenEmbeddings(rng.permutation(parts.vectors), union.offsets)
    np.testing.assert_allclose(encoding.encode_queries(union)[0], encoding.encode_queries(parts).sum(0), atol=1e-4)
    np.testing.assert_allclose(encoding.encode_queries(shuffled), encoding.encode_queries(union), atol=1e-4)
    np.testing.assert_allclose(encoding.encode_documents(shuffled), encoding.encode_documents(union), atol=1e-4)


@each_config
def test_a_query_token_counts_as_it_is_long(fitted, config):
    """MaxSim is homogeneous in each query token: a marker of weight 5 is worth five of them."""
    encoding, (tokens,) = fitted[config], ragged(np.random.default_rng(1), [6])
    weighted, repeated = tokens.copy(), np.concatenate([np.repeat(tokens[:1], 5, axis=0), tokens[1:]])
    weighted[0] *= 5
    made = encoding.encode_queries(TokenEmbeddings.from_list([weighted, repeated], dim=DIM))
    np.testing.assert_allclose(made[0], made[1], atol=1e-3, rtol=1e-4)


def test_repeated_document_tokens_change_only_the_mean(documents, fitted):
    encoding = fitted[CONFIGS[1]]
    twice = TokenEmbeddings.from_list([np.concatenate([item, item, item[:1]]) for item in documents], dim=DIM)
    np.testing.assert_array_equal(encoding.encode_documents(twice), encoding.encode_documents(documents))


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_maxsim_splits_off_the_document_mean(query_length, length, seed):
    rng = np.random.default_rng(seed)
    query, document = rng.standard_normal((query_length, DIM)), rng.standard_normal((length, DIM))
    mean = document.mean(axis=0)
    whole = (query @ document.T).max(axis=1).sum()
    assert whole == pytest.approx(query.sum(0) @ mean + (query @ (document - mean).T).max(axis=1).sum())


@each_config
def test_weights_are_the_ridge_regression(documents, fitted, config):
    """Against `lstsq` on the learn tokens, with the ridge as additional equations."""
    encoding = fitted[config]
    learn = encoding.params()["learn"] * encoding.params()["scales"][:, None]
    width = config.features_of(DIM)
    design = encoding.encode_queries(singles(learn))[:, :width].astype(np.float64)
    targets = best_products(learn, documents)
    if config.mean_skip:
        targets -= means(documents) @ learn.T
    ridge = np.sqrt(config.ridge * np.square(design).sum() / width) * np.eye(width)
    padded = np.concatenate([targets.T, np.zeros((width, len(documents)))])
    weights = np.linalg.lstsq(np.concatenate([design, ridge]), padded)[0].T
    encoded = encoding.encode_documents(documents)
    np.testing.assert_allclose(encoded[:, :width], weights, atol=2e-4 * np.abs(weights).max())
    if config.mean_skip:
        np.testing.assert_allclose(encoded[:, width:], means(documents), atol=1e-6)


def test_estimates_are_closer_to_maxsim_than_pooled_vectors(documents, fitted):
    encoding, filled = fitted[CONFIGS[0]], documents.lengths > 0
    queries = TokenEmbeddings(documents.vectors[:400], np.arange(0, 401, 8))
    exact = np.add.reduceat(best_products(queries.vectors, documents), queries.offsets[:-1], axis=1).T
    folded = encoding.encode_queries(queries)
    estimates, pooled = folded @ encoding.encode_documents(documents).T, folded[:, -DIM:] @ means(documents).T
    error, pooled_error = (np.square(x - exact)[:, filled].mean() for x in (estimates, pooled))
    assert error < 0.5 * pooled_error


@each_config
def test_stored_rows_encode_as_what_they_stand_for(documents, fitted, config):
    encoding = fitted[config]
    chosen = codec("lvq8").fit(documents.vectors)
    rows = chosen.encode(documents.vectors)
    decoded = TokenEmbeddings(chosen.decode(rows), documents.offsets)
    expected = encoding.encode_documents(decoded)
    np.testing.assert_allclose(encoding.encode_codes(rows, documents.offsets), expected, atol=2e-4)
    # LVQ-8 moves a unit vector of 20 dimensions by at most half a step in each: below 0.015 in length.
    original = encoding.encode_documents(documents)
    assert np.linalg.norm(expected - original) < 0.015 * np.linalg.norm(original)


@each_config
def test_parameters_restore_the_encoding_bit_by_bit(documents, fitted, config):
    encoding = fitted[config]
    stored = {name: array.copy() for name, array in encoding.params().items()}
    restored = Learned.from_params(config, DIM, stored)
    np.testing.assert_array_equal(restored.encode_documents(documents), encoding.encode_documents(documents))
    np.testing.assert_array_equal(restored.encode_queries(documents), encoding.encode_queries(documents))
    again = Learned.fit(config, documents)
    np.testing.assert_array_equal(again.encode_queries(documents), encoding.encode_queries(documents))


@each_config
def test_a_projection_is_applied_block_by_block(documents, fitted, config):
    encoding = fitted[config]
    projection = np.random.default_rng(3).standard_normal((encoding.output_dim, 7)).astype(np.float32)
    whole = encoding.encode_documents(documents) @ projection
    np.testing.assert_allclose(encoding.encode_documents(documents, projection), whole, atol=1e-3)
    rows = codec("lvq8").fit(documents.vectors).encode(documents.vectors)
    from_rows = encoding.encode_codes(rows, documents.offsets) @ projection
    np.testing.assert_allclose(encoding.encode_codes(rows, documents.offsets, projection), from_rows, atol=1e-3)
    with pytest.raises(InvalidInputError, match=rf"projection is \({encoding.output_dim}, d\)"):
        encoding.encode_documents(documents, projection[1:])


@each_config
def test_misfit_is_the_error_on_the_tokens_of_the_document(documents, fitted, config, monkeypatch):
    monkeypatch.setattr("latefold.index.encodings.learned.BLOCK_TOKENS", 7)
    encoding = fitted[config]
    vectors, misfits = encoding.encode_documents(documents), encoding.misfit(documents)
    assert misfits[1] == 0
    for i in (2, 3, 4):
        item = documents[i].astype(np.float64)
        best = (item @ item.T).max(axis=1)
        estimates = encoding.encode_queries(singles(documents[i])) @ vectors[i]
        expected = np.square(estimates - best).sum() / np.square(best).sum()
        assert misfits[i] == pytest.approx(expected, abs=1e-4)


def test_drift_shows_as_misfit(documents, fitted):
    encoding = fitted[CONFIGS[0]]
    others = np.random.default_rng(4).standard_normal((40, 12, DIM)).astype(np.float32)
    others /= np.linalg.norm(others, axis=2, keepdims=True)
    drifted = encoding.misfit(TokenEmbeddings.from_list(list(others)))
    assert np.median(drifted) > 2 * np.median(encoding.misfit(documents))


def test_queries_are_learnt_from_when_given(documents):
    queries = ragged(np.random.default_rng(6), [10] * 30)
    config = LearnedConfig(width=16, learn_tokens=200)
    seen = []
    encoding = Learned.fit(config, documents, queries, progress=lambda *step: seen.append(step))
    assert seen == [("fit", 1, 3), ("fit", 2, 3), ("fit", 3, 3)]
    learn = encoding.params()["learn"] * encoding.params()["scales"][:, None]
    assert learn.shape == (200, DIM)
    nearest = np.square(learn[:, None] - queries.vectors[None]).sum(axis=2).min(axis=1)
    assert (nearest < 1e-3).sum() == 100
    few = Learned.fit(config, documents, queries.take([0]))
    assert few.params()["learn"].shape == (200, DIM)


def test_fewer_tokens_than_asked_for_are_enough():
    tiny = ragged(np.random.default_rng(7), [3, 2])
    encoding = Learned.fit(LearnedConfig(), tiny)
    assert encoding.output_dim == 1024 + DIM
    exact = best_products(tiny.vectors, tiny)
    estimates = encoding.encode_queries(singles(tiny.vectors)) @ encoding.encode_documents(tiny).T
    assert np.abs(estimates.T - exact).max() < 0.3
    alike = TokenEmbeddings(np.ones((50, DIM), np.float32), np.array([0, 20, 50]))
    assert np.isfinite(Learned.fit(LearnedConfig(width=8), alike).encode_documents(alike)).all()


def test_centroids_are_directions_that_few_tokens_exceed(documents):
    features = Centroids.fit(documents.vectors, 32, seed=1)
    centroids = features.params()["centroids"]
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
    active = features.sums(singles(documents.vectors)) > 0
    assert active.mean() == pytest.approx(0.02, abs=0.005)


def test_more_of_the_exact_best_are_found_than_with_pooled_vectors(shared_data):
    lines = (shared_data / "cranfield" / "corpus.jsonl").read_text().splitlines()[:150]
    texts = [json.loads(line)["text"][:400] for line in lines]
    questions = [
        json.loads(line)["text"] for line in (shared_data / "cranfield" / "queries.jsonl").read_text().splitlines()
    ]
    encoder = load_encoder()
    documents, queries = encoder.encode_documents(texts), encoder.encode_queries(questions[::8])
    products = best_products(queries.vectors, documents)
    exact = np.argsort(-np.add.reduceat(products, queries.offsets[:-1], axis=1).T)[:, :10]

    def found(estimates, candidates):
        ranked = np.argsort(-estimates)[:, :candidates]
        return np.mean([np.isin(best, row).mean() for best, row in zip(exact, ranked, strict=True)])

    encoding = Learned.fit(LearnedConfig(width=512, learn_tokens=2048), documents)
    folded = encoding.encode_queries(queries)
    learned, pooled = folded @ encoding.encode_documents(documents).T, folded[:, -documents.dim :] @ means(documents).T
    assert found(learned, 10) > found(pooled, 10) + 0.1
    assert found(learned, 50) > max(0.97, found(pooled, 50))


def test_the_configuration_loads_without_a_compiler():
    program = "import sys, latefold.index.encodings.learned; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"features": "gaussian"},
        {"width": 0},
        {"learn_tokens": 1.5},
        {"ridge": 0},
        {"ridge": float("nan")},
        {"ridge": "1"},
        {"mean_skip": 1},
        {"fde": FDEConfig(control_variate=True)},
        {"seed": -1},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(fields):
    with pytest.raises(InvalidInputError, match=f"learned {next(iter(fields))}"):
        LearnedConfig(**fields)


def test_tokens_that_do_not_fit_are_refused(documents, fitted):
    encoding = fitted[CONFIGS[0]]
    other = ragged(np.random.default_rng(8), [3], dim=DIM + 1)
    for call in (encoding.encode_documents, encoding.encode_queries, encoding.misfit):
        with pytest.raises(InvalidEmbeddingsError, match=f"have {DIM + 1} dimensions.* takes {DIM}"):
            call(other)
    with pytest.raises(InvalidEmbeddingsError, match="queries have"):
        Learned.fit(CONFIGS[0], documents, other)
    with pytest.raises(InvalidInputError, match="documents with tokens"):
        Learned.fit(CONFIGS[0], TokenEmbeddings.from_list([], dim=DIM))
    with pytest.raises(InvalidInputError, match=f"expected .t, {DIM + 4}. bytes"):
        encoding.encode_codes(np.zeros((3, DIM), np.uint8), np.array([0, 3]))
    for offsets in ([0, 4], [2, 1], [-1, 2]):
        with pytest.raises(InvalidInputError, match="within the 3 token rows"):
            encoding.encode_codes(np.zeros((3, DIM + 4), np.uint8), np.array(offsets))


@pytest.mark.parametrize("name", ["learn", "scales", "inverse", "centroids", "thresholds"])
def test_parameters_that_do_not_fit_are_refused(fitted, name):
    config = CONFIGS[0]
    params = fitted[config].params()
    broken = [{k: v for k, v in params.items() if k != name}]
    broken += [params | {name: value} for value in (params[name][1:], params[name].astype(np.float64))]
    if params[name].dtype == np.float32:
        broken.append(params | {name: np.full_like(params[name], np.nan)})
    for bad in broken:
        with pytest.raises(InvalidInputError):
            Learned.from_params(config, DIM, bad)
    with pytest.raises(InvalidInputError):
        Learned.from_params(config, DIM + 1, params)
