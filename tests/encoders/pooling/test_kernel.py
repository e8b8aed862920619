"""The compiled clustering against plain numpy, and what must hold of clusters whatever the vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold import TokenEmbeddings
from latefold.encoders.base import load_encoder
from latefold.encoders.pooling.base import Pooling, pool

TIE = 1e-12


def reference(x: np.ndarray, pooling: Pooling, w: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pooled vectors and assignments of one text, as the documentation of the kernel says them."""
    count, k = len(x), pooling.kept(len(x))
    if k == count:
        return x, np.arange(count)
    x = x.astype(np.float64)
    w = np.ones(count) if w is None or not w.max() else np.maximum(w / w.max(), 1e-6).astype(np.float64)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    labels = wards_clusters(unit, w, k)
    for _ in range(pooling.iterations):
        moved = nearest_centre(unit, np.array([direction(unit[labels == c], w[labels == c]) for c in range(k)]))
        if (moved == labels).all():
            break
        labels = moved
    places = np.unique(labels, return_index=True)[1].argsort().argsort()[labels]
    means = np.array([np.average(x[places == c], axis=0, weights=w[places == c]) for c in range(k)])
    if pooling.renormalize:
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return means, places


def wards_clusters(unit: np.ndarray, w: np.ndarray, k: int) -> np.ndarray:
    """Labels by merging, again and again, the two clusters whose merger raises the weighted sum of squares least."""
    clusters, means, total = [[i] for i in range(len(unit))], unit.copy(), w.copy()
    every = np.arange(len(unit))
    rise = np.full((len(unit), len(unit)), np.inf)

    def merge_costs(a: int) -> np.ndarray:
        return np.square(means - means[a]).sum(axis=1) * total * total[a] / (total + total[a])

    for a in every:
        rise[a, a + 1 :] = merge_costs(a)[a + 1 :]
    for _ in range(len(unit) - k):
        partners = (rise + TIE * every).argmin(axis=1)
        a = int((rise[every, partners] + TIE * every).argmin())
        b = int(partners[a])
        means[a] = (total[a] * means[a] + total[b] * means[b]) / (total[a] + total[b])
        total[a] += total[b]
        clusters[a] += clusters[b]
        clusters[b] = []
        rise[b], rise[:, b] = np.inf, np.inf
        costs = merge_costs(a)
        alive = np.array([bool(members) for members in clusters])
        rise[a, (every > a) & alive] = costs[(every > a) & alive]
        rise[(every < a) & alive, a] = costs[(every < a) & alive]
    labels = np.empty(len(unit), int)
    for place, members in enumerate(filter(None, clusters)):
        labels[members] = place
    return labels


def direction(unit: np.ndarray, w: np.ndarray) -> np.ndarray:
    mean = np.average(unit, axis=0, weights=w)
    return mean / max(np.linalg.norm(mean), 1e-3)


def nearest_centre(unit: np.ndarray, centres: np.ndarray) -> np.ndarray:
    similarity = unit @ centres.T
    labels = (similarity - TIE * np.arange(len(centres))).argmax(axis=1)
    own = similarity.max(axis=1) + TIE * np.arange(len(unit))
    for c in range(len(centres)):
        if (labels == c).any():
            continue
        movable = np.bincount(labels, minlength=len(centres))[labels] > 1
        token = int(np.where(movable, own, np.inf).argmin())
        labels[token], own[token] = c, np.inf
    return labels


