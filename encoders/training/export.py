"""From a trained model to a folder that `load_encoder` reads without torch: graph, tokenizer and head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EncoderError, InvalidInputError, MissingExtraError
from ..export_head import write_head_folder
from ..head import HEAD_FILE, Head
from ..model_folder import bundled_names
from ..pooling.base import Pooling
from .run import MANIFEST_FILE, MODEL_FOLDER


def export_run(run: Path, out: Path) -> None:
    """Write the model of a finished run, as a folder that `load_encoder` takes by its path.

    A head over a frozen bundled model refers to that model by name. Otherwise the Transformer becomes an int8 ONNX
    graph of its own, which needs the extra `export`.

    Raises `InvalidInputError` where there is no finished run, `EncoderError` where the Transformer cannot be exported.
    """
    try:
        manifest = json.loads((run / MANIFEST_FILE).read_bytes())
        head = Head.read((run / HEAD_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{run} holds no finished training run: {error}") from error
    model, pooling = manifest["config"]["model"], Pooling.parse(manifest["config"]["pooling"]["saved"])
    settings: dict[str, Any] = {"nested": model["nested"], "pooling": pooling, "training": manifest}
    if model["base"] in bundled_names() and not model["unfrozen_layers"]:
        write_head_folder(out, head, backbone=model["base"], **settings)
        return
    rotation = write_backbone(run / MODEL_FOLDER, out, [entry["file"] for entry in manifest["data"]])
    turned = Head(head.mix, np.ascontiguousarray(rotation.T @ head.weight, np.float32), head.bias)
    write_head_folder(out, turned, backbone=out, **settings)


def write_backbone(checkpoint: Path, out: Path, corpus: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Write the BERT of a checkpoint as an int8 graph that rotates its vectors, and its tokenizer.

    corpus: JSON Lines files whose texts show the activations to quantize. Returns the rotation `(dim, dim)`.
    """
    try:
        from safetensors.numpy import load

        from .. import export_minilm as exporter
        from ..export_graph import BertShape, merge_attention
    except ImportError as error:
        raise MissingExtraError("exporting the Transformer", "export") from error
    try:
        config: Mapping[str, Any] = json.loads((checkpoint / "config.json").read_bytes())
        stored = (checkpoint / "model.safetensors").read_bytes()
        shape = BertShape(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            dim=config["hidden_size"],
            positions=min(exporter.MAX_TOKENS, config["max_position_embeddings"]),
            epsilon=config["layer_norm_eps"],
        )
        weights = merge_attention(load(stored), shape)
        tokenizer = (checkpoint / "tokenizer.json").read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise EncoderError(f"{checkpoint} holds no BERT that can be exported: {error!r}") from error
    package = exporter.Package(weights, shape, tokenizer, checkpoint.name, hashlib.sha256(stored).hexdigest())
    calibration = exporter.calibrate(package, [Path(name) for name in corpus])
    exporter.write_model(package, calibration, out)
    return calibration.rotation
