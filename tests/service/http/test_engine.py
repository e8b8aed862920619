"""The local engine: names of collections, other processes' writes, readers beside a writer."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latefold import Document, Index, TokenEmbeddings
from latefold.encoders.errors import IndexNotFoundError, InvalidInputError
from latefold.encoders.scorers.base import CallableScorer
from latefold.service.engine import Engine, LocalEngine, Query, RerankQuery, collection_names

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my.index", "my"),
        ("My Docs.index", "my-docs"),
        ("docs", "docs"),
        ("a.b.index", "a-b"),
        ("_x", "x"),
        ("ünï 2", "n-2"),
        ("x" * 80, "x" * 64),
    ],
)
def test_names_of_folders(folder: str, name: str) -> None:
    assert list(collection_names([Path("/data") / folder])) == [name]


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=100))
def test_a_name_fits_a_url(folder: str) -> None:
    assume(re.search("[A-Za-z0-9]", folder.removesuffix(".index")))
    (name,) = collection_names([Path("/data") / folder])
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("folder", ["---", "日本", ".index", "_.index"])
def test_a_folder_without_a_usable_name(folder: str) -> None:
    with pytest.raises(InvalidInputError, match="rename it"):
        collection_names([Path("/data") / folder])


def test_folders_that_would_share_a_name() -> None:
    with pytest.raises(InvalidInputError, match=r"/a/my.index and /b/My.* 'my'"):
        collection_names([Path("/a/my.index"), Path("/b/My")])


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError):
        LocalEngine.open([tmp_path])


def test_an_unknown_collection(vector_engine: LocalEngine) -> None:
    engine: Engine = vector_engine
    calls = [
        lambda: engine.stats("x"),
        lambda: engine.search("x", Query(["q"])),
        lambda: engine.explain("x", "q", "d"),
        lambda: engine.get("x", "d"),
        lambda: engine.add("x", []),
        lambda: engine.upsert("x", []),
        lambda: engine.delete("x", ids=["d"]),
    ]
    for call in calls:
        with pytest.raises(IndexNotFoundError, match="vectors"):
            call()


def test_writes_of_another_process_are_seen(vector_engine: LocalEngine, tmp_path: Path) -> None:
    script = f"from latefold import Index\nwith Index.open({str(tmp_path / 'vectors.index')!r}) as i: i.delete(['d3'])"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert vector_engine.collections() == {"vectors": 9}
    hits = vector_engine.search("vectors", Query(["common"], k=100)).hits[0]
    assert "d3" not in {hit.id for hit in hits}


def test_readers_beside_a_writer_see_whole_commits(vector_engine: LocalEngine) -> None:
    """Each commit adds one pair of documents and deletes the pair before: a reader must see exactly one pair."""
    pair = TokenEmbeddings.from_list([np.eye(8, dtype=np.float32)[:2]] * 2)
    vector_engine.delete("vectors", filter={"id": {"$prefix": "d"}})
    vector_engine.add("vectors", _pair(0), pair)
    stop = threading.Event()
    problems: list[Any] = []

    def read() -> None:
        while not stop.is_set():
            try:
                hits = vector_engine.search("vectors", Query(embeddings=pair.take([0]), k=10)).hits[0]
            except Exception as error:
                problems.append(error)
                return
            found = sorted(hit.id for hit in hits)
            if found not in ([f"a{hits[0].id[1:]}", f"b{hits[0].id[1:]}"], _both(hits)):
                problems.append(found)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for n in range(1, 13):
        vector_engine.add("vectors", _pair(n), pair)
        vector_engine.delete("vectors", ids=[f"a{n - 1}", f"b{n - 1}"])
    stop.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert vector_engine.collections() == {"vectors": 2}


def _pair(n: int) -> list[Document]:
    return [Document(f"a{n}", "x"), Document(f"b{n}", "x")]


def _both(hits: list[Any]) -> list[str]:
    """The ids between an addition and the deletion that follows it: two neighbouring pairs."""
    first = min(int(hit.id[1:]) for hit in hits)
    return sorted(f"{letter}{n}" for letter in "ab" for n in (first, first + 1))


def test_a_read_after_a_write_sees_it_while_others_read(vector_engine: LocalEngine) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            vector_engine.search("vectors", Query(["common"]))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for n in range(10):
            vector_engine.delete("vectors", ids=[f"d{n}"])
            assert vector_engine.collections() == {"vectors": 9 - n}
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def test_warming_loads_what_a_search_needs(text_index: Path) -> None:
    with LocalEngine.open([text_index], threads=1) as engine:
        engine.warm()
        assert engine.search("my-texts", Query(["cat"], k=1)).hits[0][0].id == "cat"


def test_scorers_are_held_by_name(vector_engine: LocalEngine, tmp_path: Path) -> None:
    assert vector_engine.scorers() == []
    lengths = CallableScorer(lambda pairs: [float(len(document)) for _, document in pairs])
    with LocalEngine.open([tmp_path / "vectors.index"], scorers={"b": lengths, "a": lengths}) as engine:
        assert engine.scorers() == ["a", "b"]
        query = Query(["common"], k=2, mode="lexical", rerank=RerankQuery("a", 3, "rerank"))
        results = engine.search("vectors", query)
        assert [cost.calls for cost in results.spent] == [3]
        assert len(results.hits[0]) == 2
        with pytest.raises(InvalidInputError, match="no scorer 'c'; there are: a, b"):
            engine.search("vectors", replace(query, rerank=RerankQuery("c")))
    assert vector_engine.search("vectors", Query(["common"])).spent == []


def test_collections_with_one_encoder_share_it(text_index: Path, tmp_path: Path, encoder: Any) -> None:
    for name in ("a", "b"):
        with Index.create(tmp_path / name, encoder=encoder) as index:
            index.add([{"id": name, "text": f"text of {name}"}])
    Index.create(tmp_path / "c", dim=2).close()
    with LocalEngine.open([tmp_path / "a", text_index, tmp_path / "b", tmp_path / "c"], threads=1) as engine:
        engine.warm()
        assert len({id(engine._indexes[name].encoder) for name in ("a", "b", "my-texts")}) == 1
        assert engine._indexes["c"].encoder is None
        assert engine.search("b", Query(["text"], k=1)).hits[0][0].id == "b"


def test_an_index_is_closed_when_a_later_one_cannot_be_opened(tmp_path: Path) -> None:
    Index.create(tmp_path / "good", dim=2).close()
    with pytest.raises(IndexNotFoundError):
        LocalEngine.open([tmp_path / "good", tmp_path / "missing"])
