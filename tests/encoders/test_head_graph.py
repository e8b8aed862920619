"""The head as nodes of a graph: its formula for any graph of ours, and graphs that are none."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from heads import project
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="the extra 'export' is not installed")

import onnx
import onnxruntime
from onnx import helper

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import EncoderError
from latefold.encoders.export_graph import GraphBuilder, make_model
from latefold.encoders.head import Head
from latefold.encoders.head_graph import feeds, with_head

WIDTH, DIMS, WORDS = 24, 12, 400


def make_head(*, scalar_mix: bool, bias: bool = True) -> Head:
    rng = np.random.default_rng(1)
    return Head(
        np.float32(0.4) if scalar_mix else rng.standard_normal(WIDTH).astype(np.float32),
        rng.standard_normal((WIDTH, DIMS)).astype(np.float32),
        (rng.standard_normal(DIMS) * bias).astype(np.float32),
    )


@cache
def states() -> np.ndarray:
    rng = np.random.default_rng(0)
    table: np.ndarray = (rng.standard_normal((WORDS, WIDTH)) * rng.uniform(0.1, 9, (WORDS, 1))).astype(np.float32)
    table[0] = 0
    return table


@cache
def rotation() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(2).standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)


@cache
def graph_of(*, rotated: bool, last: str = "LpNormalization") -> bytes:
    """A graph with the ending of `build_graph`, over states that are looked up."""
    graph = GraphBuilder()
    hidden = graph.op("Gather", graph.constant("table", states()), "ids")
    if rotated:
        hidden = graph.op("MatMul", hidden, graph.constant("rotation", rotation()))
    kept = graph.op("Slice", hidden, graph.integers(0), "dims", graph.integers(1))
    settings = {"axis": -1, "p": 2} if last == "LpNormalization" else {}
    graph.nodes.append(helper.make_node(last, [kept], ["vectors"], **settings))
    return make_model(graph, "states").SerializeToString(deterministic=True)


@cache
def session(*, rotated: bool, scalar_mix: bool, dim: int) -> onnxruntime.InferenceSession:
    made = with_head(graph_of(rotated=rotated), make_head(scalar_mix=scalar_mix), dim)
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    return opened(made)


def opened(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run(model: onnxruntime.InferenceSession, texts: list[np.ndarray]) -> TokenEmbeddings:
    lengths = np.array([len(text) for text in texts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    given = {"ids": np.concatenate(texts), "lengths": lengths, **feeds(lengths, offsets)}
    names = {item.name for item in model.get_inputs()}  # this small graph does not read the lengths
    (made,) = model.run(["vectors"], {name: value for name, value in given.items() if name in names})
    return TokenEmbeddings(made, offsets)


TEXTS = st.lists(st.lists(st.integers(0, WORDS - 1), max_size=70).map(np.array), min_size=1, max_size=5)


@given(TEXTS, st.booleans(), st.booleans(), st.sampled_from([1, 5, DIMS]))
def test_it_is_the_formula_and_a_text_has_the_same_bits_whatever_stands_beside_it(
    texts: list[np.ndarray], rotated: bool, scalar_mix: bool, dim: int
) -> None:
    texts = [np.asarray(text, np.int64) for text in texts]
    model, head = session(rotated=rotated, scalar_mix=scalar_mix, dim=dim), make_head(scalar_mix=scalar_mix)
    if not any(map(len, texts)):
        return
    made = run(model, texts)
    for text, got in zip(texts, made, strict=True):
        if len(text):
            vectors = states()[text] @ (rotation() if rotated else np.eye(WIDTH, dtype=np.float32))
            unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            np.testing.assert_allclose(got, project(head, unit, [0, len(text)], dim), atol=2e-4)
            np.testing.assert_array_equal(run(model, [text]).vectors, got)


def test_a_vector_that_vanishes_stays_zero() -> None:
    head = make_head(scalar_mix=True, bias=False)
    model = opened(with_head(graph_of(rotated=True), head, DIMS))
    np.testing.assert_array_equal(run(model, [np.zeros(3, np.int64)]).vectors, 0)


def test_nothing_of_the_former_ending_is_left() -> None:
    old, new = (onnx.load_from_string(graph_of(rotated=True)), None)
    new = onnx.load_from_string(with_head(old.SerializeToString(), make_head(scalar_mix=True), DIMS))
    assert "rotation" in {item.name for item in old.graph.initializer} - {item.name for item in new.graph.initializer}
    assert [node.op_type for node in new.graph.node].count("LpNormalization") == 2
    assert "Slice" not in {node.op_type for node in new.graph.node}
    assert (new.ir_version, new.opset_import) == (old.ir_version, old.opset_import)


def test_the_arrays_of_one_text_are_kept_and_cannot_be_changed() -> None:
    one, again = (feeds(np.array([7]), np.array([0, 7])) for _ in range(2))
    assert one is again
    with pytest.raises(ValueError, match="read-only"):
        one["shares"][:] = 0


@given(st.integers(0, 1 << 30), st.integers(0, 255))
def test_damaged_graphs_are_refused_or_stay_graphs(place: int, value: int) -> None:
    content = bytearray(graph_of(rotated=True))
    content[place % len(content)] = value
    try:
        made = with_head(bytes(content), make_head(scalar_mix=True), DIMS)
    except EncoderError:
        return
    assert len(made) > 0


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\x3a\x00", graph_of(rotated=True)[:-5], graph_of(rotated=True, last="Identity"), b"\xff" * 40],
)
def test_graphs_of_another_make_are_refused(content: bytes) -> None:
    with pytest.raises(EncoderError, match="no head can follow it"):
        with_head(content, make_head(scalar_mix=True), DIMS)


def test_a_head_of_another_width_is_refused() -> None:
    head = Head(np.float32(0), np.ones((WIDTH + 1, 2), np.float32), np.zeros(2, np.float32))
    with pytest.raises(EncoderError, match="no head can follow it"):
        with_head(graph_of(rotated=True), head, 2)
