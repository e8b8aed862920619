"""Names and counts of poolings, and the ones that keep tokens as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.encoders.pooling.base import MAX_TOKENS, PAPER, Pooling, pool

NAMES = ["none", "c8", "c32", "c25%", "c33%", "c50%", "c12.5%", "c100%", "k2", "k4", "tail8", "tail1234567"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("more", ["", ":raw", ":raw:iterations=5", ":iterations=1"])
def test_names_are_read_and_written_alike(name: str, more: str) -> None:
    assert str(Pooling.parse(name + more)) == name + more


@pytest.mark.parametrize(
    "name",
    [
        *"8 c k C8 tail c0 c0% c101% c1.5 k0 tail0 c8: c8:iterations=1:raw c8:seed=1".split(),
        "",
        "c8 ",
        "c" + "1" * 5000,
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        Pooling.parse(name)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "median", "size": 2},
        {"kind": "fixed", "size": 1.5},
        {"kind": "fixed"},
        {"kind": "relative", "size": float("nan")},
        {"kind": "tail", "size": float("inf")},
        {"kind": "fixed", "size": 8, "iterations": -1},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict) -> None:
    with pytest.raises(InvalidInputError):
        Pooling(**settings)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("none", {0: 0, 1: 1, 9: 9}),
        ("c8", {0: 0, 3: 3, 8: 8, 165: 8}),
        ("c25%", {0: 0, 1: 1, 7: 1, 8: 2, 165: 41}),
        ("c33%", {3: 1, 100: 33, 120: 39}),
        ("c29%", {100: 29}),
        ("c100%", {7: 7}),
        ("k2", {0: 0, 1: 1, 2: 1, 5: 3}),
        ("k4", {4: 1, 5: 2}),
        ("tail8", {0: 0, 7: 7, 9: 8}),
    ],
)
def test_how_many_vectors_are_kept(name: str, kept: dict[int, int]) -> None:
    assert {tokens: Pooling.parse(name).kept(tokens) for tokens in kept} == kept


@given(st.sampled_from(NAMES), st.integers(1, 2000))
def test_a_text_keeps_at_least_one_vector_and_none_that_it_has_not(name: str, tokens: int) -> None:
    assert 1 <= Pooling.parse(name).kept(tokens) <= tokens


def test_the_names_of_the_paper() -> None:
    written = {name: (str(queries), str(documents)) for name, (queries, documents) in PAPER.items()}
    assert written["C8x32"] == ("c8", "c32")
    assert written["4x8"] == ("tail4", "tail8")
    assert written["C25"] == ("c25%", "c25%")
    assert written["K4"] == ("k4", "k4")
    assert len(written) == 8


def numbered(*lengths: int) -> TokenEmbeddings:
    """Texts whose vectors count from 0 through them all."""
    vectors = np.arange(sum(lengths), dtype=np.float32)[:, None]
    return TokenEmbeddings(vectors, np.cumsum([0, *lengths]))


@pytest.mark.parametrize(
    ("name", "vectors", "places"),
    [
        ("none", [[0, 1, 2, 3, 4], [], [5]], [0, 1, 2, 3, 4, 0]),
        ("k2", [[0, 2, 4], [], [5]], [0, -1, 1, -1, 2, 0]),
        ("k4", [[0, 4], [], [5]], [0, -1, -1, -1, 1, 0]),
        ("tail2", [[3, 4], [], [5]], [-1, -1, -1, 0, 1, 0]),
        ("c9", [[0, 1, 2, 3, 4], [], [5]], [0, 1, 2, 3, 4, 0]),
        ("c100%", [[0, 1, 2, 3, 4], [], [5]], [0, 1, 2, 3, 4, 0]),
    ],
)
def test_tokens_that_are_kept_as_they_are(name: str, vectors: list, places: list[int]) -> None:
    pooled, assignments = pool(numbered(5, 0, 1), Pooling.parse(name))
    assert [text[:, 0].tolist() for text in pooled] == vectors
    assert assignments.tolist() == places
    assert assignments.dtype == np.int32


def test_no_texts_give_no_vectors() -> None:
    for name in NAMES:
        pooled, assignments = pool(numbered(), Pooling.parse(name))
        assert (len(pooled), len(assignments)) == (0, 0)


@pytest.mark.parametrize("weights", [[1.0], [1, 1, 1, -1.0], [1, 1, 1, np.nan], [[1, 1, 1, 1]]])
def test_weights_that_mean_nothing_are_refused(weights: list) -> None:
    with pytest.raises(InvalidInputError, match="weights"):
        pool(numbered(4), Pooling.parse("c2"), np.array(weights, np.float32))


def test_a_text_too_long_to_cluster_is_refused_but_may_be_thinned() -> None:
    long = numbered(MAX_TOKENS + 1)
    with pytest.raises(InvalidInputError, match="too long to cluster"):
        pool(long, Pooling.parse("c8"))
    assert len(pool(long, Pooling.parse("tail8"))[0].vectors) == 8
