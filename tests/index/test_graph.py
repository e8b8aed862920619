import numpy as np
import pytest

from latefold.encoders.errors import (
    IndexCorruptedError,
    InvalidEmbeddingsError,
    InvalidInputError,
)
from latefold.index.graph import Graph, build_graph, search_graph
from latefold.index.kernels.graph import beam_search, connect
from latefold.index.kernels.queries import pack
from latefold.index.lvq import LVQ

DIM = 24


def vectors_of(count, seed=0):
    """Clustered vectors of uneven length, such as inner products make hard."""
    centres = np.random.default_rng(99).standard_normal((12, DIM))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 12, count)] + 0.7 * rng.standard_normal((count, DIM))
    return (vectors * rng.uniform(0.8, 1.2, (count, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def collection():
    """Vectors, their codes of 8 bits and a graph; large enough for searches to take the graph."""
    vectors = vectors_of(6000)
    lvq = LVQ.fit(vectors)
    return lvq, lvq.encode(vectors), build_graph(vectors, degree=16)


@pytest.fixture(scope="module")
def queries():
    return vectors_of(60, seed=1)


def reachable(graph):
    reached, front = {graph.entry}, [graph.entry]
    while front:
        following = {int(node) for source in front for node in graph.neighbours[source] if node >= 0}
        front = following - reached
        reached |= front
    return reached


def recall(found, exact):
    pairs = [(set(f) - {-1}, set(e) - {-1}) for f, e in zip(found.tolist(), exact.tolist(), strict=True)]
    return np.mean([len(f & e) / len(e) for f, e in pairs])


def beam(collection, queries, width, rows=None):
    lvq, stored, graph = collection
    weights = pack(queries, lvq.mean, lvq.bits)
    return beam_search(graph.neighbours, graph.entry, stored if rows is None else rows, weights, lvq.bits, width)


def test_links_are_distinct_and_reach_every_node(collection):
    graph = collection[2]
    graph.check(6000)
    assert (graph.degree, len(graph)) == (16, 6000)
    assert len(reachable(graph)) == 6000
    for node, links in enumerate(graph.neighbours):
        held = links[links >= 0].tolist()
        assert len(set(held)) == len(held)
        assert node not in held
        assert (links[len(held) :] == -1).all()


def test_documents_without_tokens_at_the_beginning_do_no_harm() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((800, 16)).astype(np.float32)
    graph = build_graph([np.zeros((50, 16), np.float32), vectors])
    lvq = LVQ.fit(vectors)
    rows = lvq.encode(np.concatenate([np.zeros((50, 16), np.float32), vectors]))
    queries = rng.standard_normal((30, 16)).astype(np.float32)
    best, _ = lvq.top(queries, rows, 10)
    found, _ = beam_search(graph.neighbours, graph.entry, rows, pack(queries, lvq.mean, 8), 8, 100)
    assert np.mean([np.isin(b, f[:10]).mean() for b, f in zip(best, found, strict=True)]) > 0.9
    with pytest.raises(InvalidEmbeddingsError, match="different lengths"):
        build_graph([vectors, vectors * np.float32(1e9)])


def test_recall_grows_with_the_beam(collection, queries):
    lvq, rows, _ = collection
    exact = lvq.top(queries, rows, 10)[0]
    recalls = [recall(beam(collection, queries, width)[0][:, :10], exact) for width in (10, 20, 40, 80, 160)]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.9 < recalls[-1]


@pytest.mark.parametrize("bits", [4, 8])
def test_a_beam_of_all_nodes_ranks_them_as_a_scan_does(bits, queries):
    vectors = vectors_of(333)
    lvq = LVQ.fit(vectors, bits=bits)
    rows = lvq.encode(vectors)
    graph = build_graph(vectors, degree=8)
    found, scores = beam((lvq, rows, graph), queries, 340)
    exact, wanted = lvq.top(queries, rows, 340)
    np.testing.assert_array_equal(scores, wanted)
    np.testing.assert_array_equal(found, exact)
    assert (found[:, 333:] == -1).all()


def test_the_kernel_follows_a_plain_search(collection, queries):
    """Best-first expansion as in the textbook, with scores of the scan."""
    lvq, rows, graph = collection
    found, scores = beam(collection, queries[:8], 20)
    for q, table in enumerate(lvq.scores(queries[:8], rows)):
        seen, held, open_ = {graph.entry}, [graph.entry], {graph.entry}
        while open_:
            node = max(open_, key=lambda one: (table[one], -one))
            open_.remove(node)
            fresh = [int(one) for one in graph.neighbours[node] if one >= 0 and one not in seen]
            seen.update(fresh)
            held = sorted([*held, *fresh], key=lambda one: (-table[one], one))[:20]
            open_ = (open_ | set(fresh)) & set(held)
        assert found[q].tolist() == held
        np.testing.assert_array_equal(scores[q], table[held])


def test_a_query_is_answered_alike_alone_and_among_others(collection, queries):
    lvq, rows, graph = collection
    found, scores = search_graph(graph, lvq, queries, rows, 5, 20)
    for q in (0, 17, 59):
        alone = search_graph(graph, lvq, queries[q : q + 1], rows, 5, 20)
        np.testing.assert_array_equal(alone[0][0], found[q])
        np.testing.assert_array_equal(alone[1][0], scores[q])
    assert search_graph(graph, lvq, queries[:0], rows, 5, 20)[0].shape == (0, 5)


def test_the_graph_is_searched_where_it_pays(collection, queries):
    lvq, rows, graph = collection
    exact = lvq.top(queries, rows, 5)[0]
    assert recall(search_graph(graph, lvq, queries, rows, 5, 5)[0], exact) < 1  # a narrow beam misses some
    np.testing.assert_array_equal(search_graph(graph, lvq, queries, rows, 5, 4000)[0], exact)  # a wide one is a scan


@pytest.mark.parametrize("share", [0.99, 0.7, 0.3, 0.05, 0.001])
def test_filters_are_honoured_without_losing_recall(collection, queries, share):
    lvq, rows, graph = collection
    allowed = np.random.default_rng(2).random(6000) < share
    exact, scores = lvq.top(queries, rows, 10, allowed=allowed)
    found, values = search_graph(graph, lvq, queries, rows, 10, 80, allowed)
    assert allowed[found[found >= 0]].all()
    assert recall(found, exact) > 0.97
    assert (np.diff(np.where(found >= 0, values, -1e9), axis=1) <= 0).all()
    np.testing.assert_array_equal(values[found == exact], scores[found == exact])


def test_what_is_allowed_far_from_the_query_is_found(collection, queries):
    """Most rows are allowed, but none that the query comes near."""
    lvq, rows, graph = collection
    near = np.zeros(6000, bool)
    near[lvq.top(queries[:1], rows, 1500)[0]] = True
    exact, scores = lvq.top(queries[:1], rows, 10, allowed=~near)
    found, values = search_graph(graph, lvq, queries[:1], rows, 10, 20, ~near)
    np.testing.assert_array_equal(found, exact)
    np.testing.assert_array_equal(values, scores)


def test_nothing_allowed_finds_nothing(collection, queries):
    lvq, rows, graph = collection
    found, scores = search_graph(graph, lvq, queries, rows, 3, 10, np.zeros(6000, bool))
    assert (found == -1).all()
    assert (scores == -np.inf).all()


def test_memory_maps_answer_alike(collection, queries, tmp_path):
    lvq, rows, graph = collection
    rows.tofile(tmp_path / "rows")
    graph.to_array().tofile(tmp_path / "graph")
    mapped = np.memmap(tmp_path / "rows", np.uint8, "r", shape=rows.shape)
    again = Graph.from_array(np.memmap(tmp_path / "graph", np.int32, "r", shape=(6001, 16)))
    again.check(6000)
    for mine, theirs in zip(
        search_graph(graph, lvq, queries, rows, 5, 20), search_graph(again, lvq, queries, mapped, 5, 20), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_blocks_are_one_collection():
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # else links depend on who comes first
    try:
        vectors = vectors_of(500)
        whole = build_graph(vectors, degree=8)
        again = build_graph(vectors.copy(), degree=8)
        parts = build_graph(part for part in np.split(vectors, [0, 200, 201]))
    finally:
        faiss.omp_set_num_threads(threads)
    np.testing.assert_array_equal(whole.neighbours, again.neighbours)
    assert len(reachable(parts)) == len(parts) == 500


@pytest.mark.parametrize("count", [0, 1, 2, 3, 40])
def test_few_nodes(count, queries):
    vectors = vectors_of(count)
    lvq = LVQ(np.zeros(DIM, np.float32))
    rows = lvq.encode(vectors)
    graph = build_graph(vectors)
    graph.check(count)
    Graph.from_array(graph.to_array()).check(count)
    exact, scores = lvq.top(queries, rows, 5)
    for found, values in (search_graph(graph, lvq, queries, rows, 5, 5), beam((lvq, rows, graph), queries, 40)):
        np.testing.assert_array_equal(values[:, :5], scores)
        np.testing.assert_array_equal(found[:, :5], exact)


@pytest.mark.parametrize("copies", [1, 300])
def test_equal_vectors_are_no_island(copies, queries):
    """More equal vectors than a node has links: they would only link each other."""
    vectors = np.concatenate([np.tile(vectors_of(3, seed=5), (copies, 1)), vectors_of(300)])
    graph = build_graph(vectors, degree=8)
    assert len(reachable(graph)) == len(vectors)
    assert len(reachable(build_graph(np.zeros((50, DIM), np.float32), degree=4))) == 50


@pytest.mark.parametrize("seed", range(5))
def test_any_links_are_completed(seed):
    """Links at random, too few to reach everything: additions never cut off what was reached."""
    rng = np.random.default_rng(seed)
    neighbours = rng.integers(0, 200, (200, 4)).astype(np.int32)
    neighbours[rng.random(200) < 0.7] = -1
    neighbours[:, 2:][rng.random(200) < 0.5] = -1
    before = reachable(Graph(neighbours, 7))
    asked = []

    def near(node, reached):
        asked.append((node, reached.copy()))
        return np.flatnonzero(reached)[:1].astype(np.int32)

    connect(neighbours, 7, near)
    assert len(reachable(Graph(neighbours, 7))) == 200
    assert asked
    assert not any(reached[node] for node, reached in asked)
    assert all(reached[sorted(before)].all() for _, reached in asked)


def test_damaged_graphs_are_refused(collection):
    links = collection[2].neighbours
    for place, value in (((0, 0), 6000), ((5999, 15), -2), ((3000, 3), 2**31 - 1)):
        damaged = links.copy()
        damaged[place] = value
        with pytest.raises(IndexCorruptedError, match="outside 0 to 5999"):
            Graph(damaged, 0).check(6000)
    for entry in (-1, 6000):
        with pytest.raises(IndexCorruptedError, match=f"begins at node {entry}"):
            Graph(links, entry).check(6000)
    for graph, count in (
        (Graph(links, 0), 5999),
        (Graph(links.astype(np.int64), 0), 6000),
        (Graph(links[:, :0], 0), 6000),
    ):
        with pytest.raises(IndexCorruptedError, match="expected int32"):
            graph.check(count)
    with pytest.raises(IndexCorruptedError, match="nodes \\+ 1"):
        Graph.from_array(links[:0])


def test_bad_input_is_refused(collection, queries):
    lvq, rows, graph = collection
    with pytest.raises(InvalidInputError, match="6000 nodes"):
        search_graph(graph, lvq, queries, rows[:-1], 3, 10)
    for mask in (np.ones(5, bool), np.ones(6000, np.int64)):
        with pytest.raises(InvalidInputError, match="mask"):
            search_graph(graph, lvq, queries, rows, 3, 10, mask)
    with pytest.raises(InvalidInputError, match="at least 1"):
        search_graph(graph, lvq, queries, rows, 0, 10)
    with pytest.raises(InvalidInputError, match="23"):
        search_graph(graph, lvq, queries[:, 1:], rows, 3, 10)
    with pytest.raises(InvalidInputError, match="degree"):
        build_graph(vectors_of(4), degree=3)
    with pytest.raises(InvalidEmbeddingsError, match="NaN"):
        build_graph(np.full((3, 4), np.nan, np.float32))
    with pytest.raises(InvalidEmbeddingsError, match="do not fit 24"):
        build_graph([vectors_of(4), vectors_of(4)[:, 1:]])
    with pytest.raises(InvalidEmbeddingsError, match="n, dim"):
        build_graph([np.zeros(4, np.float32)])
