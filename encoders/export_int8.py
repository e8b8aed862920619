"""Dense layers in int8 whose result for a token depends on that token alone, on every CPU.

Weights have one scale per output channel, activations one per token, found when the graph runs; products are summed
as integers, which is exact in any order. One scale per tensor, as usual in dynamic quantization, would be faster to
find but would make the vectors of a text depend on the texts encoded beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from .export_graph import BertShape, ExactDense, FloatArray, GraphBuilder, dense_names

CONTRIB = "com.microsoft"
ZERO_CODE = 128
"""Code of 0 in activations: their codes run over 1 to 255."""
GELU_ZERO_CODE = 24
"""Code of 0 in the outputs of GELU, which never fall below -0.17: most codes go to the positive values."""
GELU_LOWEST = 0.17
SMALLEST = 1e-9
"""Stands in for scales and peaks of 0."""
PAIR_LIMIT = 128
NORMALIZED_INPUTS = (".qkv", ".intermediate.dense")
"""Dense layers that read a layer normalization: only their inputs have outlying channels."""


def pair_safe_codes(matrix: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """int8 codes `(out, in)` and one scale per output channel `(out,)` that no CPU saturates on.

    Without VNNI, x86 adds the products of two neighbouring unsigned activations (at most 255) and signed weights
    into 16 bits with saturation (vpmaddubsw). Keeping the sum of two neighbouring weights of one sign within
    `PAIR_LIMIT` excludes that: 255 * 128 < 2^15.
    """
    left, right = matrix[:, 0::2], matrix[:, 1::2]
    pairs = np.where(np.sign(left) == np.sign(right), np.abs(left) + np.abs(right), 0).max(axis=1)
    peaks = np.maximum(pairs, np.abs(matrix).max(axis=1))
    scales = (np.maximum(peaks, SMALLEST) / (PAIR_LIMIT - 1)).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def smoothing_factors(peaks: FloatArray, matrix: FloatArray) -> FloatArray:
    """Powers of two `(in,)`, at least 1, that outlying channels are divided by before quantization.

    peaks: `(in,)` largest absolute activation of each input channel. matrix: `(out, in)` weights, which take the
    factors in. SmoothQuant (Xiao et al. 2023, equation 4, alpha = 0.5), kept to the channels above the median.
    """
    ratio = np.sqrt(np.maximum(peaks, SMALLEST) / np.maximum(np.abs(matrix).max(axis=0), SMALLEST))
    factors = np.exp2(np.rint(np.log2(ratio / np.median(ratio))))
    return np.asarray(np.maximum(factors, 1), np.float32)


def outlier_probes(graph: GraphBuilder, dense: ExactDense, shape: BertShape) -> dict[str, str]:
    """By layer that can have outliers, the name of a tensor with the largest absolute value of each input channel."""
    return {
        name: graph.op("ReduceMax", graph.op("Abs", dense.inputs[name]), graph.integers(0), keepdims=0)
        for name in dense_names(shape)
        if name.endswith(NORMALIZED_INPUTS)
    }


class Int8Dense:
    """A `Dense` strategy; `smoothing` maps a layer's name to the factors of its input channels."""

    def __init__(self, smoothing: Mapping[str, FloatArray]) -> None:
        self.smoothing = smoothing

    def __call__(self, graph: GraphBuilder, name: str, rows: str, matrix: FloatArray, bias: FloatArray) -> str:
        """See `Dense`."""
        if name in self.smoothing:
            factors = self.smoothing[name]
            rows = graph.op("Mul", rows, graph.constant(_smooth(name), 1 / factors))
            matrix = matrix * factors
        after_gelu = name.endswith(".output.dense") and ".attention." not in name
        zero = GELU_ZERO_CODE if after_gelu else ZERO_CODE
        scale = _gelu_scale(graph, rows) if after_gelu else _symmetric_scale(graph, rows)
        codes, scales = pair_safe_codes(matrix)
        product = graph.op(
            "MatMulIntegerToFloat",
            _quantize(graph, rows, scale, zero),
            graph.constant(f"{name}.codes", codes.T),
            graph.constant("unit", np.float32(1)),
            graph.constant(f"{name}.scales", scales),
            graph.constant(f"zero_code_{zero}", np.uint8(zero)),
            graph.constant(f"zero_codes_{len(scales)}", np.zeros(len(scales), np.int8)),
            domain=CONTRIB,
        )
        return graph.op("Add", graph.op("Mul", product, scale), graph.constant(f"{name}.bias", bias))


def stored_smoothing(model: onnx.ModelProto) -> dict[str, FloatArray]:
    """The smoothing factors that a model made with `Int8Dense` carries."""
    suffix = _smooth("")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name.endswith(suffix)}
    return {name.removesuffix(suffix): 1 / numpy_helper.to_array(tensor) for name, tensor in tensors.items()}


def _smooth(name: str) -> str:
    return f"{name}.smoothing"


def _symmetric_scale(graph: GraphBuilder, rows: str) -> str:
    """`(tokens, 1)` largest absolute value over 127."""
    high = graph.op("ReduceMax", rows, graph.integers(1), keepdims=1)
    low = graph.op("ReduceMin", rows, graph.integers(1), keepdims=1)
    peak = graph.op("Max", high, graph.op("Neg", low))
    scale = graph.op("Mul", peak, graph.constant("symmetric_step", np.float32(1 / (255 - ZERO_CODE))))
    return graph.op("Max", scale, graph.constant("smallest_scale", np.float32(SMALLEST)))


def _gelu_scale(graph: GraphBuilder, rows: str) -> str:
    """`(tokens, 1)` scale that takes both the largest value and the lowest one GELU can have."""
    high = graph.op("ReduceMax", rows, graph.integers(1), keepdims=1)
    scale = graph.op("Mul", high, graph.constant("gelu_step", np.float32(1 / (255 - GELU_ZERO_CODE))))
    return graph.op("Max", scale, graph.constant("gelu_scale", np.float32(GELU_LOWEST / GELU_ZERO_CODE)))


def _quantize(graph: GraphBuilder, rows: str, scale: str, zero: int) -> str:
    flat = graph.op("Squeeze", scale, graph.integers(1))
    zeros = graph.op(
        "Expand", graph.constant(f"zero_codes_{zero}_u8", np.array([zero], np.uint8)), graph.op("Shape", flat)
    )
    return graph.op("QuantizeLinear", rows, flat, zeros, axis=0)
