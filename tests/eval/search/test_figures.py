"""Figures of engines, kernels and codes on real vectors, against what plain numpy says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from latefold.encoders.base import load_encoder
from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidInputError
from latefold.eval.corpora import document_texts
from latefold.eval.search import loops, pruning, quality, scans, whole
from latefold.eval.search.coding import encoded
from latefold.eval.search.engines import Latefold, Setting
from latefold.eval.search.kernels import DOCUMENT_TOKENS, QUERY_TOKENS, kernels
from latefold.eval.search.patches import patches
from latefold.eval.search.plan import CODECS, PRUNED, TWO_LEVELS, Plan, engine
from latefold.eval.search.token_ids import token_ids
from latefold.eval.truth import best, maxsim_scores


def test_the_machine_multiplies_as_told():
    ones = np.ones(64, np.uint8), np.full(64, 3, np.int8)
    assert loops._byte_products(*ones, 7) == 12 * 64 * 3 * 7
    assert loops.int8_peak(2, repetitions=1000) > 0
    assert loops.read_peak(1, size=1 << 16) > 0


def test_a_scan_with_blas_finds_what_exact_maxsim_finds(corpus):
    query = corpus.queries.take([5])
    expected = maxsim_scores(corpus.documents, query)[0]
    documents = corpus.documents.read()
    np.testing.assert_allclose(scans.Numpy(documents).scores(query.vectors), expected, rtol=1e-5)
    scan = scans.Scan(scans.Numpy.name)
    scan.open(corpus.documents, None, 1)
    assert scan.top(query, 10, Setting("exhaustive")).tolist() == best(expected[None], 10)[0].tolist()


@pytest.mark.parametrize("lengths", [[], [0], [3, 0, 5], [9000, 1, 8192]])
def test_blocks_of_a_scan_cover_all_documents(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    bounds = scans._bounds(offsets)
    assert [row for first, last in bounds for row in range(first, last)] == list(range(len(lengths)))


@pytest.mark.parametrize("name", ["torch bf16", "torch f32", "maxsim-cpu"])
def test_peers_score_or_say_why_not(corpus, name):
    documents = corpus.documents.head(50)
    try:
        scorer = scans.scorers(1)[name](documents.read())
    except InvalidInputError as error:
        assert "cannot be imported" in str(error)  # noqa: PT017 - either outcome is right, by what is installed
        return
    query = corpus.queries.take([0])
    tolerance = 0.01 if name.endswith("bf16") else 1e-4
    expected = maxsim_scores(documents, query)[0]
    np.testing.assert_allclose(scorer.scores(query.vectors), expected, rtol=tolerance)


def test_token_ids_are_those_of_the_vocabulary(place, corpus):
    texts = [*document_texts("tiny", place)[:100], "Sub-Zero's naïve NAIVE", ""]
    encoder = load_encoder(place.encoder)
    ids = token_ids(encoder, texts)
    true = [number for text in texts for number in encoder._tokenize(text).ids]
    assert len(ids) == len(true)
    assert len(token_ids(encoder, texts[:100])) == int(corpus.documents.offsets[100])
    pairs = {(a, b) for a, b in zip(ids.tolist(), true, strict=True)}
    assert len(pairs) == len(set(true)) == len(set(ids.tolist()))


class Oracle:
    """Answers with the exact ranking, but for the first `missed` documents of it."""

    name, brute = "oracle", False

    def __init__(self, corpus, missed):
        self._known = {corpus.queries.take([row]).vectors.tobytes(): truth for row, truth in enumerate(corpus.truth)}
        self._missed = missed

    def settings(self, _documents):
        return [Setting("all knowing")]

    def build(self, _corpus, folder):
        (folder / "wisdom").write_bytes(b"12345")

    def open(self, _documents, folder, _threads):
        assert (folder / "wisdom").is_file()

    def top(self, query, k, _setting):
        return self._known[query.vectors.tobytes()][self._missed : k]

    def code_bytes(self, _folder):
        return None

    def close(self):
        pass


def test_recall_and_bytes_are_those_of_the_engine(corpus, tmp_path):
    oracle = Oracle(corpus, missed=3)
    built = whole.build(oracle, corpus, tmp_path / "a")
    assert (built["bytes"], built["tokens"]) == (5, corpus.documents.tokens)
    (tmp_path / "a" / "wisdom").write_bytes(b"123456789")
    assert whole.build(oracle, corpus, tmp_path / "a") == built  # not built again
    missing = Latefold("lvq8"), tmp_path / "nothing"
    pairs = [(oracle, tmp_path / "a"), missing]
    result = whole.contest(pairs, corpus, threads=1, rounds=2, depths=(10, 100))
    assert result["left_out"] == {"latefold lvq8": "latefold lvq8 has built no index"}
    ten, hundred = result["answers"]
    assert (ten["recall"], hundred["recall"]) == (pytest.approx(0.7), pytest.approx(0.97))
    assert ten["queries"] == len(corpus.queries) == 40
    assert len(ten["blocks_ms"]) == 2
    assert whole.memory(oracle, corpus.documents, corpus.queries, tmp_path / "a")["peak"] > 1e7


def test_kernels_are_timed_or_left_out(corpus):
    result = kernels(corpus, ("lvq8", "unheard"), threads=1, rounds=1, documents=20, seconds=0.01)
    assert "unheard" in result["left_out"]
    speeds = {row["method"]: row for row in result["speeds"]}
    assert {"lvq8 score", scans.Numpy.name} <= set(speeds)
    own = speeds["lvq8 score"]
    assert own["bytes"] == 132
    assert own["products"] == pytest.approx(2 * QUERY_TOKENS * DOCUMENT_TOKENS * 128 * own["pairs"])
    json.dumps(result)


def test_codes_are_those_of_the_codec(corpus):
    coded = encoded("lvq8", corpus.documents, 64)
    assert coded.codes.shape == (corpus.documents.tokens, 68)
    vectors = corpus.documents.read().vectors[:50, :64]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(coded.codec.decode(coded.codes[:50]), vectors, atol=0.01)


def test_quality_is_judged_against_half_precision(corpus, place):
    names = ("fp16", "lvq8", "fp16+lvq8", "unheard", "unheard+lvq8")
    result = quality.measure(corpus, place.data / "tiny", names, 128)
    assert list(result["left_out"]) == ["unheard", "unheard+lvq8"]
    half, bytes_, both = result["rows"]
    assert (half["bytes"], bytes_["bytes"], both["bytes"]) == (256, 132, 388)
    assert half["agreement"] == 1
    assert bytes_["agreement"] == both["agreement"] > 0.95
    assert bytes_["ndcg"] == pytest.approx(half["ndcg"], abs=0.01)
    exact = quality.Judge(corpus, place.data / "tiny").ndcg(corpus.truth)
    assert half["ndcg"] == pytest.approx(exact, abs=0.005)


def test_pruning_leaves_the_best_as_they_are(corpus):
    for row in pruning.prune(corpus, "lvq8", 10)["rows"]:
        assert row["same"] == 1
        assert 0 <= row["documents"] < 1
        assert row["queries"] == 10


def test_patch_codes_and_pruned_tokens_are_judged(corpus, place):
    result = patches(corpus, place.data / "tiny", 128)
    rows = {row["name"]: row for row in result["rows"]}
    assert len(rows) == len(result["rows"])
    assert 0 < result["distinct"] <= 1
    assert rows["lvq8, 60% of tokens by distance"]["bytes"] == pytest.approx(0.6 * 132, rel=0.1)
    everything = f"Hamming distance of signs, lvq8 on the best {200}"
    assert rows[everything]["ndcg"] == pytest.approx(rows["lvq8"]["ndcg"], abs=0.2)


def test_plans_name_engines_and_codecs_that_there_are(place):
    plan = Plan(large_peers=True)
    for corpus in ("packages-2k", "packages-20k", "packages-50k", "tiny"):
        names = plan.engines(corpus)
        assert [engine(name, place).name for name in names] == names
        assert len(set(names)) == len(names)
    assert {part for name in TWO_LEVELS for part in name.split("+")} | set(PRUNED) <= set(CODECS)
    with pytest.raises(InvalidInputError, match="no engine"):
        engine("perpetual", place)


def test_segments_without_rows_lose(rng):
    products = rng.normal(size=(7, 3)).astype(np.float32)
    out = np.empty(3, np.float32)
    loops.sum_highest(products, np.array([0, 4, 4, 7]), out)
    np.testing.assert_allclose(out[[0, 2]], [products[:4].max(axis=0).sum(), products[4:].max(axis=0).sum()], rtol=1e-6)
    assert out[1] == -np.inf
    tokens = TokenEmbeddings(products, np.array([0, 4, 4, 7]))
    assert scans.Numpy(tokens).scores(products[:2])[1] == -np.inf
