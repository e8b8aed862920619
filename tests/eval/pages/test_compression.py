"""What is measured on page vectors: sizes, the reference, sets of codes, and vectors that have a place on the page."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from latefold.encoders.base import load_encoder
from latefold.eval.pages.collection import open_pages
from latefold.eval.pages.compression import compression, rows_of, set_bytes
from latefold.eval.pages.page_vectors import page_vectors
from latefold.eval.pages.plots import frontier
from latefold.eval.pages.recipes import SALIENCY, TARGET, Recipe, recipes, times
from latefold.eval.pages.staged import staged
from latefold.index.tokens.base import codec, codec_names
from latefold.retrieval.types import Document


@pytest.fixture(scope="module")
def collection(page_place):
    return open_pages("known-items", page_place)


@pytest.fixture(scope="module")
def vectors(collection, page_place):
    return page_vectors(collection, page_place)


def test_short_pages_have_the_vectors_of_their_text(collection, vectors) -> None:
    encoder = load_encoder("default:none")
    texts = [
        f"{document.title}\n{page.text}"
        for document, page in zip(collection.dataset.documents, collection.pages(), strict=True)
    ]
    np.testing.assert_array_equal(vectors.pages.offsets, encoder.encode_documents(texts).offsets)
    np.testing.assert_allclose(vectors.pages.vectors, encoder.encode_documents(texts).vectors, atol=2e-3)


def test_vectors_lie_on_the_words_they_stand_for(collection, vectors) -> None:
    encoder, page = load_encoder("default:none"), collection.pages()[0]
    document: Document = collection.dataset.documents[0]
    (spans,) = encoder.document_spans([f"{document.title}\n{page.text}"])
    shift = len(document.title) + 1
    for (start, stop), box in zip(spans.tolist(), vectors.boxes[: vectors.pages.offsets[1]], strict=True):
        if stop > start >= shift:
            word = np.flatnonzero((page.spans[:, 0] <= start - shift) & (start - shift < page.spans[:, 1]))
            np.testing.assert_array_equal(box, page.boxes[word[0]])
        else:
            assert not box.any()


def test_title_and_markers_are_kept_once_a_page(collection, page_place, monkeypatch) -> None:
    monkeypatch.setattr("latefold.eval.pages.page_vectors.WINDOW", 32)
    other = type(page_place)(page_place.data, page_place.cache / "narrow")
    made = page_vectors(collection, other)
    titles = load_encoder("default:none").encode_documents([d.title for d in collection.dataset.documents]).lengths
    unplaced = [int((~made.boxes[a:b].any(axis=1)).sum()) for a, b in pairwise(made.pages.offsets)]
    assert unplaced == titles.tolist()


def test_figures(collection, vectors) -> None:
    chosen = [
        Recipe("codecs", "fp16"),
        Recipe("codecs", "patch256"),
        Recipe("codecs", "patch256", as_set=True),
        Recipe("combinations", "sign", "ward", 2),
        Recipe("pruned combinations", "sign", "ward", 2, 0.4, "distance"),
        *(Recipe("pruning", "lvq8", share=0.4, by=by) for by in SALIENCY),
    ]
    result = compression(collection.dataset, vectors, chosen)
    assert result["left_out"] == {}
    rows = rows_of(result)
    assert [row.label for row in rows] == [recipe.label for recipe in chosen]
    reference, plain, as_set, pooled, pruned = rows[:5]
    assert reference.ndcg == 1  # the words of each query stand on its page alone
    assert reference.times == reference.agreement == 1
    assert reference.bytes == 2 * 128 * len(vectors.pages.vectors) / 8
    assert plain.times == 256
    assert (as_set.ndcg, as_set.recall_at_5, as_set.agreement) == (plain.ndcg, plain.recall_at_5, plain.agreement)
    assert as_set.bytes <= 32
    assert pooled.times == pytest.approx(32, rel=0.1)
    assert pruned.times == pytest.approx(32 / 0.4, rel=0.2)


def test_sets_are_lists_or_maps(rng) -> None:
    sample = rng.standard_normal((600, 8)).astype(np.float32)
    different = np.array([3, 100])
    assert set_bytes(codec("patch256").fit(sample), different) == 3 + 32
    assert set_bytes(codec("patch512").fit(sample), different) == 2 * 3 + 64
    assert set_bytes(codec("patch256r1").fit(sample), different) == 2 * (3 + 100)


def test_the_plan_has_codecs_that_exist_and_reaches_the_target() -> None:
    plan = recipes(128)
    assert plan[0].label == "fp16"
    assert {recipe.codec for recipe in plan} <= set(codec_names())
    assert {"lvq8", "pq16", "sign", "patch256"} <= {recipe.codec for recipe in plan if recipe.section == "codecs"}
    assert len({(recipe.section, recipe.label) for recipe in plan}) == len(plan)
    for recipe in plan:
        if recipe.section in ("combinations", "pruned combinations"):
            assert recipe.factor * times(recipe.codec, 128) >= TARGET
    assert set(recipes(128, quick=True)) < set(plan)


def test_stages(collection, vectors) -> None:
    result = staged(collection.dataset, vectors)
    assert result["whole"] == 1
    assert len(result["rows"]) == 6
    for row in result["rows"]:
        assert row["found"] == {"50": 1.0, "100": 1.0}  # there are eight pages
        assert row["ndcg"] == {"50": 1.0, "100": 1.0}
        assert row["bytes"] > 0


def test_the_frontier_rises(collection, vectors) -> None:
    rows = rows_of(compression(collection.dataset, vectors, recipes(128, quick=True)))
    front = frontier(rows)
    assert [row.bytes for row in front] == sorted(row.bytes for row in front)
    for row in rows:
        assert any(better.bytes <= row.bytes and better.ndcg >= row.ndcg for better in front)
