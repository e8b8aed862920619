"""Nothing acknowledged is lost, whatever kills, interrupts or fails a writer, and wherever."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import workload
from tripwire import Interrupted, Tripwire, fail, interrupt
from workload import Model, Operation, contents, create, document, embeddings, script, stray_folders, warm_up
from zygote import Child, Zygote

from latefold import Index
from latefold.encoders.errors import IndexNotFoundError, LatefoldError, StorageError

REOPEN_SECONDS = 2.0


def follow(child: Child, model: Model, *, kill_after: float | None = None) -> tuple[Model, Model]:
    """The states that a child's reports allow: with what it acknowledged, and with what it had begun besides."""
    begun = model
    deadline = None if kill_after is None else time.monotonic() + kill_after
    for report in child.reports():
        if "begin" in report:
            begun = Operation.from_json(report["begin"]).after(model)
        elif "acknowledged" in report:
            model = begun
        if deadline is not None and time.monotonic() > deadline:
            child.kill()
            deadline = None
    assert child.killed
    return model, begun


def check_survivor(path: Path, allowed: tuple[Model, Model]) -> Model:
    """Open an index after a kill: whole, and in one of the allowed states; the next write clears what lay about."""
    start = time.monotonic()
    index = Index.open(path)
    assert time.monotonic() - start < REOPEN_SECONDS
    with index:
        found = contents(index)
        assert found in allowed
        index.verify()
        operation = Operation("upsert", (("d0", found.get("d0", 0) + 1),))
        operation.apply(index)
        assert stray_folders(index) == set()
        assert contents(index) == operation.after(found)
    return operation.after(found)


