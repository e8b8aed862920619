"""Fitting the single vectors, choosing their form, and replacing them in an index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latefold import Document, Index, TokenEmbeddings
from latefold.encoders.errors import IndexCorruptedError, InvalidInputError
from latefold.index.encodings.learned import LearnedConfig
from latefold.retrieval.config import IndexConfig

SMALL = LearnedConfig(width=128, learn_tokens=512)
CONFIG = IndexConfig(exact_below=0, learned=SMALL)
COUNT = 600


def topical(count: int, seed: int, *, dim: int = 24, topics: int = 40, spread: float = 0.5) -> TokenEmbeddings:
    """Documents of one main topic each, with vectors of others strewn in, all with a mean that they share."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((topics, dim)).astype(np.float32) + np.float32(0.5)
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(count):
        length = int(rng.integers(6, 20))
        main, others = int(rng.integers(topics)), rng.integers(topics, size=length)
        chosen = np.where(rng.random(length) < 0.6, main, others)
        vectors = centres[chosen] + np.float32(spread) * rng.standard_normal((length, dim)).astype(np.float32)
        items.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return TokenEmbeddings.from_list(items)


def filled(path: Path, config: IndexConfig, count: int = COUNT, *, batches: int = 3, spread: float = 0.5) -> Index:
    embeddings = topical(count, seed=1, spread=spread)
    index = Index.create(path, dim=embeddings.dim, config=config)
    for rows in np.array_split(np.arange(count), batches):
        index.add(
            [Document(f"d{i}", f"text {i}", metadata={"n": i}) for i in rows.tolist()], embeddings=embeddings.take(rows)
        )
    return index


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that has been fitted; tests only read it."""
    path = tmp_path_factory.mktemp("tune") / "i"
    with filled(path, replace(CONFIG, exact_below=10**6)) as index:
        index.delete([f"d{i}" for i in range(0, 60, 3)])
        index.calibrate(refit=True)
    return path


def found(index: Index, queries: TokenEmbeddings, mode: str, **options: object) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in index.search(embeddings=queries, k=10, mode=mode, **options)]


def test_the_choice_is_measured_kept_and_reported(fitted):
    with Index.open(fitted) as index:
        stats = index.stats()
    measured = stats.calibration
    assert measured["single"] == stats.single
    assert stats.single.startswith("learned 152 > ")
    assert measured["bytes"] == stats.bytes_per_vector < 400
    assert stats.bytes["vectors"] == stats.segments * 64 + COUNT * stats.bytes_per_vector
    assert stats.fitted_documents == stats.documents == COUNT - 20
    assert measured["recall"] >= measured["target"] == 0.95
    assert [count for count, _ in measured["curve"]] == [10, 20, 50, 100, 200, 500]
    for curve in (measured["curve"], measured["curve_100"]):
        recalls = [recall for _, recall in curve]
        assert recalls == sorted(recalls)
        assert 0 < recalls[0] <= recalls[-1] <= 1
    names = [option["single"] for option in measured["options"]]
    assert stats.single in names
    assert any(name.startswith("fde") for name in names)
    assert measured["drift"] is None
    assert measured["warning"] is None


def test_the_estimate_of_the_winner_is_near_what_is_measured(fitted):
    with Index.open(fitted) as index:
        measured = index.stats().calibration
    (winner,) = [option for option in measured["options"] if option["single"] == measured["single"]]
    for (count, estimated), (same, recall) in zip(winner["curve"], measured["curve"], strict=True):
        assert count == same
        assert estimated == pytest.approx(recall, abs=0.03)


def test_candidates_find_the_exact_answers(fitted):
    queries = topical(40, seed=2)
    with Index.open(fitted) as index:
        exact, ann = found(index, queries, "exact"), found(index, queries, "ann")
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, ann, strict=True)]) > 0.9
        narrow = {"n": {"$gte": 100, "$lt": 112}}
        assert found(index, queries, "exact", filter=narrow) == found(index, queries, "ann", filter=narrow)


def test_a_refit_leaves_documents_and_exact_scores_as_they_were(tmp_path):
    queries = topical(10, seed=3)
    with filled(tmp_path / "i", CONFIG) as index:
        before = index.search(embeddings=queries, k=20, mode="exact")
        segments = index.stats().segments
        index.calibrate(refit=True)
        first = index.stats()
        assert index.search(embeddings=queries, k=20, mode="exact") == before
        index.calibrate(refit=True)
        assert index.stats().bytes == first.bytes | {"catalog": index.stats().bytes["catalog"]} | {
            "total": index.stats().bytes["total"]
        }
        assert first.segments == segments
        index.verify()
        assert index.search(embeddings=queries, k=20, mode="exact") == before
        assert len(list((tmp_path / "i" / "segments").iterdir())) == segments
        assert len(list((tmp_path / "i" / "params").iterdir())) == 1
        index.optimize()
        assert index.search(embeddings=queries, k=20, mode="exact") == before


def test_documents_added_after_a_fit_are_folded_by_it(tmp_path):
    later = topical(50, seed=9)
    with filled(tmp_path / "i", CONFIG) as index:
        index.calibrate()
        index.add([Document(f"n{i}", "new") for i in range(50)], embeddings=later)
        single = index.stats().single
        hits = index.search(embeddings=later, k=1, mode="ann")
        assert np.mean([hit[0].id == f"n{i}" for i, hit in enumerate(hits)]) > 0.9
        measured = index.calibrate(refit=False)
        assert measured.drift == pytest.approx(1.0, abs=0.3)
        assert index.stats().single == single
    with Index.open(tmp_path / "i") as index:
        assert index.search(embeddings=later, k=1, mode="ann") == hits


def test_a_shifted_collection_is_reported_as_drift(tmp_path):
    rng = np.random.default_rng(3)
    strange = rng.standard_normal((2000, 24)).astype(np.float32) * np.float32(2)
    with filled(tmp_path / "i", CONFIG, spread=0.1) as index:
        index.calibrate()
        offsets = np.arange(0, 2001, 10)
        index.add([Document(f"s{i}", "x") for i in range(200)], embeddings=TokenEmbeddings(strange, offsets))
        assert index.calibrate(refit=False).drift > 1.5
        assert "refit" in index.stats().calibration["warning"]


def test_an_index_that_outgrows_the_exact_scan_is_fitted_by_the_way(tmp_path):
    embeddings = topical(120, seed=1)
    documents = [Document(f"d{i}", "x") for i in range(120)]
    with Index.create(tmp_path / "i", dim=24, config=replace(CONFIG, exact_below=1000)) as index:
        index.add(documents[:60], embeddings=embeddings.take(np.arange(60)))
        assert index.stats().fitted_documents == 0
        assert index.stats().calibration is None
        index.upsert(documents, embeddings=embeddings)
        assert index.stats().fitted_documents == 120
        measured = index.stats().calibration
        index.add([Document("more", "x")], embeddings=embeddings.take([5]))
        assert index.stats().calibration == measured


def test_fitting_waits_until_it_pays(tmp_path):
    with filled(tmp_path / "a", replace(CONFIG, exact_below=10**6)) as index:
        assert index.calibrate().single.startswith("fde")
    with filled(tmp_path / "b", replace(CONFIG, encoding="fde")) as index:
        assert index.calibrate().single.startswith("fde")
        assert index.stats().fitted_documents == 0


@pytest.mark.parametrize(("dims", "bits"), [(32, 4), (24, 8), (1000, 4)])
def test_a_pinned_form_is_kept(tmp_path, dims, bits):
    config = replace(CONFIG, encoding="learned", dims=dims, bits=bits)
    with filled(tmp_path / "i", config, 200) as index:
        assert index.calibrate().single == f"learned 152 > {min(dims, 152)} x {bits} bit"
        assert index.stats().bytes_per_vector == min(dims, 152) * bits // 8 + 4


def test_a_target_out_of_reach_is_said_to_be(tmp_path):
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((6000, 24)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    with Index.create(tmp_path / "i", dim=24, config=replace(CONFIG, encoding="learned", dims=4, bits=4)) as index:
        index.add(
            [Document(f"d{i}", "x") for i in range(300)], embeddings=TokenEmbeddings(noise, np.arange(0, 6001, 20))
        )
        measured = index.calibrate(target_recall=1.0)
        assert measured.recall < 1
        assert "short of the target" in measured.warning
        assert index.calibrate().target == 1.0


def test_real_queries_are_split_between_fitting_and_judging(tmp_path):
    with filled(tmp_path / "i", CONFIG) as index:
        measured = index.calibrate(queries=topical(60, seed=8), refit=True)
        assert measured.real
        assert measured.queries == 30
        with pytest.raises(InvalidInputError, match="at least two"):
            index.calibrate(queries=topical(1, seed=8))
        for target in (0.0, 1.5, True):
            with pytest.raises(InvalidInputError, match="target recall"):
                index.calibrate(target_recall=target)


def test_large_segments_get_a_graph_which_filters_deletes_and_merges_respect(tmp_path):
    pytest.importorskip("faiss", reason="faiss builds the graphs")
    queries = topical(30, seed=2)
    with filled(tmp_path / "i", replace(CONFIG, graph_above=150)) as index:
        index.calibrate()
        assert index.stats().bytes["graph"] > 0
        exact, ann = found(index, queries, "exact"), found(index, queries, "ann")
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, ann, strict=True)]) > 0.9
        narrow = {"n": {"$gte": 100, "$lt": 112}}
        assert found(index, queries, "exact", filter=narrow) == found(index, queries, "ann", filter=narrow)
        gone = {name for hits in ann for name in hits}
        index.delete(gone)
        assert not gone & {name for hits in found(index, queries, "ann") for name in hits}
        index.verify()
        index.optimize()
        assert index.stats().bytes["graph"] == 0  # of the segments that were merged
        index.calibrate()
        assert index.stats().bytes["graph"] > 0
        path = next((tmp_path / "i" / "segments").glob("*/graph.bin"))
        data = bytearray(path.read_bytes())
        data[64:72] = b"\x7f" * 8
        path.write_bytes(data)
    with pytest.raises(IndexCorruptedError, match="graph"):  # searches follow links without looking
        Index.open(tmp_path / "i")
