"""Readers and one writer, in threads and in processes: every answer is of one generation, and none disturbs another."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from canaries import CANARIES, canaries, canary_queries, check_answer
from workload import Operation, contents, create, document, embeddings, operations
from zygote import Zygote

from latefold import Index
from latefold.encoders.errors import IndexLockedError, InvalidInputError
from latefold.retrieval.snapshot import Snapshot, open_snapshot

WRITES = 30


def write(index: Index, seed: int) -> None:
    """Canaries between random operations; merges happen on the way."""
    mix = operations(seed, {})
    for version in range(2, WRITES):
        canaries(version).apply(index)
        next(mix).apply(index)


def search_until(done: threading.Event, index: Index) -> int:
    count, version = 0, 1
    while not done.is_set() or count == 0:
        version = check_answer(index, version)
        count += 1
    return count


def look_until(done: threading.Event, index: Index) -> int:
    """The other reading methods, each of which must see one generation as well."""
    count = 0
    while not done.is_set() or count == 0:
        assert index.get("left").metadata["version"] >= 1
        assert index.explain(None, "right", embeddings=canary_queries(1).take([1])).id == "right"
        assert index.stats().documents >= 2
        assert set(CANARIES) <= set(index.ids())
        assert index.verify().documents >= 2
        index.refresh()
        count += 1
    return count


def test_four_readers_and_a_writer_share_an_index(ram_path: Path) -> None:
    done = threading.Event()
    with create(ram_path / "index") as index, ThreadPoolExecutor(5) as pool:
        canaries(1).apply(index)
        readers: list[Callable[[threading.Event, Index], int]] = [search_until, search_until, search_until, look_until]
        running = [pool.submit(reader, done, index) for reader in readers]
        try:
            write(index, seed=1)
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in running)
        assert check_answer(index, WRITES - 1) == WRITES - 1
        index.verify()


def test_threads_that_write_to_one_index_take_turns(ram_path: Path) -> None:
    def add(name: str) -> None:
        for i in range(8):
            Operation("add", ((f"{name}{i}", 1),)).apply(index)

    with create(ram_path / "index") as index, ThreadPoolExecutor(3) as pool:
        list(pool.map(add, "abc"))
        assert contents(index) == {f"{name}{i}": 1 for name in "abc" for i in range(8)}
        index.verify()


def test_a_refresh_never_moves_an_index_back(ram_path: Path) -> None:
    seen = []
    done = threading.Event()

    def refresh() -> None:
        while not done.is_set():
            index.refresh()
            seen.append(index.generation)

    with create(ram_path / "index") as index, ThreadPoolExecutor(2) as pool:
        running = [pool.submit(refresh), pool.submit(refresh)]
        try:
            for i in range(30):
                Operation("add", ((f"d{i}", 1),)).apply(index)
                assert index.generation == index.stats().generation
                assert len(index) == i + 1
        finally:
            done.set()
        for thread in running:
            thread.result()
        assert len(seen) > 1


def test_a_slow_refresh_does_not_undo_a_newer_one(ram_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that went on from the older view would lose what the newer commit did."""
    opened = threading.Event()

    def open_slowly(path: Path, previous: Snapshot | None) -> Snapshot:
        snapshot = open_snapshot(path, previous)
        if threading.current_thread() is slow:
            opened.set()
            time.sleep(0.3)
        return snapshot

    with create(ram_path / "index") as index, Index.open(ram_path / "index") as other:
        Operation("add", (("d1", 1),)).apply(other)
        slow = threading.Thread(target=index.refresh)
        monkeypatch.setattr("latefold.retrieval.session.open_snapshot", open_slowly)
        slow.start()
        assert opened.wait(10)
        Operation("add", (("d2", 1),)).apply(index)
        slow.join()
        assert index.generation == 2
        assert contents(index) == {"d1": 1, "d2": 1}


def test_a_reader_in_another_process_follows_the_writer(zygote: Zygote, ram_path: Path) -> None:
    path, stop = ram_path / "index", ram_path / "stop"
    with create(path) as index:
        canaries(1).apply(index)
        child = zygote.start("follow_canaries", path=path, stop=stop)
        reports = child.reports()
        assert next(reports) == {"following": 1}
        write(index, seed=2)
        index.optimize()
        last = index.generation
        stop.write_text(str(last))
        (report,) = list(reports)
        assert child.status == 0
        assert report["generation"] == last
        assert report["answers"] > 0
        assert report["generations"] > 1


def test_a_pinned_reader_in_another_process_is_left_alone(zygote: Zygote, ram_path: Path) -> None:
    """Segments that its generation needs are deleted, the catalog is rewritten: it still answers as before."""
    path, go = ram_path / "index", ram_path / "go"
    with create(path) as index:
        for operation, _ in zip(operations(3, {}), range(40), strict=False):
            operation.apply(index)
        before = contents(index)
        child = zygote.start("answer_twice", path=path, go=go)
        reports = child.reports()
        first = next(reports)
        index.delete(list(before)[::2])
        index.optimize()
        Operation("add", (("d1000", 1),)).apply(index)
        go.touch()
        second, third = reports
        assert child.status == 0
        assert first == second
        assert third["generation"] == index.generation
        assert third["ids"] == index.ids()


