"""One suite over all token codecs: what `TokenCodec` promises."""

import json
from functools import cache
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.base import load_encoder
from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.kernels import jit
from latefold.index.tokens.base import codec, codec_names

PLANES = 3e-5
"""Two signed bytes are off by up to 1/64,000 of a query's largest coordinate: products of unit vectors about 3e-6."""
FITTED_SCALES = (1e-2, 1.0, 1e3)


class Promise(NamedTuple):
    """What a codec keeps.

    tight: its error bound, as a share of the length of vectors of equal spread. score: how far `score` may be from
    MaxSim of the decoded vectors, as a share of the largest there is.
    """

    tight: float
    scales: tuple[float, ...] = FITTED_SCALES
    score: float = PLANES
    bounded: bool = True  # whether rows say how far their vectors may be


CODECS = {
    "fp16": Promise(0.001, (1e-4, 1.0, 1e3), 2e-6),
    "lvq8": Promise(0.02, (1e-4, 1.0, 1e3)),
    "lvq4": Promise(0.35, (1e-4, 1.0, 1e3)),
    "lvq4x4": Promise(0.03, (1e-4, 1.0, 1e3)),
    **{name: Promise(2.1) for name in ("residual1", "residual2", "residual4", "pq16", "pq32", "pq48")},
    "rabitq": Promise(np.inf),  # near zero, the residual is longer than the vector
    "sign": Promise(np.inf, score=2e-6, bounded=False),
    **{
        name: Promise(np.inf, score=2e-6, bounded=False)
        for name in ("patch256", "patch512", "patch256r1", "patch256r2")
    },
}
DIM = 48
FIT_VECTORS = 600

each_codec = pytest.mark.parametrize("name", CODECS)
each_bounded = pytest.mark.parametrize("name", [name for name, promise in CODECS.items() if promise.bounded])
lengths = st.lists(st.one_of(st.integers(0, 4), st.integers(60, 70)), max_size=8)


