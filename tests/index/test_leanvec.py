import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold import load_encoder
from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.encodings.fde import FDE, FDEConfig
from latefold.index.leanvec import (
    LeanVec,
    choose_dim,
    eigenvector_search,
    frank_wolfe,
    leanvec_id,
    random_rotation,
    sphering,
)
from latefold.index.moments import Moments

OOD_METHODS = [frank_wolfe, eigenvector_search, sphering]


@cache
def out_of_distribution(D=48, seed=0, decay=2.0):
    """Queries and documents that vary most in different directions, with their second moments."""
    rng = np.random.default_rng(seed)
    queries, documents = (
        (rng.standard_normal((600, D)) * np.exp(-decay * np.arange(D) / D * 2)) @ random_rotation(D, seed + side)
        for side in (1, 2)
    )
    return queries.astype(np.float32), documents.astype(np.float32), second(queries), second(documents)


def second(vectors, *, centred=False):
    moments = Moments(vectors.shape[1])
    moments.add(vectors)
    return moments.centred if centred else moments.matrix


@pytest.fixture(scope="module")
def aggregated(shared_data):
    """Fixed dimensional encodings of real text: sums of query tokens, means of document tokens."""
    folder = shared_data / "cranfield"
    encoder = load_encoder("minilm-128", threads=1)
    texts = [
        [json.loads(line)["text"] for line in (folder / name).read_text().splitlines()]
        for name in ("queries.jsonl", "corpus.jsonl")
    ]
    fde = FDE(FDEConfig(repetitions=2, simhash_bits=2, projected_dim=16), encoder.dim)
    queries = fde.encode_queries(encoder.encode_queries(texts[0]))
    documents = fde.encode_documents(encoder.encode_documents([text[:300] for text in texts[1][:100]]))
    return queries, documents, second(queries), second(documents, centred=True)


def assert_losses_are_ordered(K_q, K_x, d):
    losses = [method(K_q, K_x, d).loss(K_q, K_x) for method in OOD_METHODS]
    plain = leanvec_id(K_x, d).loss(K_q, K_x)
    slack = 1e-3 * plain  # the ridge of one, the stopping rule of the other
    frank, search, best = losses
    assert best <= min(frank, search) + slack
    assert max(frank, search) <= plain + slack
    return plain, best


@pytest.mark.parametrize("d", [4, 24])
def test_losses_are_ordered_out_of_distribution(d):
    plain, best = assert_losses_are_ordered(*out_of_distribution()[2:], d)
    assert best < 0.8 * plain


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 16), st.floats(0, 6), st.data())
def test_no_pair_loses_less_than_sphering(seed, D, decay, data):
    K_q, K_x = out_of_distribution(D, seed, decay)[2:]
    d = data.draw(st.integers(1, D))
    others = [leanvec_id(K_x, d), *(method(K_q, K_x, d) for method in OOD_METHODS[:2])]
    others.append(LeanVec(*np.random.default_rng(seed).standard_normal((2, D, d))))
    slack = 1e-5 * np.vdot(K_q, K_x)
    assert sphering(K_q, K_x, d).loss(K_q, K_x) <= min(other.loss(K_q, K_x) for other in others) + slack
    assert others[2].loss(K_q, K_x) <= others[0].loss(K_q, K_x) + slack


@pytest.mark.parametrize("d", [16])
def test_losses_are_ordered_on_real_vectors(aggregated, d):
    plain, best = assert_losses_are_ordered(*aggregated[2:], d)
    assert best < 0.95 * plain


def test_recall_follows_the_losses_on_real_vectors(aggregated):
    queries, documents, K_q, K_x = aggregated
    exact = np.argsort(-queries @ documents.T, axis=1)[:, :10]

    def recall(reduction):
        scores = reduction.reduce_queries(queries) @ reduction.reduce_documents(documents).T
        found = np.argsort(-scores, axis=1)[:, :10]
        return np.mean([len(set(f) & set(e)) for f, e in zip(found, exact, strict=True)]) / 10

    assert recall(sphering(K_q, K_x, 24, samples=len(queries))) > recall(leanvec_id(K_x, 24))


@pytest.mark.parametrize("method", OOD_METHODS)
def test_the_loss_is_the_frobenius_norm(method):
    queries, documents, K_q, K_x = out_of_distribution(D=10)
    reduction = method(K_q, K_x, 4)
    q, x = queries.astype(np.float64), documents.astype(np.float64)
    difference = q @ reduction.queries @ reduction.documents.T @ x.T - q @ x.T
    assert reduction.loss(K_q, K_x) == pytest.approx(np.square(difference).mean(), rel=1e-4)


