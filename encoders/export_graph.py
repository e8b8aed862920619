"""A BERT encoder as an ONNX graph over ragged batches, written node by node from its weights.

The graph takes the tokens of a whole batch as one flat array and returns their vectors in the same order, as
`TokenEmbeddings` holds them, so that every dense layer works on real tokens only. Texts are padded to a common
length inside the attention and nowhere else. How a dense layer computes is left to a `Dense` strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .errors import EncoderError

OPSET = 20
IR_VERSION = 9
FloatArray = npt.NDArray[np.float32]
Weights = Mapping[str, FloatArray]
Sizes = list[str | int | None]
"""Of each axis of an input or output; a name stands for any size."""
WORDS = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT encoder; `positions` is the longest text in tokens that the graph can take."""

    layers: int
    heads: int
    dim: int
    positions: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any], max_tokens: int) -> BertShape:
        """Sizes from the `config.json` of a checkpoint, for texts of at most `max_tokens`. Raises `KeyError`."""
        return cls(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            dim=config["hidden_size"],
            positions=min(max_tokens, config["max_position_embeddings"]),
            epsilon=config["layer_norm_eps"],
        )


def require_bert(where: Path, config: Mapping[str, Any]) -> None:
    """The graph is that of BERT with the exact GELU; other Transformers share its names, not its arithmetic.

    Raises `EncoderError` naming `where` and what its `config.json` has instead.
    """
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in expected.items():
        if config.get(key, value if key != "model_type" else None) != value:
            raise EncoderError(f"{where} has the {key} {config.get(key)!r}; only {value!r} can be exported")