def ragged(rng, sizes, dim=DIM):
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    vectors = rng.standard_normal((offsets[-1], dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12
    return TokenEmbeddings(vectors, offsets)


def maxsim(queries, vectors, offsets):
    """Plain MaxSim: for each query vector its best document vector, summed."""
    scores = np.full((len(queries), len(offsets) - 1), -np.inf)
    for j, (start, stop) in enumerate(pairwise(offsets)):
        if stop > start:
            for i, query in enumerate(queries):
                scores[i, j] = (query.astype(np.float64) @ vectors[start:stop].T).max(axis=1).sum()
    return scores


@cache
def fitted(name, dim=DIM):
    """A codec of unit vectors."""
    return codec(name).fit(ragged(np.random.default_rng(3), [FIT_VECTORS], dim).vectors)


@pytest.fixture(params=CODECS)
def stored(request):
    """A codec with the rows of a ragged collection that has empty, single-token and long documents."""
    rng = np.random.default_rng(7)
    documents = ragged(rng, [5, 0, 1, 130, 64, 0, 17, 2])
    chosen = fitted(request.param)
    return chosen, chosen.encode(documents.vectors), documents


@each_codec
@settings(max_examples=40)
@given(query_lengths=lengths, document_lengths=lengths, seed=st.integers(0, 2**32 - 1))
def test_score_is_maxsim_of_the_decoded_vectors(name, query_lengths, document_lengths, seed):
    rng = np.random.default_rng(seed)
    queries, documents = ragged(rng, query_lengths), ragged(rng, document_lengths)
    chosen = fitted(name)
    codes = chosen.encode(documents.vectors)
    scores = chosen.score(queries, codes, documents.offsets)
    assert scores.dtype == np.float32
    exact = maxsim(queries, chosen.decode(codes), documents.offsets)
    some = documents.lengths > 0
    np.testing.assert_array_equal(scores[:, ~some], exact[:, ~some])
    largest = queries.lengths[:, None]  # of all scores of unit vectors
    assert (np.abs(scores[:, some] - exact[:, some]) <= CODECS[name].score * largest).all()

    estimates, errors = chosen.estimate(queries, codes, documents.offsets)
    assert estimates.shape == errors.shape == scores.shape
    assert estimates.dtype == errors.dtype == np.float32
    without = np.broadcast_to(documents.lengths == 0, scores.shape)
    np.testing.assert_array_equal(np.isneginf(estimates), without)
    assert not errors[without].any()
    assert (np.abs(estimates[~without].astype(np.float64) - scores[~without]) <= errors[~without]).all()


def spreads(name):
    """Dimensions, scales and shifts of vectors: all of them, or a few for a codec that is fitted to each."""
    scales = CODECS[name].scales
    if not codec(name).fitted:
        return product((1, 7, 128, 384), scales, (0.0, 0.5))
    return (7, 1.0, 0.0), (128, 1.0, 0.5), (1, scales[0], 0.5), (128, scales[-1], 0.0)


def spread_and_decoded(name, dim, scale, shift):
    """300 vectors, what is left of them, and the error bounds of their rows."""
    rng = np.random.default_rng(dim)
    vectors = ((rng.standard_normal((300, dim)) + shift) * scale).astype(np.float32)
    chosen = codec(name).fit(vectors)
    codes = chosen.encode(vectors)
    return vectors, chosen.decode(codes), chosen.error_bound(codes)


@pytest.mark.parametrize(
    ("name", "dim", "scale", "shift"),
    [(name, *spread) for name, promise in CODECS.items() if promise.bounded for spread in spreads(name)],
)
def test_error_bound_holds_for_the_worst_query(name, dim, scale, shift):
    vectors, decoded, bound = spread_and_decoded(name, dim, scale, shift)
    worst = np.linalg.norm(vectors.astype(np.float64) - decoded, axis=1)
    assert bound.shape == (300,)
    assert (worst <= bound).all()
    assert (bound <= np.linalg.norm(vectors, axis=1) * CODECS[name].tight + 1e-5).all()


@pytest.mark.parametrize("name", [name for name, promise in CODECS.items() if not promise.bounded])
def test_rows_that_say_nothing_of_the_distance_have_no_finite_bound(name):
    for spread in ((7, 1.0, 0.0), (128, 1e3, 0.5)):
        vectors, decoded, bound = spread_and_decoded(name, *spread)
        assert np.isfinite(decoded).all()
        assert decoded.shape == vectors.shape
        np.testing.assert_array_equal(bound, np.full(300, np.inf, np.float32))


@each_bounded
def test_unit_vectors_keep_their_scores(name):
    rng = np.random.default_rng(0)
    queries, documents = ragged(rng, [32], 128), ragged(rng, [80] * 20, 128)
    chosen = fitted(name, 128)
    codes = chosen.encode(documents.vectors)
    exact = maxsim(queries, documents.vectors, documents.offsets)
    scores = chosen.score(queries, codes, documents.offsets)
    bound = chosen.error_bound(codes)
    assert np.isfinite(bound).all()
    assert np.abs(scores - exact).max() <= 32 * bound.max()


def certified_best(chosen, queries, codes, offsets, k):
    """The `k` best documents of each query, best first, and how many were scored for it."""
    estimates, errors = chosen.estimate(queries, codes, offsets)
    found, scored = [], []
    for i in range(len(queries)):
        threshold = np.sort(estimates[i] - errors[i])[-k]
        positions = np.flatnonzero(estimates[i] + errors[i] >= threshold)
        scores = chosen.score(queries.take([i]), codes, offsets, positions)[0]
        order = np.argsort(-scores, kind="stable")[:k]
        found.append((positions[order], scores[order]))
        scored.append(len(positions))
    return found, scored


def check_the_best(chosen, queries, documents, k):
    codes = chosen.encode(documents.vectors)
    found, scored = certified_best(chosen, queries, codes, documents.offsets, k)
    scores = chosen.score(queries, codes, documents.offsets)
    for row, (positions, best) in zip(scores, found, strict=True):
        expected = np.argsort(-row, kind="stable")[:k]
        np.testing.assert_array_equal(positions, expected)
        np.testing.assert_array_equal(best, row[expected])
    return scored


@each_codec
@settings(max_examples=10)
@given(k=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_the_best_of_all_are_among_those_that_estimates_admit(name, k, seed):
    rng = np.random.default_rng(seed)
    queries, documents = ragged(rng, rng.integers(0, 20, 5)), ragged(rng, rng.integers(0, 40, 60))
    check_the_best(fitted(name), queries, documents, k)


@pytest.fixture(scope="module")
def abstracts(shared_data):
    """Token vectors of 200 abstracts and 25 questions."""
    folder, encoder = shared_data / "cranfield", load_encoder("minilm-128")
    texts = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text().splitlines()[:200]]
    questions = [json.loads(line)["text"] for line in (folder / "queries.jsonl").read_text().splitlines()[::9]]
    return encoder.encode_queries(questions), encoder.encode_documents([text[:300] for text in texts])


@each_codec
def test_few_real_documents_are_scored_for_the_best(name, abstracts):
    queries, documents = abstracts
    chosen = codec(name).fit(documents.vectors[:: len(documents.vectors) // FIT_VECTORS])
    scored = check_the_best(chosen, queries, documents, 10)
    if chosen.estimate(queries.take([0]), chosen.encode(documents.vectors), documents.offsets)[1].any():
        assert np.mean(scored) < len(documents) / 2


def test_rows_are_bytes_of_the_promised_width(stored):
    chosen, codes, documents = stored
    assert codes.dtype == np.uint8
    assert codes.flags.c_contiguous
    assert codes.shape == (len(documents.vectors), chosen.bytes_per_token)
    assert chosen.bytes_per_token <= type(chosen).planned_bytes(chosen.dim)
    assert chosen.decode(codes).shape == documents.vectors.shape


def test_rows_are_independent_and_can_be_sliced_and_concatenated(stored):
    chosen, codes, documents = stored
    apart = [chosen.encode(part) for part in documents]
    np.testing.assert_array_equal(np.concatenate(apart), codes)
    np.testing.assert_array_equal(chosen.encode(documents.vectors[::-1]), codes[::-1])
    np.testing.assert_array_equal(chosen.decode(codes[10:20]), chosen.decode(codes)[10:20])


def test_encoding_decoded_vectors_again_stays_near(stored):
    chosen, codes, _ = stored
    once = chosen.decode(codes)
    twice = chosen.decode(chosen.encode(once))
    if CODECS[chosen.name].bounded:
        assert (np.linalg.norm(twice - once, axis=1) <= chosen.error_bound(codes) * 1.01).all()
    else:
        assert (np.linalg.norm(twice - once, axis=1) < np.linalg.norm(once, axis=1)).all()


def test_coarse_scores_have_the_shape_of_scores(stored):
    chosen, codes, documents = stored
    scores, coarse = (run(documents, codes, documents.offsets) for run in (chosen.score, chosen.coarse))
    assert coarse.shape == scores.shape
    np.testing.assert_array_equal(np.isneginf(coarse), np.isneginf(scores))
    some = documents.lengths > 0
    assert np.corrcoef(coarse[3, some], scores[3, some])[0, 1] > 0.8


def test_a_read_only_memory_map_scores_like_memory(stored, tmp_path):
    chosen, codes, documents = stored
    codes.tofile(tmp_path / "codes")
    documents.offsets.tofile(tmp_path / "offsets")
    mapped = np.memmap(tmp_path / "codes", np.uint8, "r", shape=codes.shape)
    offsets = np.memmap(tmp_path / "offsets", np.int64, "r")
    queries = documents.take([3, 0])
    for run in (chosen.score, chosen.estimate):
        np.testing.assert_array_equal(run(queries, mapped, offsets), run(queries, codes, documents.offsets))
    np.testing.assert_array_equal(chosen.decode(mapped), chosen.decode(codes))


def test_positions_select_columns_in_their_order(stored):
    chosen, codes, documents = stored
    for run in (chosen.score, chosen.estimate):
        whole = np.asarray(run(documents, codes, documents.offsets))
        for positions in ([], [6], [7, 1, 3, 3, 0]):
            chosen_few = run(documents, codes, documents.offsets, np.array(positions, np.int64))
            np.testing.assert_array_equal(chosen_few, whole[..., positions])


def test_a_batch_scores_like_its_queries_one_by_one(stored):
    chosen, codes, documents = stored
    queries = ragged(np.random.default_rng(1), [3, 0, 8, 33, 1])
    for run in (chosen.score, chosen.estimate):
        batch = np.asarray(run(queries, codes, documents.offsets))
        for i in range(len(queries)):
            alone = np.asarray(run(queries.take([i]), codes, documents.offsets))
            np.testing.assert_array_equal(alone[..., 0, :], batch[..., i, :])


def test_threads_change_nothing(stored, monkeypatch):
    chosen, codes, documents = stored
    once = [run(documents, codes, documents.offsets) for run in (chosen.score, chosen.estimate)]
    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(jit, "WORK_PER_THREAD", 1)
    for run, before in zip((chosen.score, chosen.estimate), once, strict=True):
        np.testing.assert_array_equal(run(documents, codes, documents.offsets), before)


def test_documents_without_tokens_score_minus_infinity(stored):
    chosen, codes, documents = stored
    scores = chosen.score(documents, codes, documents.offsets)
    np.testing.assert_array_equal(np.isneginf(scores), np.tile(documents.lengths == 0, (len(documents), 1)))
    indices, best = chosen.best_tokens(documents[0], codes[:0])
    assert (indices == -1).all()
    assert np.isneginf(best).all()


def test_best_tokens_add_up_to_the_score(stored):
    chosen, codes, documents = stored
    start, stop = documents.offsets[3:5]
    query = documents.take([6])
    indices, best = chosen.best_tokens(query.vectors, codes[start:stop])
    assert indices.dtype == np.int64
    similarities = query.vectors @ chosen.decode(codes[start:stop]).T
    np.testing.assert_array_equal(indices, similarities.argmax(axis=1))
    score = chosen.score(query, codes, documents.offsets, np.array([3]))[0, 0]
    assert best.sum() == pytest.approx(score, rel=1e-5)


def test_parameters_survive_storage(stored):
    chosen, codes, _ = stored
    again = type(chosen).from_params(chosen.dim, chosen.params())
    assert again.bytes_per_token == chosen.bytes_per_token
    np.testing.assert_array_equal(again.decode(codes), chosen.decode(codes))
    with pytest.raises(InvalidInputError, match="surplus"):
        type(chosen).from_params(chosen.dim, {"surplus": np.zeros(1)})


def test_bad_input_is_refused(stored):
    chosen, codes, documents = stored
    narrow = ragged(np.random.default_rng(0), [2], DIM - 1)
    with pytest.raises(InvalidEmbeddingsError, match=f"expected \\(n, {DIM}\\)"):
        chosen.encode(narrow.vectors)
    with pytest.raises(InvalidEmbeddingsError, match="scale them down"):
        chosen.encode(documents.vectors * 1e6)
    with pytest.raises(InvalidEmbeddingsError, match="NaN"):
        chosen.encode(np.full((1, DIM), np.nan, np.float32))
    with pytest.raises(InvalidInputError, match=f"{chosen.bytes_per_token}"):
        chosen.decode(codes[:, 1:])
    for run in (chosen.score, chosen.estimate):
        with pytest.raises(InvalidEmbeddingsError, match="expected"):
            run(narrow, codes, documents.offsets)
        with pytest.raises(InvalidInputError, match=f"{chosen.bytes_per_token}"):
            run(documents, codes[:, 1:], documents.offsets)
        with pytest.raises(InvalidInputError, match="positions"):
            run(documents, codes, documents.offsets, np.array([8]))


def test_no_codec_is_left_out():
    assert set(CODECS) == set(codec_names())


def test_stored_rows_of_old_indexes_are_still_read():
    """Half precision and LVQ-8 have no version: their bytes must stay what they were."""
    vector = np.array([[-1.0, 0.25, 1.0, 0.5]], np.float32)
    assert fixed("fp16", vector) == "00bc0034003c0038"
    assert fixed("lvq8", vector) == "009fffbf00bc0520"


def fixed(name, vector):
    return codec(name).fit(vector).encode(vector).tobytes().hex()


def test_unknown_codecs_and_dimensions_are_refused():
    with pytest.raises(InvalidInputError, match="fp16, "):
        codec("fp17")
    with pytest.raises(InvalidInputError, match="dimension"):
        codec("lvq8").from_params(0, {})
