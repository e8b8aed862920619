"""Codecs with codebooks: what they add to the promises that `test_codecs` checks."""

import numpy as np
import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.index.tokens.pq import Pq16Codec, Pq32Codec
from latefold.index.tokens.rabitq import RabitqCodec
from latefold.index.tokens.residual import Residual1Codec, Residual2Codec, Residual4Codec
from latefold.index.tokens.words import WordCodec

ALL = [Pq16Codec, Residual1Codec, Residual2Codec, Residual4Codec, RabitqCodec]
each = pytest.mark.parametrize("kind", ALL)


def unit(rng, count, dim):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@each
@pytest.mark.parametrize("dim", [1, 7, 24])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_small_samples_duplicates_and_zeros_fit(kind, count, dim):
    rng = np.random.default_rng(count)
    sample = np.concatenate([unit(rng, count, dim)] * 2 + [np.zeros((count, dim), np.float32)])
    codec = kind.fit(sample)
    decoded = codec.decode(codec.encode(sample))
    assert np.isfinite(decoded).all()
    if kind is not RabitqCodec:
        lengths = np.linalg.norm(decoded, axis=1)
        assert (lengths <= np.linalg.norm(sample, axis=1) * 1.001).all()


def test_the_same_sample_gives_the_same_codec_and_parameters_the_same_rows():
    vectors = unit(np.random.default_rng(0), 2000, 32)
    first, second = Pq32Codec.fit(vectors), Pq32Codec.fit(vectors)
    np.testing.assert_equal(second.params(), first.params())
    again = Pq32Codec.from_params(32, first.params())
    np.testing.assert_array_equal(again.encode(vectors), first.encode(vectors))


def test_values_of_residual_bits_rise_and_split_residuals_evenly():
    residuals = np.random.default_rng(1).standard_normal((4000, 12)).astype(np.float32)
    for kind in (Residual1Codec, Residual2Codec, Residual4Codec):
        book = kind.fit_book(residuals, kind.sizes(12))
        values = book[0, : 2**kind.bits, 0]
        assert (np.diff(values) > 0).all()
        below = (residuals.ravel()[:, None] <= values).mean(axis=0)
        np.testing.assert_allclose(below, (np.arange(len(values)) + 0.5) / len(values), atol=1e-3)
        if kind.bits < 4:
            np.testing.assert_array_equal(np.unique(book[0, :, 1]), values)


def test_without_residuals_the_centroid_is_the_vector():
    corners = np.repeat(np.eye(16, dtype=np.float32), 400, axis=0)
    codec = Residual2Codec.fit(corners)
    decoded = codec.decode(codec.encode(corners))
    np.testing.assert_allclose(decoded, corners, atol=1e-3)


def test_finer_codes_are_closer():
    vectors = unit(np.random.default_rng(2), 4000, 32)
    errors = []
    for kind in (Residual1Codec, Residual2Codec, Residual4Codec):
        codec = kind.fit(vectors)
        errors.append(((codec.decode(codec.encode(vectors)) - vectors) ** 2).mean())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_rabitq_is_unbiased_over_rotations():
    rng = np.random.default_rng(3)
    dim = 32
    vector, query = unit(rng, 2, dim)
    found = []
    for _ in range(400):
        rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        params = RabitqCodec.fit(np.zeros((1, dim), np.float32)).params() | {"rotation": rotation}
        codec = RabitqCodec.from_params(dim, params)
        found.append(float(query @ codec.decode(codec.encode(vector[None]))[0]))
    spread = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - query @ vector) < 4 * spread + 1e-3
    assert np.std(found) < 2 / np.sqrt(dim)


def test_longer_vectors_than_those_of_the_sample_keep_the_bound():
    rng = np.random.default_rng(5)
    from latefold.encoders.embeddings import TokenEmbeddings

    for kind in (Pq16Codec, RabitqCodec):
        codec = kind.fit(unit(rng, 1000, 16))
        codes = codec.encode(unit(rng, 50, 16) * 30)
        queries, offsets = TokenEmbeddings(unit(rng, 5, 16), np.array([0, 5])), np.arange(0, 51, 10)
        estimates, errors = codec.estimate(queries, codes, offsets)
        assert (np.abs(estimates - codec.score(queries, codes, offsets)) <= errors).all()
        lengths = np.linalg.norm(codec.decode(codes), axis=1)
        assert lengths.max() > 25


@each
def test_damaged_parameters_are_refused(kind):
    codec: WordCodec = kind.fit(unit(np.random.default_rng(6), 500, 8))
    params = codec.params()
    bad = [
        {k: v for k, v in params.items() if k != "book"},
        params | {"surplus": np.zeros(1)},
        params | {"book": params["book"][:, :255]},
        params | {"book": params["book"].astype(np.int16)},
        params | {"centroids": params["centroids"][..., :7]},
        params | {"centroids": params["centroids"][:0]},
        params | {"units": np.array([np.nan, 1, 1], np.float32)},
        params | {"units": np.array([0, 1, 1], np.float32)},
    ]
    if "rotation" in params:
        bad.append(params | {"rotation": np.full((8, 8), np.inf, np.float32)})
    for damaged in bad:
        with pytest.raises(InvalidInputError, match=codec.name):
            kind.from_params(8, damaged)
    with pytest.raises(InvalidInputError, match="dimension"):
        kind.from_params(0, params)