def test_all_dimensions_lose_nothing():
    queries, documents, K_q, K_x = out_of_distribution(D=20)
    exact = queries @ documents.T
    for reduction in (sphering(K_q, K_x, 20), eigenvector_search(K_q, K_x, 20), leanvec_id(K_x, 20)):
        for one in (reduction, reduction.rotated(3)):
            assert one.loss(K_q, K_x) <= 1e-9 * np.vdot(K_q, K_x)
            scores = one.reduce_queries(queries) @ one.reduce_documents(documents).T
            np.testing.assert_allclose(scores, exact, atol=2e-5 * np.abs(exact).max())


def test_queries_like_documents_give_the_principal_subspace():
    K_x = out_of_distribution()[3]
    pca = leanvec_id(K_x, 8)
    projection = pca.queries @ pca.documents.T
    for method in (eigenvector_search, sphering):
        reduction = method(K_x, K_x, 8)
        np.testing.assert_allclose(reduction.queries @ reduction.documents.T, projection, atol=1e-3)


def test_sphering_is_nested_and_its_spectrum_is_its_loss():
    K_q, K_x = out_of_distribution()[2:]
    whole = sphering(K_q, K_x, 48)
    spectrum = whole.spectrum(K_q, K_x)
    assert (np.diff(spectrum) <= 1e-6 * spectrum[0]).all()
    assert spectrum.sum() == pytest.approx(np.vdot(K_q, K_x), rel=1e-4)
    for d in (1, 10, 47):
        part = sphering(K_q, K_x, d)
        np.testing.assert_array_equal(whole.truncated(d).queries, part.queries)
        np.testing.assert_array_equal(whole.truncated(d).documents, part.documents)
        assert part.loss(K_q, K_x) == pytest.approx(spectrum[d:].sum(), rel=1e-3)


def test_principal_directions_are_nested():
    K_x = out_of_distribution()[3]
    np.testing.assert_array_equal(leanvec_id(K_x, 9).truncated(4).queries, leanvec_id(K_x, 4).queries)


@pytest.mark.parametrize("method", OOD_METHODS)
def test_scale_of_either_side_does_not_matter(method):
    K_q, K_x = out_of_distribution(D=12)[2:]
    once, twice = (method(factor * K_q, K_x * factor**2, 5) for factor in (1, 4.0**6))
    np.testing.assert_allclose(twice.queries @ twice.documents.T, once.queries @ once.documents.T, atol=1e-5)


def test_sphered_documents_are_about_as_long_as_one():
    _, documents, K_q, K_x = out_of_distribution()
    for scale in (1e-4, 1e4):
        reduced = sphering(K_q, scale**2 * K_x, 48).reduce_documents(scale * documents)
        assert np.square(reduced).sum(axis=1).mean() == pytest.approx(1, rel=1e-3)


def test_frank_wolfe_descends_after_its_first_steps():
    K_q, K_x = out_of_distribution()[2:]
    losses = [frank_wolfe(K_q, K_x, 12, steps=n, tolerance=0).loss(K_q, K_x) for n in range(3, 30)]
    assert (np.diff(losses) <= 1e-3 * losses[0]).all()
    assert losses[-1] < losses[0]


def test_frank_wolfe_stays_in_the_hull():
    reduction = frank_wolfe(*out_of_distribution()[2:], 12)
    for matrix in (reduction.queries, reduction.documents):
        assert np.linalg.norm(matrix, 2) <= 1 + 1e-5


def test_few_queries_do_not_blow_up_the_documents():
    """Directions that no query has shown keep a floor, so that they are neither dropped nor amplified beyond reason."""
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((500, 64)).astype(np.float32)
    K_q, K_x = second(rng.standard_normal((8, 64)).astype(np.float32)), second(documents)
    for samples, limit in ((None, 1e3), (8, 1e2)):
        reduction = sphering(K_q, K_x, 64, samples=samples)
        assert np.linalg.cond(reduction.documents) <= 1.01 * limit
        assert reduction.loss(K_q, K_x) <= 1e-6 * np.vdot(K_q, K_x)


def test_no_queries_and_no_documents_still_reduce():
    K = out_of_distribution(D=6)[2]
    zero = np.zeros((6, 6))
    blind, pca = sphering(zero, K, 3), leanvec_id(K, 3)
    np.testing.assert_allclose(blind.queries @ blind.documents.T, pca.queries @ pca.documents.T, atol=1e-5)
    for method in OOD_METHODS:
        assert np.isfinite(method(K, zero, 3).documents).all()


@pytest.mark.parametrize("dim", [1, 2, 33, 128])
def test_rotations_are_orthogonal_and_seeded(dim):
    rotation = random_rotation(dim, 5)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(dim), atol=1e-5)
    np.testing.assert_array_equal(rotation, random_rotation(dim, 5))
    assert not np.array_equal(rotation, random_rotation(dim, 6)) or dim == 1


