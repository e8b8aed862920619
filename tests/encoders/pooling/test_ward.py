"""Ward pooling, the baseline; its equality with sentence-transformers is tested beside the torch modules."""

from __future__ import annotations

import numpy as np
import pytest

from latefold import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.encoders.pooling.base import Pooling

pytest.importorskip("scipy", reason="scipy is not installed")

from latefold.encoders.pooling.ward import ward


def test_a_factor_of_one_changes_nothing(make_embeddings) -> None:
    embeddings = make_embeddings(6, low=0)
    for protected in (0, 1, 20):
        np.testing.assert_allclose(ward(embeddings, 1, protected=protected).vectors, embeddings.vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "protected", "kept"), [(3, 1, [4, 1, 0]), (2, 0, [5, 1, 0]), (Pooling.parse("c4"), 0, [4, 1, 0])]
)
def test_how_many_vectors_are_kept(make_embeddings, size, protected, kept) -> None:
    tokens = make_embeddings(1, low=10, high=11)[0]
    embeddings = TokenEmbeddings.from_list([tokens, tokens[:1], tokens[:0]])
    pooled = ward(embeddings, size, protected=protected)
    assert pooled.lengths.tolist() == kept
    np.testing.assert_allclose(np.linalg.norm(pooled.vectors, axis=1), 1, atol=1e-6)


def test_vectors_around_a_few_directions_are_told_apart(rng) -> None:
    centres = np.eye(8, dtype=np.float32)[:3]
    x = np.repeat(centres, 5, axis=0) + 0.05 * rng.standard_normal((15, 8)).astype(np.float32)
    pooled = ward(TokenEmbeddings.from_list([x]), 5, protected=0, renormalize=False)
    wanted = x.reshape(3, 5, 8).mean(axis=1)
    np.testing.assert_allclose(pooled[0][pooled[0].argmax(axis=1).argsort()], wanted, atol=1e-6)


@pytest.mark.parametrize("settings", [{"size": 0.5}, {"size": float("nan")}, {"size": 2, "protected": -1}])
def test_settings_that_mean_nothing_are_refused(make_embeddings, settings) -> None:
    with pytest.raises(InvalidInputError, match="factor"):
        ward(make_embeddings(1), **settings)
