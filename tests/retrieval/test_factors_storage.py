"""Item factors beside the other files of an index: a row for every document, whatever happens to the index."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factored import DEAD, NAMES, filled, store, store_random
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tripwire import Interrupted, Tripwire, fail, interrupt
from workload import (
    CONFIG,
    DIM,
    Operation,
    contents,
    create,
    drop_factors,
    embeddings,
    item_factors,
    rows_of,
    stored_rows,
    stray_folders,
)

from latefold import Index
from latefold.encoders.errors import StorageError
from latefold.index.encodings.fde import FDE


def folders(index: Index) -> int:
    return len(list((index.path / "params").iterdir()))


def test_rows_are_read_as_they_were_stored(ram_path):
    with filled(ram_path / "i") as index:
        rows = store_random(index, 1)
        assert set(rows) == set(NAMES) - set(DEAD)
        assert stored_rows(index) == rows
        index.verify()
    with Index.open(ram_path / "i") as index:
        assert stored_rows(index) == rows
        made = index._session.snapshot.factors
        assert made.spec() == item_factors(1).spec()
        assert made.anchors.tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["lvq8", "fp16", "lvq4+lvq8", "pq16", "pq16+fp16"])
def test_living_rows_stay_byte_for_byte(ram_path, name):
    """Whatever is done to the vectors and tokens beside them."""
    with filled(ram_path / "i", replace(CONFIG, codec=name, graph_above=5)) as index:
        rows = store_random(index, 1)
        index.calibrate(refit=True)
        assert index.stats().codec == name
        assert stored_rows(index) == rows
        Operation("upsert", (("d4", 2), ("new", 1))).apply(index)
        index.delete(["d5"])
        gone = {"d4", "d5"}
        assert {key: row for key, row in stored_rows(index).items() if key not in {"d4", "new"}} == {
            key: row for key, row in rows.items() if key not in gone
        }
        index.optimize()
        assert index.stats().segments == 1
        assert index.stats().bytes["graph"] > 0
        found = stored_rows(index)
        assert all(found[key] == row for key, row in rows.items() if key not in gone)
        assert stray_folders(index) == set()
        index.verify()


@pytest.mark.parametrize("name", ["lvq8", "fp16", "lvq4+lvq8", "pq16", "pq16+fp16"])
@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_later_documents_are_folded_from_their_stored_tokens(ram_path, name, keep):
    factors = item_factors(1)
    config = replace(CONFIG, codec=name, keep=keep, saliency="norm")
    with filled(ram_path / "i", config) as index:
        store_random(index, 1)
        for later, work in (("x", None), ("y", index.optimize), ("z", lambda: index.calibrate(refit=True))):
            if work is not None:
                work()
            items = [(f"{later}{i}", 1) for i in range(3)]
            Operation("add", tuple(items)).apply(index)
            snapshot = index._session.snapshot
            segment, fitted = snapshot.segments[-1], snapshot.fitted
            assert len(segment) == 3
            if fitted.finest.name in ("lvq8", "fp16"):
                wanted = factors.encode_stored(fitted.finest, segment.finest, segment.offsets)
            else:  # small codes are no measure of a document: the row is made of what it was before
                assert name == "pq16"
                wanted = rows_of(factors, kept(embeddings(items), segment))
            np.testing.assert_array_equal(segment.factors, wanted)
        index.verify()


def kept(tokens, segment):
    """The token vectors that a segment holds of its documents."""
    if segment.places is None:
        return tokens
    chosen = np.repeat(tokens.offsets[:-1], np.diff(segment.offsets)) + segment.places
    return type(tokens)(tokens.vectors[chosen], segment.offsets)


operations = st.lists(
    st.tuples(
        st.sampled_from(["add", "upsert", "delete", "optimize", "refit", "factorize", "drop"]), st.integers(1, 4)
    ),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(steps=operations)
def test_any_history_leaves_each_document_the_row_it_would_be_given_now(factored_base, ram_path, steps):
    """`contents` compares the rows."""
    path = ram_path / "history"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(factored_base, path)
    with Index.open(path) as index:
        model, fresh = contents(index), 100
        for kind, count in steps:
            known = sorted(model)[:: max(1, len(model) // count)][:count]
            if kind == "add":
                items = tuple((f"d{fresh + i}", 1) for i in range(count))
                fresh += count
            else:
                items = tuple((name, model[name] + 1) for name in known) if kind in ("upsert", "delete") else ()
            if kind in ("upsert", "delete") and not items:
                continue
            operation = Operation(kind, items)
            operation.apply(index)
            model = operation.after(model)
            assert contents(index) == model
        assert stray_folders(index) == set()
        index.verify()
    with Index.open(path) as index:
        assert contents(index) == model


def test_others_take_the_place_of_the_first(ram_path):
    with filled(ram_path / "i") as index:
        store_random(index, 1)
        rows = store_random(index, 2, columns=12)
        assert stored_rows(index) == rows
        assert index._session.snapshot.factors.width == 16
        assert folders(index) == 2
        generation = index.generation
        assert store_random(index, 2, columns=12) == stored_rows(index)
        assert index.generation == generation + 1
        assert folders(index) == 2
        assert stray_folders(index) == set()
        index.verify()


def test_dropped_factors_leave_the_index_as_it_was_without(ram_path):
    queries = embeddings([("d4", 1), ("nowhere", 1)])
    with filled(ram_path / "i") as index:
        before, answers = index.stats().bytes, index.search(embeddings=queries, k=20)
        store_random(index, 1)
        assert index.search(embeddings=queries, k=20) == answers
        generation = index.generation
        drop_factors(index)
        assert index.generation == generation + 1
        assert index._session.snapshot.factors is None
        assert stored_rows(index) == {}
        assert index.stats().factors is None
        assert {**index.stats().bytes, "catalog": 0, "total": 0} == {**before, "catalog": 0, "total": 0}
        assert folders(index) == 1
        assert stray_folders(index) == set()
        drop_factors(index)
        assert index.generation == generation + 1
        assert index.search(embeddings=queries, k=20) == answers
        Operation("add", (("new", 1),)).apply(index)
        assert stored_rows(index) == {}
        index.verify()
    with Index.open(ram_path / "i") as index:
        assert stored_rows(index) == {}


def test_factors_outlive_all_documents(factored):
    with Index.open(factored) as index:
        index.delete(index.ids())
        assert index._session.snapshot.factors is not None
        with pytest.raises(ValueError, match="add documents first"):
            store(index, item_factors(2), np.empty((30, 9), np.uint8))
        index.optimize()
        assert index.stats().segments == 0
        Operation("add", (("new", 1),)).apply(index)
        assert contents(index) == {"new": 1}
        assert len(stored_rows(index)) == 1
        index.delete(["new"])
        index.optimize()
        drop_factors(index)
        assert index._session.snapshot.factors is None
        assert stray_folders(index) == set()


def test_what_does_not_fit_is_refused_before_anything_is_written(ram_path):
    good = item_factors(1)
    rows = np.zeros((30, good.width), np.uint8)
    other_tokens = replace(good, single=replace(good.single, encoding=FDE(CONFIG.fde, DIM + 1)))
    with create(ram_path / "empty") as index, pytest.raises(ValueError, match="add documents first"):
        store(index, good, rows[:0])
    with filled(ram_path / "i") as index:
        generation = index.generation
        for factors, given in (
            (good, rows[:-1]),
            (good, rows[:, :-1]),
            (good, rows.astype(np.int64)),
            (other_tokens, rows),
        ):
            with pytest.raises(ValueError, match=r"rows of factors|9 dimensions"):
                store(index, factors, given)
            assert index.generation == generation
            assert stray_folders(index) == set()
        assert stored_rows(index) == {}
        index.verify()


CHANGES = {"replace": lambda index: store_random(index, 2, columns=12), "drop": drop_factors}


def changed(factored_base: Path, path: Path, change: str, tripwire: Tripwire) -> int:
    """Make a change of a copy, which the tripwire may stop; how many generations it took."""
    shutil.copytree(factored_base, path)
    with pytest.MonkeyPatch.context() as patch, Index.open(path) as index:
        old, generation = stored_rows(index), index.generation
        tripwire.install(patch.setattr)
        with suppress(Interrupted, StorageError):
            CHANGES[change](index)
        patch.undo()
        index.refresh()
        new, made = stored_rows(index), index.generation - generation
        if made:
            assert {len(row) for row in new.values()} == ({16} if change == "replace" else set())
        else:
            assert new == old
        index.verify()
        with index._session.writing():
            pass
        assert stray_folders(index) == set()
    with Index.open(path) as index:
        assert stored_rows(index) == new
    shutil.rmtree(path)
    return made


@pytest.mark.parametrize("action", [interrupt, fail])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_fails_anywhere_is_made_whole_or_not_at_all(factored_base, ram_path, change, action):
    """Rows and what they mean are of one commit, and nothing else is left on the disk."""
    whole = Tripwire()
    assert changed(factored_base, ram_path / "i", change, whole) == 1
    outcomes = {
        changed(factored_base, ram_path / "i", change, Tripwire(at, action))
        for at, name in enumerate(whole.passed)
        if action is interrupt or name.startswith("before")
    }
    assert outcomes == {0, 1}


def test_a_reader_keeps_its_rows_until_it_looks_again(factored):
    with Index.open(factored) as index, Index.open(factored) as reader:
        old = stored_rows(reader)
        rows = store_random(index, 2, columns=12)
        assert stored_rows(reader) == old
        assert reader.refresh()
        assert stored_rows(reader) == rows
        made = reader._session.snapshot.factors
        Operation("add", (("new", 1),)).apply(index)
        assert reader.refresh()
        assert reader._session.snapshot.factors is made  # not read again
        drop_factors(index)
        assert reader.refresh()
        assert stored_rows(reader) == {}


def test_sizes_and_facts(factored):
    with Index.open(factored) as index:
        stats, checked = index.stats(), index.verify()
        files = list(factored.glob("segments/*/factors.bin"))
        assert len(files) == stats.segments == 3
        assert stats.bytes["factors"] == 3 * 64 + len(NAMES) * 9 == sum(path.stat().st_size for path in files)
        assert stats.bytes["params"] == sum(path.stat().st_size for path in factored.glob("params/*/*.safetensors"))
        assert stats.bytes["total"] == sum(size for part, size in stats.bytes.items() if part != "total")
        assert stats.factors == {"seed": 1, "scorer": "table", "bytes_per_document": 9}
        assert stats.to_dict()["factors"] == stats.factors
        stored = list(factored.glob("segments/*/*.bin"))
        assert checked.files == len(stored) + 2 + 1
        drop_factors(index)
        assert index.verify().files == checked.files - 3 - 1
        assert index.stats().bytes["factors"] == 0
