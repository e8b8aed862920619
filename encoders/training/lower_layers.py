"""The frozen layers of a bundled base as its int8 graph computes them: several times faster on a CPU than in torch, and
what the trained layers above them are given when they serve.
"""  # noqa: D205

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..batches import length_batches
from ..embeddings import FloatArray, IntArray
from ..errors import EncoderError, MissingExtraError
from ..model_folder import GRAPH_FILE, ModelFolder
from ..onnx_session import cores, map_in_threads, session_of

TOKENS_PER_BATCH = 512
_LAYER_END = "LayerNormalization"
_PER_LAYER = 2
"""Normalizations of a layer of BERT; the embeddings have one before them."""


class LowerLayers(nn.Module):  # type: ignore[misc]
    """Stands for the embeddings and the lowest `count` layers of a BERT: ids `(batch, length)` to hidden states.

    Padding is told by its id. The layers that it replaces are kept aside, for `restore`.
    """

    def __init__(self, bert: Any, folder: ModelFolder, count: int) -> None:
        super().__init__()
        self._session = session_of(cut_graph(folder, count), folder)
        self._dim = int(bert.config.hidden_size)
        self._padding = int(bert.config.pad_token_id or 0)
        self._replaced = bert.embeddings, bert.encoder.layer
        bert.embeddings, bert.encoder.layer = self, bert.encoder.layer[count:]

    def restore(self, bert: Any) -> None:
        """Put the replaced layers back, below the trained ones."""
        bert.embeddings, bert.encoder.layer = self._replaced

    def forward(self, input_ids: Tensor, **_unused: Any) -> Tensor:
        """`(batch, length, dim)` float32 hidden states, 0 where there is padding."""
        ids = input_ids.cpu().numpy()
        known = ids != self._padding
        lengths = known.sum(axis=1).astype(np.int64)
        batches = list(length_batches(lengths, TOKENS_PER_BATCH))
        hidden = np.zeros((*ids.shape, self._dim), np.float32)
        made = map_in_threads(lambda batch: self._run(ids, lengths, batch), batches, cores())
        for batch, flat in zip(batches, made, strict=True):
            start = 0
            for row in batch:
                hidden[row, : lengths[row]] = flat[start : start + lengths[row]]
                start += lengths[row]
        return torch.from_numpy(hidden).to(input_ids.device)

    def _run(self, ids: IntArray, lengths: IntArray, batch: IntArray) -> FloatArray:
        flat = np.concatenate([ids[row, : lengths[row]] for row in batch]).astype(np.int64)
        (hidden,) = self._session.run(None, {"ids": flat, "lengths": lengths[batch]})
        return np.asarray(hidden, np.float32)


def cut_graph(folder: ModelFolder, layers: int) -> bytes:
    """The graph of a bundled base up to the end of one of its layers, whose hidden states it returns.

    Raises `MissingExtraError` without onnx, `EncoderError` when the graph has fewer layers.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("training above int8 layers", "export") from error
    model = onnx.load_model_from_string(folder.bytes_of(GRAPH_FILE))
    ends = [i for i, node in enumerate(model.graph.node) if node.op_type == _LAYER_END]
    if _PER_LAYER * layers >= len(ends):
        raise EncoderError(f"the graph of {folder.path} has {len(ends) // _PER_LAYER} layers, not {layers}")
    end = ends[_PER_LAYER * layers]
    hidden = model.graph.node[end].output[0]
    del model.graph.node[end + 1 :], model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(hidden, onnx.TensorProto.FLOAT, ["tokens", None]))
    inputs = [value for value in model.graph.input if value.name != "dims"]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return bytes(model.SerializeToString())