def kill_cycles(zygote: Zygote, path: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    create(path).close()
    model: Model = {}
    for _ in range(count):
        child = zygote.start("random_operations", path=path, seed=rng.randrange(1 << 30), model=model)
        model = check_survivor(path, follow(child, model, kill_after=rng.uniform(0, 0.5)))


def test_killed_at_random_moments(zygote: Zygote, ram_path: Path) -> None:
    kill_cycles(zygote, ram_path / "index", 12, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cycles", [50, 200])
def test_killed_many_times_at_random_moments(zygote: Zygote, tmp_path: Path, cycles: int) -> None:
    kill_cycles(zygote, tmp_path / "index", cycles, seed=cycles)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every point that the script passes, in order."""
    warm_up()
    tripwire = Tripwire()
    with pytest.MonkeyPatch.context() as patch, create(tmp_path_factory.mktemp("points") / "index") as index:
        tripwire.install(patch.setattr)
        for operation in script():
            operation.apply(index)
    return tripwire.passed


def one_of_each(points: list[str], seed: int) -> Iterator[int]:
    """For every name one of the places where it occurs."""
    rng = random.Random(seed)
    for name in sorted(set(points)):
        yield rng.choice([place for place, passed in enumerate(points) if passed == name])


def kill_at(zygote: Zygote, path: Path, at: int) -> None:
    child = zygote.start("scripted_operations", path=path, at=at)
    check_survivor(path, follow(child, {}))
    shutil.rmtree(path)


def test_killed_at_every_kind_of_point(zygote: Zygote, ram_path: Path, points: list[str]) -> None:
    assert len(set(points)) >= 30
    for at in one_of_each(points, seed=2):
        kill_at(zygote, ram_path / "index", at)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_point(zygote: Zygote, ram_path: Path, points: list[str]) -> None:
    for at in range(len(points)):
        kill_at(zygote, ram_path / "index", at)


def test_killed_while_creating(zygote: Zygote, ram_path: Path) -> None:
    path = ram_path / "index"
    at = 0
    while True:
        child = zygote.start("creation", path=path, at=at)
        done = [report for report in child.reports() if "created" in report]
        if done:
            break
        assert child.killed
        try:
            Index.open(path).close()
        except IndexNotFoundError:
            create(path).close()
        assert check_survivor(path, ({}, {})) == {"d0": 1}
        shutil.rmtree(path)
        at += 1
    assert at > 5


def carry_on(index: Index, tripwire: Tripwire) -> bool:
    """Run the script, going on after the one failure that the tripwire causes; whether it came to the surface."""
    model: Model = {}
    surfaced = False
    for operation in script():
        try:
            operation.apply(index)
        except (Interrupted, StorageError):
            surfaced = True
            found = contents(index)
            assert found in (model, operation.after(model))
            index.verify()
            if found != operation.after(model):
                operation.apply(index)
        model = operation.after(model)
    assert contents(index) == model
    index.verify()
    assert stray_folders(index) == set()
    with Index.open(index.path) as again:
        assert contents(again) == model
    return surfaced


def survive(path: Path, at: int, action: object) -> bool:
    tripwire = Tripwire(at, action)
    with pytest.MonkeyPatch.context() as patch, create(path) as index:
        tripwire.install(patch.setattr)
        surfaced = carry_on(index, tripwire)
    shutil.rmtree(path)
    return surfaced


def test_interrupted_at_every_kind_of_point(ram_path: Path, points: list[str]) -> None:
    for at in one_of_each(points, seed=3):
        assert survive(ram_path / "index", at, interrupt), points[at]


def test_failing_at_every_kind_of_point(ram_path: Path, points: list[str]) -> None:
    for at in one_of_each(points, seed=4):
        if points[at].startswith("before"):
            survive(ram_path / "index", at, fail)


@pytest.mark.parametrize("name", ["fsync", "replace", "BEGIN IMMEDIATE", "INSERT documents", "COMMIT"])
def test_a_failure_before_the_commit_comes_to_the_surface(ram_path: Path, points: list[str], name: str) -> None:
    assert survive(ram_path / "index", points.index(f"before {name}"), fail)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("action", [interrupt, fail])
def test_interrupted_or_failing_at_every_point(ram_path: Path, points: list[str], action: object) -> None:
    for at, name in enumerate(points):
        if action is interrupt or name.startswith("before"):
            survive(ram_path / "index", at, action)


def test_interrupt_after_the_commit_keeps_it(ram_path: Path, points: list[str]) -> None:
    """Ctrl-C mostly strikes in the sync inside COMMIT, and is raised when that has succeeded."""
    for at in [place for place, name in enumerate(points) if name == "after COMMIT"][:6]:
        tripwire = Tripwire(at, interrupt)
        with pytest.MonkeyPatch.context() as patch, create(ram_path / "index") as index:
            tripwire.install(patch.setattr)
            model: Model = {}
            for operation in script():
                try:
                    operation.apply(index)
                except Interrupted:
                    break
                model = operation.after(model)
        with Index.open(ram_path / "index") as index:
            assert contents(index) == operation.after(model)
            index.verify()
        shutil.rmtree(ram_path / "index")


def test_a_merge_that_fails_does_not_fail_the_write_before_it(ram_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents are stored: an error would make the caller add them again."""

    def refuse(*_: object) -> None:
        raise StorageError(errno.ENOSPC, "no room for a merge")

    names = [f"d{i}" for i in range(20)]
    with create(ram_path / "index") as index:
        with monkeypatch.context() as patch:
            patch.setattr("latefold.retrieval.writer.merge", refuse)
            for name in names:
                Operation("add", ((name, 1),)).apply(index)
        assert index.stats().segments == len(names)
        Operation("add", (("last", 1),)).apply(index)
        assert index.stats().segments < 8
        assert contents(index) == {**dict.fromkeys(names, 1), "last": 1}


def test_an_iterable_that_raises_keeps_the_batches_before_it(ram_path: Path) -> None:
    def documents() -> Iterator[object]:
        yield from (document(f"d{i}", 1) for i in range(200))
        raise RuntimeError("the source broke")

    with create(ram_path / "index") as index:
        with pytest.raises(RuntimeError, match="broke"):
            index.add(documents(), embeddings=embeddings([("d0", 1)] * 200))
        assert contents(index) == {}
        index.verify()


def test_an_error_in_a_write_leaves_the_index_usable(ram_path: Path) -> None:
    with create(ram_path / "index") as index:
        Operation("add", (("d1", 1),)).apply(index)
        with pytest.raises(LatefoldError, match="d1"):
            Operation("add", (("d2", 1), ("d1", 1))).apply(index)
        with pytest.raises(LatefoldError, match="d9"):
            index.delete(["d1", "d9"])
        assert contents(index) == {"d1": 1}
        assert stray_folders(index) == set()


SYNC_FAILS = """
import os, signal, sys
from pathlib import Path
from workload import create, script
from latefold.encoders.errors import StorageError
index = create(Path(sys.argv[1]))
for number, operation in enumerate(script()):
    try:
        operation.apply(index)
    except StorageError:
        os.kill(os.getpid(), signal.SIGKILL)
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("nth", range(3, 19))
def test_a_failed_sync_of_the_log_and_then_a_crash(ram_path: Path, nth: int) -> None:
    """The commit stands complete in the log, and recovery may revive it: what it refers to must still be there."""
    tracer = shutil.which("strace")
    if tracer is None:
        pytest.skip("strace, which makes system calls fail, is not installed")
    path = ram_path / "index"
    inject = ["-f", "-o", os.devnull, "-e", "trace=fdatasync,fsync", "-P", str(path / "catalog.sqlite-wal")]
    inject += ["-e", f"inject=fdatasync,fsync:error=EIO:when={nth}"]
    search_path = os.pathsep.join([str(Path(workload.__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": search_path}
    done = subprocess.run(
        [tracer, *inject, sys.executable, "-c", SYNC_FAILS, str(path)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "PTRACE" in done.stderr:
        pytest.skip(f"this process may not be traced: {done.stderr.strip()}")
    steps = script()
    acknowledged = len(done.stdout.split())
    model: Model = {}
    for operation in steps[:acknowledged]:
        model = operation.after(model)
    begun = steps[acknowledged].after(model) if acknowledged < len(steps) else model
    check_survivor(path, (model, begun))