@st.composite
def texts(draw: st.DrawFn) -> TokenEmbeddings:
    """Ragged vectors: random directions, or small whole numbers, where equal, opposite and zero vectors abound."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0, 30), min_size=1, max_size=4))
    shape = sum(lengths), draw(st.integers(1, 9))
    if draw(st.booleans()):
        vectors = rng.standard_normal(shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    else:
        vectors = rng.integers(-1, 2, shape)
    return TokenEmbeddings(vectors.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]))


NAMES = st.sampled_from(["c1", "c2", "c5", "c8", "c25%", "c50%", "c90%", "c4:iterations=0"])


def unit_texts(count: int = 12, *, dim: int = 24, seed: int = 0) -> TokenEmbeddings:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count * 40, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenEmbeddings(vectors, np.arange(count + 1) * 40)


@given(texts(), NAMES, st.booleans(), st.sampled_from([None, "random", "some zero"]))
@settings(max_examples=200)
def test_clusters_are_those_of_plain_numpy(embeddings, name, raw, weighting) -> None:
    pooling = Pooling.parse(name.replace(":", ":raw:", 1) if raw and ":" in name else name + ":raw" * raw)
    weights = None
    if weighting:
        rng = np.random.default_rng(len(embeddings.vectors))
        weights = rng.random(len(embeddings.vectors)).astype(np.float32)
        weights[rng.random(len(weights)) < (0.5 if weighting == "some zero" else 0)] = 0
    pooled, places = pool(embeddings, pooling, weights)
    for i, x in enumerate(embeddings):
        of_text = slice(embeddings.offsets[i], embeddings.offsets[i + 1])
        wanted, wanted_places = reference(x, pooling, None if weights is None else weights[of_text])
        np.testing.assert_array_equal(places[of_text], wanted_places)
        np.testing.assert_allclose(pooled[i], wanted, atol=1e-5)


@given(texts(), NAMES)
def test_every_token_is_in_a_cluster_and_every_cluster_has_a_token(embeddings, name) -> None:
    pooled, places = pool(embeddings, Pooling.parse(name))
    for i, x in enumerate(embeddings):
        own = places[embeddings.offsets[i] : embeddings.offsets[i + 1]]
        assert len(pooled[i]) == Pooling.parse(name).kept(len(x))
        first = np.unique(own, return_index=True)
        assert first[0].tolist() == list(range(len(pooled[i])))
        assert (np.diff(first[1]) > 0).all(), "clusters come in the order of their first tokens"


@given(texts(), NAMES)
def test_raw_means_lie_in_the_unit_ball_and_never_raise_maxsim(embeddings, name) -> None:
    lengths = np.linalg.norm(embeddings.vectors, axis=1, keepdims=True)
    unit = TokenEmbeddings(embeddings.vectors / np.maximum(lengths, 1), embeddings.offsets)
    pooling = Pooling.parse(name)
    pooled, _ = pool(unit, Pooling(pooling.kind, pooling.size, renormalize=False))
    assert (np.linalg.norm(pooled.vectors, axis=1) <= 1 + 1e-6).all()
    query = np.random.default_rng(0).standard_normal((5, unit.dim))
    for whole, short in zip(unit, pooled, strict=True):
        if len(whole):
            assert ((query @ short.T).max(axis=1) <= (query @ whole.T).max(axis=1) + 1e-5).all()


@given(texts(), NAMES, st.randoms(use_true_random=False))
def test_a_text_is_pooled_alike_in_any_company(embeddings, name, random) -> None:
    pooling = Pooling.parse(name)
    pooled, _ = pool(embeddings, pooling)
    rows = list(range(len(embeddings))) * 2
    random.shuffle(rows)
    again, _ = pool(embeddings.take(rows), pooling)
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(again[place], pooled[row])


@pytest.mark.parametrize("name", ["c4", "c33%", "c50%", "c8"])
def test_the_order_of_tokens_does_not_matter(name: str, rng: np.random.Generator) -> None:
    embeddings = unit_texts()
    _, places = pool(embeddings, Pooling.parse(name))
    for i, x in enumerate(embeddings):
        order = rng.permutation(len(x))
        _, shuffled = pool(TokenEmbeddings.from_list([x[order]]), Pooling.parse(name))
        own = places[embeddings.offsets[i] : embeddings.offsets[i + 1]]
        together = own[order][:, None] == own[order]
        np.testing.assert_array_equal(shuffled[:, None] == shuffled, together)


def cohesion(embeddings: TokenEmbeddings, pooling: Pooling) -> float:
    """Sum of the cosines between each token and its pooled vector: what spherical k-means raises."""
    pooled, places = pool(embeddings, pooling)
    rows = places + np.repeat(pooled.offsets[:-1], embeddings.lengths)
    return float((embeddings.vectors * pooled.vectors[rows]).sum())


def test_each_step_brings_tokens_nearer_to_their_means() -> None:
    embeddings = unit_texts()
    found = [cohesion(embeddings, Pooling("fixed", 6, iterations=steps)) for steps in range(8)]
    assert (np.diff(found) >= -1e-3).all()
    assert found[-1] > found[0] + 1


def test_vectors_around_a_few_directions_are_told_apart(rng: np.random.Generator) -> None:
    centres = np.eye(16, dtype=np.float32)[:5]
    topic = rng.permutation(np.repeat(np.arange(5), 9))
    x = centres[topic] + 0.1 * rng.standard_normal((45, 16)).astype(np.float32)
    pooled, places = pool(TokenEmbeddings.from_list([x]), Pooling.parse("c5"))
    np.testing.assert_array_equal(places[:, None] == places, topic[:, None] == topic)
    assert (np.abs(pooled[0] @ centres.T).max(axis=1) > 0.98).all()


def test_a_token_without_weight_does_not_move_its_mean() -> None:
    x = np.float32([[1, 0], [0.8, 0.6], [0, 1]])
    pooled, places = pool(TokenEmbeddings.from_list([x]), Pooling("fixed", 1), np.float32([2, 0, 2]))
    np.testing.assert_allclose(pooled.vectors, [[0.5**0.5, 0.5**0.5]], atol=1e-5)
    assert places.tolist() == [0, 0, 0]


def test_vectors_may_be_mapped_read_only(tmp_path: Path) -> None:
    embeddings = unit_texts(2)
    np.save(tmp_path / "v.npy", embeddings.vectors)
    mapped = TokenEmbeddings(np.load(tmp_path / "v.npy", mmap_mode="r"), embeddings.offsets)
    np.testing.assert_array_equal(
        pool(mapped, Pooling.parse("c8"))[0].vectors, pool(embeddings, Pooling.parse("c8"))[0].vectors
    )


@pytest.mark.parametrize("name", ["c8", "c32:raw", "c33%", "c50%"])
def test_the_tokens_of_real_text_are_clustered_as_in_plain_numpy(name: str) -> None:
    text = (Path(__file__).parents[3] / "ARCHITECTURE.md").read_text("utf-8")
    embeddings = load_encoder("minilm", threads=1).encode_documents(text.split("\n\n")[:16])
    pooled, places = pool(embeddings, Pooling.parse(name))
    for i, x in enumerate(embeddings):
        wanted, wanted_places = reference(x, Pooling.parse(name))
        np.testing.assert_array_equal(places[embeddings.offsets[i] : embeddings.offsets[i + 1]], wanted_places)
        np.testing.assert_allclose(pooled[i], wanted, atol=1e-5)