def test_a_second_writer_is_refused_by_name(zygote: Zygote, ram_path: Path) -> None:
    path = ram_path / "index"
    with create(path) as index:
        Operation("add", (("d1", 1),)).apply(index)
        child = zygote.start("hold_lock", path=path)
        reports = child.reports()
        holder = next(reports)["holding"]
        for operation in (Operation("add", (("d2", 1),)), Operation("delete", (("d1", 1),)), Operation("optimize")):
            with pytest.raises(IndexLockedError, match=rf"process {holder} on "):
                operation.apply(index)
        assert contents(index) == {"d1": 1}
        child.kill()
        assert list(reports) == []
        Operation("add", (("d2", 1),)).apply(index)
        assert contents(index) == {"d1": 1, "d2": 1}


def test_another_index_object_of_this_process_is_a_second_writer(ram_path: Path) -> None:
    with create(ram_path / "index") as index, Index.open(ram_path / "index") as other:
        with index._session.writing(), pytest.raises(IndexLockedError, match=str(os.getpid())):
            Operation("add", (("d1", 1),)).apply(other)
        Operation("add", (("d1", 1),)).apply(other)
        assert len(index) == 0
        assert index.refresh()
        assert contents(index) == {"d1": 1}


def test_a_writer_sees_what_another_has_committed(ram_path: Path) -> None:
    with create(ram_path / "index") as first, Index.open(ram_path / "index") as second:
        for i in range(0, 20, 2):
            Operation("add", ((f"d{i}", 1),)).apply(first)
            Operation("add", ((f"d{i + 1}", 1),)).apply(second)
        first.refresh()
        expected = {f"d{i}": 1 for i in range(20)}
        assert contents(first) == contents(second) == expected
        first.verify()


def test_an_open_reader_does_not_hold_up_optimize(ram_path: Path) -> None:
    """Emptying the write-ahead log must not wait for readers: SQLite would for half a minute."""
    with create(ram_path / "index") as index:
        for i in range(4):
            Operation("add", ((f"d{i}", 1),)).apply(index)
        with Index.open(ram_path / "index") as reader:
            Operation("delete", (("d0", 1),)).apply(index)
            start = time.monotonic()
            index.optimize()
            assert time.monotonic() - start < 15
            assert len(contents(reader)) == 4


def test_the_log_stays_small_while_an_index_grows(ram_path: Path) -> None:
    """The writer's own view reads from the log: unless it lets go now and then, the log is never emptied."""
    log = ram_path / "index" / "catalog.sqlite-wal"
    largest = 0
    with create(ram_path / "index") as index:
        for i in range(60):
            items = [(f"d{i}-{j}", 1) for j in range(4)]
            long = [{"id": name, "text": f"{name} " + "words and more words " * 8000} for name, _ in items]
            index.add(long, embeddings=embeddings(items))
            largest = max(largest, log.stat().st_size)
        assert largest < 1 << 25
        assert (ram_path / "index" / "catalog.sqlite").stat().st_size > 1 << 25


def test_segments_stay_few_whatever_the_sizes_of_batches(ram_path: Path) -> None:
    with create(ram_path / "index") as index:
        for i in range(80):
            items = [(f"d{i}-{j}", 1) for j in range(1 if i % 2 else 40)]
            index.add([document(*item) for item in items], embeddings=embeddings(items))
        assert index.stats().segments < 16


def test_a_closed_index_says_so(ram_path: Path) -> None:
    index = create(ram_path / "index")
    Operation("add", (("d1", 1),)).apply(index)
    index.close()
    index.close()
    with pytest.raises(InvalidInputError, match="was closed"):
        index.get("d1")


def test_an_index_built_anew_in_the_same_place_is_noticed(ram_path: Path) -> None:
    """At the same generation number: a writer that did not notice would clear away the other's segments."""
    path = ram_path / "index"
    with create(path) as old:
        Operation("add", (("d1", 1),)).apply(old)
        shutil.rmtree(path)
        with create(path) as new:
            Operation("add", (("d2", 1),)).apply(new)
        assert contents(old) == {"d1": 1}
        assert old.refresh()
        assert contents(old) == {"d2": 1}
        shutil.rmtree(path)
        with create(path) as new:
            Operation("add", (("d3", 1),)).apply(new)
        Operation("add", (("d4", 1),)).apply(old)
        assert contents(old) == {"d3": 1, "d4": 1}
        old.verify()


def test_a_restored_backup_is_noticed(ram_path: Path) -> None:
    path, backup = ram_path / "index", ram_path / "backup"
    with create(path) as index:
        Operation("add", (("d1", 1), ("d2", 1))).apply(index)
    shutil.copytree(path, backup)
    with Index.open(path) as index:
        Operation("delete", (("d1", 1),)).apply(index)
        shutil.rmtree(path)
        shutil.copytree(backup, path)
        with Index.open(path) as other:
            Operation("delete", (("d2", 1),)).apply(other)
        Operation("add", (("d3", 1),)).apply(index)
        assert contents(index) == {"d1": 1, "d3": 1}
