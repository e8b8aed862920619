"""Incremental changes against a fresh build, and sources that change as a whole."""

import shutil

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold import Document, Index, IndexConfig, TokenEmbeddings, load_encoder
from latefold.retrieval.types import Source

DIM = 8
QUERIES = TokenEmbeddings.from_list([np.random.default_rng(i).standard_normal((3, DIM)) for i in range(4)])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.lists(st.integers(0, 14), unique=True, min_size=1, max_size=6), st.integers(0, 99)
        ),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 14), unique=True, max_size=4), st.just(0)),
        st.tuples(st.just("optimize"), st.just([]), st.just(0)),
    ),
    max_size=12,
)


def vectors(number, version):
    rng = np.random.default_rng([number, version])
    return rng.standard_normal((int(rng.integers(1, 6)), DIM)).astype(np.float32)


def put(index, items):
    documents = [Document(f"d{n}", f"word{v} text") for n, v in items]
    index.upsert(documents, embeddings=TokenEmbeddings.from_list([vectors(n, v) for n, v in items]))


def answers(index):
    exact = [[(hit.id, hit.score) for hit in hits] for hits in index.search(embeddings=QUERIES, k=20, mode="exact")]
    lexical = sorted((hit.id, round(hit.score, 6)) for hit in index.search("word7 text", 20, mode="lexical"))
    return [sorted(ranking) for ranking in exact], lexical


@given(OPERATIONS)
@settings(deadline=None, max_examples=25)
def test_any_sequence_of_changes_equals_a_fresh_build(tmp_path_factory, operations):
    folder = tmp_path_factory.mktemp("sync")
    state = {}
    config = IndexConfig(codec="lvq8", batch_documents=4)
    with (
        Index.create(folder / "grown", dim=DIM, config=config) as grown,
        Index.create(folder / "fresh", dim=DIM, config=config) as fresh,
    ):
        for name, numbers, version in operations:
            if name == "put":
                put(grown, [(n, version) for n in numbers])
                state |= dict.fromkeys(numbers, version)
            elif name == "delete":
                known = [n for n in numbers if n in state]
                grown.delete([f"d{n}" for n in known])
                state = {n: v for n, v in state.items() if n not in known}
            else:
                grown.optimize()
        if state:
            put(fresh, sorted(state.items()))
        assert len(grown) == len(state)
        assert answers(grown) == answers(fresh)
        grown.verify()
    shutil.rmtree(folder)


def source(name, version, *texts):
    return Source(name, f"hash{version}", [Document(f"{name}#{i}", text) for i, text in enumerate(texts)])


def test_sources_are_replaced_as_a_whole(tmp_path):
    with Index.create(tmp_path / "i", encoder=load_encoder("minilm")) as index:
        report = index.sync([source("a", 1, "one", "two", "three"), source("b", 1, "four")])
        assert (report.added, report.sources) == (4, 2)
        assert index.sources() == {"a": "hash1", "b": "hash1"}

        report = index.sync([source("a", 2, "one", "changed")])
        assert (report.added, report.updated, report.unchanged, report.deleted) == (0, 1, 1, 1)
        assert index.ids() == ["a#0", "b#0", "a#1"]
        assert index.sources() == {"a": "hash2", "b": "hash1"}

        assert index.remove_sources(["a"]) == 2
        assert index.sources() == {"b": "hash1"}
        assert index.ids() == ["b#0"]


def test_a_source_that_breaks_is_reported_and_deletes_nothing(tmp_path):
    def broken():
        yield Document("a#0", "new text")
        raise OSError("the disk went away")

    with Index.create(tmp_path / "i", encoder=load_encoder("minilm")) as index:
        index.sync([source("a", 1, "one", "two")])
        report = index.sync([Source("a", "hash2", broken()), source("b", 1, "three")])
        assert report.failed == {"a": "the disk went away"}
        assert (report.updated, report.added, report.deleted) == (1, 1, 0)
        assert set(index.ids()) == {"a#0", "a#1", "b#0"}
        assert index.sources()["a"] == "hash1"


def test_an_interrupted_source_is_finished_by_the_next_run(tmp_path):
    def interrupted():
        for i in range(5):
            yield Document(f"a#{i}", f"text {i}")
        raise KeyboardInterrupt

    config = IndexConfig(batch_documents=2)
    with Index.create(tmp_path / "i", encoder=load_encoder("minilm"), config=config) as index:
        try:
            index.sync([Source("a", "h", interrupted())])
        except KeyboardInterrupt:
            stopped = True
        assert stopped
        assert index.ids() == ["a#0", "a#1", "a#2", "a#3"]
        assert index.sources() == {}
        report = index.sync([Source("a", "h", [Document(f"a#{i}", f"text {i}") for i in range(6)])])
        assert (report.unchanged, report.added) == (4, 2)
        assert index.sources() == {"a": "h"}


def test_documents_may_move_between_sources(tmp_path):
    with Index.create(tmp_path / "i", encoder=load_encoder("minilm")) as index:
        index.sync([Source("a", "1", [Document("x", "text")])])
        index.sync([Source("b", "1", [Document("x", "text")]), Source("a", "2", [])])
        assert index.ids() == ["x"]
        assert index.remove_sources(["a"]) == 0
        assert index.remove_sources(["b"]) == 1
