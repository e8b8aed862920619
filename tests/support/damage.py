"""Seeded damage to the files of an index, and what an index so damaged must say."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from workload import CONFIG, contents, create, document, embeddings, script

from latefold import Index
from latefold.encoders.errors import LatefoldError
from latefold.retrieval.writer import Change

CATALOG = "catalog.sqlite"
PATTERNS = (b"\xff" * 8, b"\0" * 8, (1 << 40).to_bytes(8, "little"), (1 << 40).to_bytes(8, "big"))


def sample_index(path: Path) -> None:
    """A closed index with everything in it: several segments, tombstones, sources, calibration, factors."""
    with create(path, CONFIG) as index:
        for operation in script():
            operation.apply(index)
        session = index._session
        with session.writing():
            for source in ("a.txt", "b.txt"):
                items = [(f"{source[0]}{i}", 1) for i in range(12)]
                change = Change(
                    documents=[document(*item) for item in items],
                    embeddings=embeddings(items),
                    sources=[source] * len(items),
                    finished=[(source, f"hash of {source}")],
                )
                session.commit(change)
        index.delete(["a3", "b5"])
        assert index.calibrate() is not None
        contents(index)
        index.verify()


def array_files(path: Path) -> list[Path]:
    """Every stored file but the catalog."""
    return sorted([*path.glob("segments/*/*.bin"), *path.glob("params/*/*.safetensors")])


def damage_array(path: Path, rng: random.Random) -> tuple[list[str], str]:
    """Damage one array file (two by a swap); the names of those touched, and what was done."""
    target, other = rng.sample(array_files(path), 2)
    data = bytearray(target.read_bytes())
    how = rng.choice(
        ["flip", "flip", "flip header", "pattern", "truncate", "extend", "empty", "delete", "swap", "copy"]
    )
    if how == "delete":
        target.unlink()
    elif how == "swap":
        target.write_bytes(other.read_bytes())
        other.write_bytes(bytes(data))
        return [target.name, other.name], how
    else:
        if how == "copy":
            data = bytearray(other.read_bytes())
        else:
            _mutate(data, how, rng, header=64)
        if data == target.read_bytes():
            data[-1] ^= 1
        target.write_bytes(data)
    return [target.name], how


def damage_catalog(path: Path, rng: random.Random) -> tuple[list[str], str]:
    """Damage the catalog."""
    target = path / CATALOG
    data = bytearray(target.read_bytes())
    how = rng.choice(
        ["flip"] * 6
        + ["flip header", "flip header", "pattern", "pattern", "truncate", "extend", "empty", "page", "pages"]
    )
    page = 4096
    if how == "page":
        start = page * rng.randrange(len(data) // page)
        data[start : start + page] = rng.choice([bytes(page), rng.randbytes(page)])
    elif how == "pages":
        a, b = (page * number for number in rng.sample(range(len(data) // page), 2))
        data[a : a + page], data[b : b + page] = data[b : b + page], data[a : a + page]
    else:
        _mutate(data, how, rng, header=100)
    target.write_bytes(data)
    return [CATALOG], how


def _mutate(data: bytearray, how: str, rng: random.Random, header: int) -> None:
    if how.startswith("flip"):
        places = range(header) if "header" in how else [place for place, byte in enumerate(data) if byte]
        data[rng.choice(places)] ^= rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])
    elif how == "pattern":
        start = rng.randrange(max(1, len(data) - 8))
        data[start : start + 8] = rng.choice(PATTERNS)
    elif how == "truncate":
        del data[rng.randrange(len(data)) :]
    elif how == "extend":
        data += rng.randbytes(rng.choice([1, 8, 64, 4096]))
    elif how == "empty":
        data.clear()


def dump(path: Path) -> list[Any]:
    """Everything a catalog says, as values."""
    order = {"documents": "row", "tombstones": "row", "sources": "name", "segments": "id", "meta": "key"}
    with closing(sqlite3.connect(path / CATALOG)) as connection:
        queries = [f"SELECT * FROM {table} ORDER BY {key}" for table, key in order.items()]
        queries += ["SELECT * FROM files ORDER BY segment, name", "PRAGMA user_version"]
        queries += ["SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"]
        return [connection.execute(query).fetchall() for query in queries]


def examine(path: Path) -> dict[str, Any]:
    """Use a damaged index in every way, then verify it. What each stage said: None, or a typed error."""
    said: dict[str, Any] = {"open": None, "use": None, "verify": None}
    stage = "open"
    try:
        with Index.open(path) as index:
            stage = "use"
            try:
                use(index)
            except LatefoldError as error:
                said["use"] = [type(error).__name__, str(error)]
            stage = "verify"
            index.verify()
    except LatefoldError as error:
        said[stage] = [type(error).__name__, str(error)]
    return said


def use(index: Index) -> None:
    queries = embeddings([("d3", 2), ("a1", 1), ("nowhere", 1)])
    for mode in ("exact", "ann"):
        index.search(embeddings=queries, mode=mode, k=20)
    index.search(embeddings=queries, filter={"version": {"$gte": 1}, "source": {"$exists": True}})
    index.search("version of document", mode="lexical", k=20)
    for name in index.ids():
        index.get(name)
    index.explain(None, "a1", embeddings=queries.take([1]))
    index.stats()
    index.sources()


def copy_of(base: Path, path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(base, path)
    return path
