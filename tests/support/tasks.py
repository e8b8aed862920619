"""What the zygote's children do; each function is one task."""

from __future__ import annotations

import os
import pwd
import random
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from canaries import check_answer
from damage import copy_of, damage_array, damage_catalog, dump, examine
from tripwire import Tripwire
from workload import contents, create, embeddings, operations, script
from zygote import say

from latefold import Index, TokenEmbeddings
from latefold.encoders.errors import LatefoldError, StorageError


def random_operations(path: str, seed: int, model: dict[str, int]) -> None:
    """Random operations without end, announced before and acknowledged after."""
    with Index.open(path) as index:
        for number, operation in enumerate(operations(seed, model)):
            say({"begin": operation.to_json()})
            operation.apply(index)
            say({"acknowledged": number})


def scripted_operations(path: str, at: int | None) -> None:
    """The fixed script on a new index, killed at the `at`-th point."""
    tripwire = Tripwire(at, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    index = create(Path(path))
    tripwire.install(setattr)
    for number, operation in enumerate(script()):
        say({"begin": operation.to_json()})
        operation.apply(index)
        say({"acknowledged": number})
    say({"points": tripwire.passed})


def hold_lock(path: str) -> None:
    """Be the writer until killed."""
    with Index.open(path) as index, index._session.writing():
        say({"holding": os.getpid()})
        time.sleep(60)


def creation(path: str, at: int) -> None:
    """Create an index, killed at the `at`-th point."""
    Tripwire(at, lambda _: os.kill(os.getpid(), signal.SIGKILL)).install(setattr)
    create(Path(path)).close()
    say({"created": True})


def examine_damaged(base: str, path: str, kind: str, seeds: list[int]) -> None:
    """Damage a copy of an index once a seed, and report what comes of it; a hang ends in SIGALRM."""
    original = dump(Path(base))
    for seed in seeds:
        say({"trying": seed})
        signal.alarm(10)
        copy = copy_of(Path(base), Path(path))
        damage = damage_catalog if kind == "catalog" else damage_array
        files, how = damage(copy, random.Random(seed))
        found = examine(copy)
        same = None if found["open"] or found["verify"] else dump(copy) == original
        say({"seed": seed, "files": files, "how": how, "same": same, **found})
    signal.alarm(0)
    say({"peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})


def follow_canaries(path: str, stop: str) -> None:
    """Refresh and ask for the canaries, until the generation that the file `stop` names was seen."""
    answers, version, generations = 0, 1, set()
    with Index.open(path) as index:
        say({"following": index.generation})
        while not (Path(stop).exists() and index.generation == int(Path(stop).read_text() or 0)):
            index.refresh()
            generations.add(index.generation)
            version = check_answer(index, version)
            answers += 1
        say({"answers": answers, "generations": len(generations), "generation": index.generation})


def answer_twice(path: str, go: str) -> None:
    """Answer before and after the file `go` appears, then once more after a refresh."""
    with Index.open(path) as index:
        say(answer(index))
        while not Path(go).exists():
            time.sleep(0.01)
        say(answer(index))
        index.refresh()
        say(answer(index))


def answer(index: Index) -> dict[str, Any]:
    found = contents(index)
    hits = index.search(embeddings=embeddings(sorted(found.items())[:3]), k=5)
    return {
        "generation": index.generation,
        "ids": index.ids(),
        "hits": [[(hit.id, hit.score) for hit in results] for results in hits],
    }


def write_under_limits(path: str, limits: list[int]) -> None:
    """The script once under each limit on file sizes, which is lifted after a failure."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in limits:
        failures, sound, model = 0, True, {}
        with create(Path(f"{path}-{limit}")) as index:
            for operation in script():
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
                try:
                    operation.apply(index)
                except StorageError:
                    failures += 1
                    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                    found = contents(index)
                    sound &= found in (model, operation.after(model))
                    if found == model:
                        operation.apply(index)
                model = operation.after(model)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            sound &= contents(index) == model
            index.verify()
        say({"limit": limit, "failures": failures, "sound": bool(sound)})


def become_nobody() -> None:
    """Give up the rights of root, where this process has them."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)


def read_only_pages(path: str, document: str, file: str) -> None:
    """Explain a document that is a page of a file, and read the page, as an account that may not write."""
    become_nobody()
    with Index.open(path) as index:
        found = index.explain(None, document, embeddings=embeddings([(document, 1)]))
        page = index.pages.get(file, 1)
        index.verify()
        try:
            index.pages.remember(file, Path("elsewhere.pdf"), "pdf")
        except LatefoldError as error:
            refused = type(error).__name__
        say(
            {
                "place": found.page and [found.page.number, found.page.width, found.page.origin],
                "thumbnail": page and page.thumbnail.decode(),
                "seen": str((index.pages.place(file) or [None])[0]),
                "refused": refused,
            }
        )


def read_only(path: str) -> None:
    """Read an index as an account that may not write to it."""
    become_nobody()
    with Index.open(path) as index:
        found = contents(index)
        index.verify()
        index.stats()
        try:
            index.delete(list(found))
        except LatefoldError as error:
            refused = type(error).__name__
        say({"found": found, "refused": refused, "refreshed": index.refresh()})


def build(path: str, documents: int, tokens: int, dim: int, batch: int) -> None:
    """Build an index from generated batches; reports memory of its own (KiB) before and at the most between batches.

    Pages of mapped segments are not counted: the system takes them back when it needs them.
    """
    before = most = own_memory_kib()
    rng = np.random.default_rng(0)
    offsets = np.arange(batch + 1) * tokens
    with Index.create(path, dim=dim) as index:
        for start in range(0, documents, batch):
            vectors = rng.standard_normal((batch * tokens, dim)).astype(np.float32)
            texts = [{"id": f"d{start + i}", "text": f"document number {start + i} " * 20} for i in range(batch)]
            index.add(texts, embeddings=TokenEmbeddings(vectors, offsets))
            most = max(most, own_memory_kib())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stored = index.stats().bytes["total"] // 1024
        memory = {"before_kib": before, "most_kib": most, "peak_kib": peak, "stored_kib": stored}
        say({"documents": len(index), **memory})


def own_memory_kib() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("RssAnon")).split()[1])