def test_rotations_are_uniform():
    """The first column of many is a uniform direction: mean zero, and every coordinate a mean square of 1 / dim."""
    columns = np.stack([random_rotation(4, seed)[:, 0] for seed in range(2000)])
    assert np.abs(columns.mean(axis=0)).max() < 0.06
    np.testing.assert_allclose(np.square(columns).mean(axis=0), 0.25, atol=0.03)


def test_a_rotation_changes_no_score_and_ends_nesting():
    queries, documents, K_q, K_x = out_of_distribution()
    plain = sphering(K_q, K_x, 16)
    turned = plain.rotated(7)
    scores = [one.reduce_queries(queries) @ one.reduce_documents(documents).T for one in (plain, turned)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4 * np.abs(scores[0]).max())
    spread = np.square(turned.reduce_documents(documents)).mean(axis=0)
    assert spread.max() < np.square(plain.reduce_documents(documents)).mean(axis=0).max() / 2
    with pytest.raises(InvalidInputError, match="truncate it before"):
        turned.truncated(4)


@pytest.mark.parametrize(("D", "d"), [(7, 3), (128, 32), (1408, 128), (640, 384)])
def test_a_reduced_vector_does_not_depend_on_the_vectors_beside_it(D, d):
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((D, d)).astype(np.float32)
    reduction = LeanVec(matrix, matrix)
    vectors = rng.standard_normal((41, D)).astype(np.float32)
    whole = reduction.reduce_documents(vectors)
    np.testing.assert_allclose(whole, vectors @ matrix, rtol=1e-3, atol=1e-3)
    for part in (slice(0, 1), slice(3, 10), slice(38, 41), slice(0, 0)):
        np.testing.assert_array_equal(reduction.reduce_documents(vectors[part]), whole[part])
        np.testing.assert_array_equal(reduction.reduce_queries(vectors[part]), whole[part])


def test_the_dimension_is_chosen_from_the_spectrum():
    spectrum = np.array([8.0, 4, 2, 1, 0.5, 0.25, 0.25])
    assert choose_dim(spectrum, 0.25, step=1) == 2
    assert choose_dim(spectrum, 0.24, step=1) == 3
    assert choose_dim(spectrum, 0.24, step=2) == 4
    assert choose_dim(spectrum, 1.0, step=2) == 2
    assert choose_dim(spectrum, 0.0, step=4) == 7
    assert choose_dim(np.zeros(40), 0.1) == 32
    assert choose_dim(np.append(np.ones(3), np.zeros(97)), 0.0) == 32


def test_parameters_survive_storage():
    for reduction in (sphering(*out_of_distribution()[2:], 6), sphering(*out_of_distribution()[2:], 6).rotated(1)):
        again = LeanVec.from_params(reduction.params())
        np.testing.assert_array_equal(again.queries, reduction.queries)
        np.testing.assert_array_equal(again.documents, reduction.documents)
        assert (again.nested, again.dim, again.output_dim) == (reduction.nested, 48, 6)


def test_bad_input_is_refused():
    K = np.eye(3)
    with pytest.raises(InvalidInputError, match=r"\(2, 2\)"):
        sphering(K, np.eye(2), 1)
    with pytest.raises(InvalidInputError, match="NaN"):
        sphering(K * np.nan, K, 1)
    for method in OOD_METHODS:
        with pytest.raises(InvalidInputError, match="1 to 3"):
            method(K, K, 4)
    with pytest.raises(InvalidInputError, match="1 to 3"):
        leanvec_id(K, 0)
    reduction = leanvec_id(K, 2)
    with pytest.raises(InvalidInputError, match="1 to 2"):
        reduction.truncated(3)
    with pytest.raises(InvalidEmbeddingsError, match=r"\(1, 4\)"):
        reduction.reduce_queries(np.zeros((1, 4), np.float32))
    with pytest.raises(InvalidInputError, match="this reduction takes 3"):
        reduction.loss(np.eye(4), np.eye(4))
    with pytest.raises(InvalidInputError, match="differ"):
        LeanVec(np.zeros((3, 2), np.float32), np.zeros((3, 1), np.float32))
    with pytest.raises(InvalidInputError, match="d <= D"):
        LeanVec(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(InvalidInputError, match="infinite"):
        LeanVec(np.full((2, 1), np.inf, np.float32), np.zeros((2, 1), np.float32))
    with pytest.raises(InvalidInputError, match="lack"):
        LeanVec.from_params({"queries": np.zeros((2, 1))})
    with pytest.raises(InvalidInputError, match="share"):
        choose_dim(np.ones(3), 1.5)