@dataclass
class GraphBuilder:
    """Collects nodes and constants; methods return the name of the tensor they make."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: object) -> str:
        """Append a node of one output."""
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """Store an array under `name`; a name always stands for the same value."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def integers(self, *values: int) -> str:
        """A one-dimensional int64 constant."""
        return self.constant("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def layer_norm(self, name: str, rows: str, weights: Weights, epsilon: float) -> str:
        """Layer normalization over the last axis with the weights called `name`."""
        scale = self.constant(f"{name}.weight", weights[f"{name}.weight"])
        bias = self.constant(f"{name}.bias", weights[f"{name}.bias"])
        return self.op("LayerNormalization", rows, scale, bias, axis=-1, epsilon=epsilon)


class Dense(Protocol):
    """Adds one dense layer to a graph."""

    def __call__(self, graph: GraphBuilder, name: str, rows: str, matrix: FloatArray, bias: FloatArray) -> str:
        """Nodes for `rows @ matrix.T + bias`; rows `(tokens, in)`, matrix `(out, in)`; returns the output's name."""
        ...


class ExactDense:
    """Dense layers in float32. `inputs` maps the name of each layer to the tensor it read, for calibration."""

    def __init__(self) -> None:
        self.inputs: dict[str, str] = {}

    def __call__(self, graph: GraphBuilder, name: str, rows: str, matrix: FloatArray, bias: FloatArray) -> str:
        """See `Dense`."""
        self.inputs[name] = rows
        return graph.op("Gemm", rows, graph.constant(f"{name}.weight", matrix.T), graph.constant(f"{name}.bias", bias))


def quantize_rows(matrix: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Symmetric int8 codes `(n, m)` and one float32 scale per row `(n, 1)`, such that `codes * scales ~ matrix`."""
    peaks = np.abs(matrix).max(axis=1, keepdims=True)
    scales = (np.where(peaks > 0, peaks, 1) / 127).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales


def merge_attention(weights: Weights, shape: BertShape) -> dict[str, FloatArray]:
    """Copy of `weights` with query, key and value of each layer as one layer `qkv`, the scale of the scores folded in.

    The score of two heads is `q . k / sqrt(channels per head)` (Vaswani et al. 2017, equation 1).
    """
    merged = dict(weights)
    scale = np.float32((shape.dim // shape.heads) ** -0.5)
    for number in range(shape.layers):
        at = f"encoder.layer.{number}"
        for part in ("weight", "bias"):
            query, key, value = (merged.pop(f"{at}.attention.self.{x}.{part}") for x in ("query", "key", "value"))
            merged[f"{at}.qkv.{part}"] = np.concatenate([query * scale, key, value])
    return merged


def dense_names(shape: BertShape) -> list[str]:
    """Names of all dense layers, in order."""
    kinds = ("qkv", "attention.output.dense", "intermediate.dense", "output.dense")
    return [f"encoder.layer.{number}.{kind}" for number in range(shape.layers) for kind in kinds]


def build_graph(weights: Weights, shape: BertShape, dense: Dense, rotation: FloatArray | None = None) -> GraphBuilder:
    """Nodes from the inputs `ids`, `lengths` and `dims` to the output `vectors`.

    weights: as given by `merge_attention`. rotation: `(dim, dim)` float32 applied to the last hidden states.
    The vectors are the first `dims` values of the rotated states, scaled to length 1.
    """
    graph = GraphBuilder()
    hidden = _hidden(graph, weights, shape, dense)
    if rotation is not None:
        hidden = graph.op("MatMul", hidden, graph.constant("rotation", rotation))
    kept = graph.op("Slice", hidden, graph.integers(0), "dims", graph.integers(1))
    graph.nodes.append(helper.make_node("LpNormalization", [kept], ["vectors"], axis=-1, p=2))
    return graph


def build_pair_graph(weights: Weights, shape: BertShape, dense: Dense) -> GraphBuilder:
    """Nodes of a cross-encoder, from `input_ids`, `attention_mask` and `token_type_ids` to `logits`.

    weights: as given by `merge_attention`, with a pooler and a `classifier` of one label. Padding, which stands behind
    the tokens of a pair, is dropped before the first layer.
    """
    graph = GraphBuilder()
    graph.nodes.append(helper.make_node("ReduceSum", ["attention_mask", graph.integers(1)], ["lengths"], keepdims=0))
    mask = graph.op("Cast", graph.op("Reshape", "attention_mask", graph.integers(-1)), to=TensorProto.BOOL)
    for name, flat in (("input_ids", "ids"), ("token_type_ids", "types")):
        cells = graph.op("Reshape", name, graph.integers(-1))
        graph.nodes.append(helper.make_node("Compress", [cells, mask], [flat], axis=0))
    hidden = _hidden(graph, weights, shape, dense, types="types")
    starts = graph.op("CumSum", "lengths", graph.constant("zero", np.int64(0)), exclusive=1)
    exact = ExactDense()
    pooled = graph.op("Tanh", _apply(graph, "pooler.dense", graph.op("Gather", hidden, starts), weights, exact))
    graph.nodes.append(helper.make_node("Identity", [_apply(graph, "classifier", pooled, weights, exact)], ["logits"]))
    return graph


def make_model(graph: GraphBuilder, name: str, extra_outputs: tuple[str, ...] = ()) -> onnx.ModelProto:
    """Wrap the nodes of `build_graph` as a checked ONNX model.

    Inputs, all int64: `ids` (tokens,), `lengths` (texts,) tokens of each text, `dims` (1,) dimensions to return.
    Output: `vectors` (tokens, dims) float32.
    """
    sizes: dict[str, Sizes] = {"ids": ["tokens"], "lengths": ["texts"], "dims": [1]}
    outputs: dict[str, Sizes] = {"vectors": ["tokens", "kept"], **{output: [None] for output in extra_outputs}}
    return _checked(graph, name, sizes, outputs)


def make_pair_model(graph: GraphBuilder, name: str, extra_outputs: tuple[str, ...] = ()) -> onnx.ModelProto:
    """Wrap the nodes of `build_pair_graph` as a checked ONNX model, with the inputs that exporters of others write.

    Inputs: `input_ids`, `attention_mask` and `token_type_ids`, all `(pairs, longest)` int64. Output: `logits`
    `(pairs, 1)` float32.
    """
    grid: Sizes = ["pairs", "longest"]
    sizes = {"input_ids": grid, "attention_mask": grid, "token_type_ids": grid}
    outputs: dict[str, Sizes] = {"logits": ["pairs", 1], **{output: [None] for output in extra_outputs}}
    return _checked(graph, name, sizes, outputs)


def _checked(
    graph: GraphBuilder, name: str, inputs: Mapping[str, Sizes], outputs: Mapping[str, Sizes]
) -> onnx.ModelProto:
    made = helper.make_graph(
        graph.nodes,
        name,
        [helper.make_tensor_value_info(key, TensorProto.INT64, sizes) for key, sizes in inputs.items()],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, sizes) for key, sizes in outputs.items()],
        list(graph.constants.values()),
    )
    domains = sorted({node.domain for node in graph.nodes})
    imports = [helper.make_opsetid(domain, 1 if domain else OPSET) for domain in domains]
    model = helper.make_model(made, opset_imports=imports, producer_name="latefold")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


@dataclass(frozen=True)
class _Layout:
    """Where the flat tokens stand in the padded grid of the attention: names of tensors.

    slots: `(texts * longest,)` row of the flat array for each cell. rows: `(tokens,)` cell of each token.
    positions: `(tokens,)` place of each token in its text. mask: `(texts, 1, 1, longest)` 0 or the lowest float.
    grid: `(5,)` shape that splits the cells into texts, positions, (query, key, value), heads and channels.
    """

    slots: str
    rows: str
    positions: str
    mask: str
    grid: str


def _layout(graph: GraphBuilder, shape: BertShape) -> _Layout:
    zero, one = graph.constant("zero", np.int64(0)), graph.constant("one", np.int64(1))
    longest = graph.op("ReduceMax", "lengths", keepdims=0)
    steps = graph.op("Range", zero, longest, one)
    filled = graph.op("Less", steps, graph.op("Unsqueeze", "lengths", graph.integers(1)))
    flat = graph.op("Reshape", filled, graph.integers(-1))
    rows = graph.op("Squeeze", graph.op("NonZero", flat), graph.integers(0))
    seen = graph.op("CumSum", graph.op("Cast", flat, to=TensorProto.INT64), zero)
    slots = graph.op("Max", graph.op("Sub", seen, graph.integers(1)), graph.integers(0))
    kept = graph.constant("kept", np.float32(0))
    dropped = graph.constant("dropped", np.finfo(np.float32).min)
    mask = graph.op("Where", graph.op("Unsqueeze", filled, graph.integers(1, 2)), kept, dropped)
    width = graph.op("Unsqueeze", longest, graph.integers(0))
    heads = graph.integers(3, shape.heads, shape.dim // shape.heads)
    grid = graph.op("Concat", graph.integers(-1), width, heads, axis=0)
    return _Layout(slots, rows, graph.op("Mod", rows, longest), mask, grid)


def _embeddings(graph: GraphBuilder, layout: _Layout, weights: Weights, shape: BertShape, types: str = "") -> str:
    """Word, position and segment embeddings; words are stored as int8, and only the rows looked up are expanded.

    types: name of the `(tokens,)` segment of each token; all are of the first when empty.
    """
    codes, scales = quantize_rows(weights[WORDS])
    found = graph.op("Gather", graph.constant("words.codes", codes), "ids")
    scale = graph.op("Gather", graph.constant("words.scales", scales), "ids")
    words = graph.op("Mul", graph.op("Cast", found, to=TensorProto.FLOAT), scale)
    places = weights["embeddings.position_embeddings.weight"][: shape.positions]
    kinds = weights["embeddings.token_type_embeddings.weight"]
    table = graph.constant("positions", places + kinds[0])
    total = graph.op("Add", words, graph.op("Gather", table, layout.positions))
    if types:
        total = graph.op("Add", total, graph.op("Gather", graph.constant("types.table", kinds - kinds[0]), types))
    return graph.layer_norm("embeddings.LayerNorm", total, weights, shape.epsilon)


def _hidden(graph: GraphBuilder, weights: Weights, shape: BertShape, dense: Dense, types: str = "") -> str:
    """Nodes from `ids` and `lengths` to the `(tokens, dim)` states of the last layer."""
    layout = _layout(graph, shape)
    hidden = _embeddings(graph, layout, weights, shape, types)
    for number in range(shape.layers):
        hidden = _layer(graph, f"encoder.layer.{number}", hidden, layout, weights, shape, dense)
    return hidden


def _apply(graph: GraphBuilder, name: str, rows: str, weights: Weights, dense: Dense) -> str:
    return dense(graph, name, rows, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _attention(graph: GraphBuilder, layout: _Layout, qkv: str, shape: BertShape) -> str:
    cells = graph.op("Reshape", graph.op("Gather", qkv, layout.slots), layout.grid)
    heads = graph.op("Transpose", cells, perm=[2, 0, 3, 1, 4])
    parts = [graph.constant(f"part_{i}", np.int64(i)) for i in range(3)]
    query, key, value = (graph.op("Gather", heads, part, axis=0) for part in parts)
    scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
    shares = graph.op("Softmax", graph.op("Add", scores, layout.mask), axis=-1)
    mixed = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    return graph.op("Gather", graph.op("Reshape", mixed, graph.integers(-1, shape.dim)), layout.rows)


def _layer(
    graph: GraphBuilder, at: str, hidden: str, layout: _Layout, weights: Weights, shape: BertShape, dense: Dense
) -> str:
    """One post-normalized transformer layer (Devlin et al. 2019)."""

    def apply(name: str, rows: str) -> str:
        return _apply(graph, f"{at}.{name}", rows, weights, dense)

    def add(name: str, rows: str) -> str:
        return graph.layer_norm(f"{at}.{name}", graph.op("Add", hidden, rows), weights, shape.epsilon)

    mixed = _attention(graph, layout, apply("qkv", hidden), shape)
    hidden = add("attention.output.LayerNorm", apply("attention.output.dense", mixed))
    inner = graph.op("Gelu", apply("intermediate.dense", hidden))
    return add("output.LayerNorm", apply("output.dense", inner))
