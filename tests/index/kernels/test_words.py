"""MaxSim by words of codebooks, against plain numpy."""

from itertools import pairwise

import numpy as np
import pytest

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.index.kernels.nearest import RESIDUAL, WHOLE, encode, search_in
from latefold.index.kernels.words import Mapped, Words, score

DIM, CODES, WIDTH = 13, 5, 4
PLACES = np.array([0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 16, 17])


def some_book(rng, scaling, centroids=300, shared=False):
    """Codebooks as `Words`, and what their bytes stand for: `(K, DIM)` and `(CODES, 256, WIDTH)` floats."""
    near = rng.integers(-127, 128, (centroids, DIM), np.int8)
    books = rng.integers(-127, 128, (1 if shared else CODES, 256, WIDTH), np.int8)
    padded = np.full((centroids, 16), 128, np.uint8)
    padded[:, :DIM] = near.astype(np.int16) + 128
    words = (books.astype(np.int16) + 128).astype(np.uint8).ravel()
    unit, scale = np.float32(0.01), np.float32(0.003)
    reach = np.array([127 * 4 * unit, 127 * 5 * scale], np.float32)
    step = 0 if shared else 256 * WIDTH
    id_bytes = 2 if centroids > 256 else 0 if centroids == 1 else 1
    book = Words(padded, words, WIDTH, step, CODES, id_bytes, scaling, unit, scale, np.float32(np.inf), reach)
    every = np.broadcast_to(books.astype(np.float32), (CODES, 256, WIDTH))
    return book, near.astype(np.float32) * unit, every * scale


def some_rows(rng, book, count):
    rows = rng.integers(0, 256, (count, book.id_bytes + CODES + 2), np.uint8)
    rows[:, -2:] = rng.uniform(0.1, 2, (count, 1)).astype("<f2").view(np.uint8)
    return rows


def plain_decode(rows, book, near, every):
    ids = np.zeros(len(rows), np.int64)
    for b in range(book.id_bytes):
        ids += rows[:, b].astype(np.int64) << (8 * b)
    centroid = near[np.minimum(ids, len(near) - 1)]
    codes = rows[:, book.id_bytes : book.id_bytes + CODES]
    rest = every[np.arange(CODES), codes].reshape(len(rows), -1)[:, PLACES]
    constant = np.abs(rows[:, -2:].copy().view("<f2").astype(np.float32))
    return constant * (centroid + rest) if book.scaling == WHOLE else centroid + constant * rest


def mapped(queries):
    padded = np.zeros((len(queries.vectors), CODES * WIDTH), np.float32)
    padded[:, PLACES] = queries.vectors
    return Mapped(queries, TokenEmbeddings(padded, queries.offsets))


def plain_maxsim(queries, vectors, offsets):
    scores = np.full((len(queries), len(offsets) - 1), -np.inf)
    for j, (a, b) in enumerate(pairwise(offsets)):
        for i, query in enumerate(queries):
            if b > a:
                scores[i, j] = (query.astype(np.float64) @ vectors[a:b].T).max(axis=1).sum()
    return scores


@pytest.mark.parametrize("scaling", [WHOLE, RESIDUAL])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("centroids", [1, 7, 300])
def test_scores_and_estimates_are_those_of_decoded_rows(scaling, shared, centroids):
    rng = np.random.default_rng(centroids)
    book, near, every = some_book(rng, scaling, centroids, shared)
    rows = some_rows(rng, book, 120)
    offsets = np.array([0, 1, 1, 9, 42, 120])
    lengths = np.array([0, 3, 0, 17, 40, 1])
    queries = TokenEmbeddings(
        rng.standard_normal((lengths.sum(), DIM)).astype(np.float32), np.concatenate([[0], lengths.cumsum()])
    )
    decoded = plain_decode(rows, book, near, every)
    exact = plain_maxsim(queries, decoded, offsets)
    scores, _ = score(mapped(queries), rows, book, offsets)
    estimates, errors = score(mapped(queries), rows, book, offsets, planes=1)
    sizes = [np.linalg.norm(query, axis=1).sum() * np.linalg.norm(decoded, axis=1).max() for query in queries]
    some = np.diff(offsets) > 0
    assert (1e-5 * np.array(sizes) + 1e-12 >= np.abs(scores[:, some] - exact[:, some]).T).all()
    np.testing.assert_array_equal(np.isneginf(scores), np.isneginf(exact))
    assert (np.abs(estimates[:, some].astype(np.float64) - scores[:, some]) <= errors[:, some]).all()
    assert not errors[:, ~some].any()
    alone = score(mapped(queries.take([4])), rows, book, offsets, np.array([4, 2]))[0]
    np.testing.assert_array_equal(alone[0], scores[4, [4, 2]])


def test_ids_beyond_the_last_centroid_are_taken_for_it():
    rng = np.random.default_rng(1)
    book, near, every = some_book(rng, WHOLE, 300)
    rows = some_rows(rng, book, 10)
    rows[:, :2] = 255
    queries = TokenEmbeddings(rng.standard_normal((2, DIM)).astype(np.float32), np.array([0, 2]))
    offsets = np.array([0, 10])
    exact = plain_maxsim(queries, plain_decode(rows, book, near, every), offsets)
    np.testing.assert_allclose(score(mapped(queries), rows, book, offsets)[0], exact, rtol=1e-4)
    with pytest.raises(InvalidInputError, match="offsets"):
        score(mapped(queries), rows, book, np.array([0, 11]))


@pytest.mark.parametrize(("groups", "per_group"), [(1, 5), (1, 40), (12, 20)])
def test_the_nearest_centroid_and_codes_are_found(groups, per_group):
    rng = np.random.default_rng(per_group)
    seeds = rng.integers(-100, 101, (groups, 1, DIM))
    centroids = seeds + rng.integers(-25, 26, (groups, per_group, DIM))
    lengths = np.linalg.norm(centroids, axis=2, keepdims=True)
    flat = np.rint(centroids * 100 / lengths).astype(np.int8).reshape(-1, DIM)  # near length 1 in units
    books = rng.integers(-30, 31, (CODES, 256, WIDTH), np.int8)
    units = np.array([0.01, 0.01], np.float32)
    chosen = rng.integers(0, len(flat), 200)
    directions = flat[chosen] + rng.uniform(-2, 2, (200, DIM))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = (directions * rng.uniform(0.2, 5, (200, 1))).astype(np.float32)
    rows = np.empty((200, CODES + 1), np.uint8)
    sums = encode(vectors, search_in(flat, per_group, books, units, PLACES), CODES, 1, WHOLE, rows)
    whole = directions / units[0]
    distances = ((whole[:, None] - flat.astype(np.float32)) ** 2).sum(axis=2)
    found = distances[np.arange(200), rows[:, 0]]
    assert (np.sqrt(found) <= np.sqrt(distances.min(axis=1)) + np.sqrt(DIM) / 2).all()
    rest = np.zeros((200, CODES * WIDTH))
    rest[:, PLACES] = np.rint(whole - flat[rows[:, 0]])
    off = ((rest.reshape(200, CODES, 1, WIDTH) - books) ** 2).sum(axis=3)
    got = np.take_along_axis(off, rows[:, 1:, None].astype(np.int64), axis=2)[:, :, 0]
    np.testing.assert_allclose(got, off.min(axis=2), atol=2)
    np.testing.assert_allclose(sums[:, 5], (vectors**2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(sums[:, 4], found * units[0] ** 2, rtol=1e-3)
