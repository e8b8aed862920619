"""Fitting the single vectors, choosing their form, and replacing them in an index."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xxhash
from safetensors.numpy import load_file, save

from latefold import Document, Index, TokenEmbeddings
from latefold.encoders.errors import IndexCorruptedError, InvalidInputError
from latefold.index import graph as graphs
from latefold.index import single
from latefold.index.encodings.learned import LearnedConfig
from latefold.index.storage.catalog import transaction
from latefold.index.storage.commit import set_meta
from latefold.retrieval.config import IndexConfig

SMALL = LearnedConfig(width=128, learn_tokens=512)
CONFIG = IndexConfig(codec="lvq8", exact_below=0, learned=SMALL)
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
    assert stats.bytes["vectors"] == stats.segments * 64 + stats.documents * stats.bytes_per_vector
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
        assert "latefold calibrate --refit" in index.stats().calibration["warning"]


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


def test_an_index_that_grows_by_small_adds_keeps_its_recall(tmp_path):
    embeddings, queries = topical(1200, seed=1), topical(30, seed=2)
    with Index.create(tmp_path / "i", dim=24, config=replace(CONFIG, exact_below=500)) as index:
        for rows in np.array_split(np.arange(1200), 24):
            index.add([Document(f"d{i}", "x") for i in rows.tolist()], embeddings=embeddings.take(rows))
        assert 600 <= index.stats().fitted_documents < 1200
        exact, ann = found(index, queries, "exact"), found(index, queries, "ann")
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, ann, strict=True)]) > 0.9


def test_what_was_measured_of_vectors_goes_with_them(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with filled(tmp_path / "i", replace(CONFIG, exact_below=10**6)) as index:
        index.calibrate(target_recall=0.8)
        assert index.stats().calibration is not None
        monkeypatch.setattr("latefold.retrieval.changes._grow_graphs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.calibrate(refit=True)
        monkeypatch.undo()
        assert index.stats().calibration is None
        assert index.stats().single.startswith("learned")
        assert found(index, topical(3, seed=2), "ann")
        assert index.calibrate().target == 0.8


def test_another_target_is_a_reason_to_choose_again(tmp_path):
    with filled(tmp_path / "i", CONFIG) as index:
        options = index.calibrate(target_recall=0.5).options
        assert index.calibrate(target_recall=0.99).options != options


def test_fitting_waits_until_it_pays(tmp_path):
    with filled(tmp_path / "a", replace(CONFIG, exact_below=10**6)) as index:
        assert index.calibrate().single.startswith("fde")
    with filled(tmp_path / "b", replace(CONFIG, encoding="fde")) as index:
        assert index.calibrate().single.startswith("fde")
        assert index.stats().fitted_documents == 0
        with pytest.raises(InvalidInputError, match="fitted to nothing"):
            index.calibrate(refit=True)


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
        with pytest.raises(InvalidInputError, match="not one text"):
            index.calibrate(queries="abc")
        for target in (0.0, 1.5, True):
            with pytest.raises(InvalidInputError, match="target recall"):
                index.calibrate(target_recall=target)


def test_large_segments_get_a_graph_which_filters_deletes_and_merges_respect(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "GATHER", 0)  # segments this small would be scanned
    monkeypatch.setattr(single, "GRAPH_BEAM", 64)
    walks = []

    def counted(*arguments):
        walks.append(1)
        return beam_search(*arguments)

    beam_search = graphs.beam_search
    monkeypatch.setattr(graphs, "beam_search", counted)
    queries = topical(30, seed=2)
    with filled(tmp_path / "i", replace(CONFIG, graph_above=150)) as index:
        index.calibrate()
        assert index.stats().bytes["graph"] > 0
        walks.clear()
        exact, ann = found(index, queries, "exact"), found(index, queries, "ann")
        assert walks
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, ann, strict=True)]) > 0.9
        narrow = {"n": {"$gte": 100, "$lt": 112}}
        assert found(index, queries, "exact", filter=narrow) == found(index, queries, "ann", filter=narrow)
        gone = {name for hits in ann for name in hits}
        index.delete(gone)
        assert not gone & {name for hits in found(index, queries, "ann") for name in hits}
        index.verify()
        index.optimize()
        assert index.stats().bytes["graph"] > 0
        path = next((tmp_path / "i" / "segments").glob("*/graph.bin"))
        data = bytearray(path.read_bytes())
        data[64:72] = b"\x7f" * 8
        path.write_bytes(data)
    with pytest.raises(IndexCorruptedError, match="graph"):  # searches follow links without looking
        Index.open(tmp_path / "i")


MUTATIONS = {
    "dropped": lambda _: None,
    "shorter": lambda array: array[:-1],
    "empty": lambda array: array[:0],
    "flat": lambda array: array.reshape(-1),
    "doubles": lambda array: array.astype(np.float64),
    "not numbers": lambda array: np.full(array.shape, np.nan, np.float32),
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_parameters_that_do_not_fit_are_corruption_not_a_crash(fitted, tmp_path, mutation):
    """Whoever can write the catalog can make checksums agree; kernels must not be handed what does not fit."""
    with Index.open(fitted) as index:
        params = index._session.snapshot.params
    arrays = load_file(fitted / "params" / params["checksum"] / "params.safetensors")
    assert len(arrays) > 6
    refused = {}
    for name in arrays:
        copy = tmp_path / name
        shutil.copytree(fitted, copy)
        changed = mutation(arrays[name])
        wrong = {key: value for key, value in arrays.items() if key != name}
        data = save(wrong if changed is None else {**wrong, name: np.ascontiguousarray(changed)})
        checksum = xxhash.xxh3_128_hexdigest(data)
        home = copy / "params" / checksum
        home.mkdir(exist_ok=True)
        (home / "params.safetensors").write_bytes(data)
        with transaction(copy) as connection:
            set_meta(connection, {"params": {**params, "checksum": checksum, "size": len(data)}})
        try:
            with Index.open(copy) as index:
                index.search(embeddings=topical(2, seed=4), k=5, mode="ann")
        except IndexCorruptedError as error:
            refused[name] = str(error)
        shutil.rmtree(copy)
    assert refused
    assert all("params" in message for message in refused.values())
    if mutation is MUTATIONS["dropped"]:
        assert refused.keys() == arrays.keys()
