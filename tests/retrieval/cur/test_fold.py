"""The map that gives later documents their item vectors."""

from __future__ import annotations

import numpy as np
import pytest

from latefold.retrieval.cur.fold import LinearMap


@pytest.mark.parametrize("dims", [5, 80])
def test_a_linear_relation_is_found_and_its_strength_told(rng, dims: int) -> None:
    sources = rng.standard_normal((200, 4)) @ rng.standard_normal((4, dims)) + 3
    truth = rng.standard_normal((dims, 3))
    made = LinearMap.fit(sources, sources @ truth - 2)
    assert made.explained > 0.99
    fresh = sources[:1] + 0.01
    np.testing.assert_allclose(fresh @ made.matrix + made.offset, fresh @ truth - 2, atol=0.3)


def test_what_cannot_be_predicted_is_said_to_be_so(rng) -> None:
    made = LinearMap.fit(rng.standard_normal((300, 6)), rng.standard_normal((300, 4)))
    assert made.explained < 0.1
    assert np.abs(made.matrix).max() < 0.2


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_few_documents_give_their_mean(rng, count: int) -> None:
    targets = rng.standard_normal((count, 3)).astype(np.float32)
    made = LinearMap.fit(rng.standard_normal((count, 6)), targets)
    np.testing.assert_allclose(made.offset, targets.mean(axis=0) if count else 0, atol=1e-6)
    assert (made.matrix.any(), made.explained) == (False, 0.0)


def test_targets_that_are_all_equal_are_met(rng) -> None:
    made = LinearMap.fit(rng.standard_normal((50, 6)), np.full((50, 2), 4.0, np.float32))
    np.testing.assert_allclose(made.offset, 4, atol=1e-5)
