"""From a trained model to a folder that `load_encoder` reads without torch: graph, tokenizer and head."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..embeddings import FloatArray
from ..errors import EncoderError, InvalidInputError, MissingExtraError
from ..export_head import write_head_folder
from ..head import HEAD_FILE, Head
from ..model_folder import GRAPH_FILE, bundled_names, find_bundled
from ..pooling.base import Pooling
from .run import MANIFEST_FILE, MODEL_FOLDER


def export_run(run: Path, out: Path) -> None:
    """Write the model of a finished run, as a folder that `load_encoder` takes by its path.

    A head over a bundled model refers to that model by name, and brings what training changed in its graph. Another
    Transformer becomes an int8 ONNX graph of its own. Both but a frozen bundled model need the extra `export`.

    Raises `InvalidInputError` where there is no finished run, `EncoderError` where the Transformer cannot be exported.
    """
    if out.resolve() == run.resolve():
        raise InvalidInputError(f"{out} is the folder of the run; export to another one")
    try:
        manifest = json.loads((run / MANIFEST_FILE).read_bytes())
        head = Head.read((run / HEAD_FILE).read_bytes())
        training = portable(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{run} holds no finished training run: {error!r}") from error
    model, pooling = manifest["config"]["model"], Pooling.parse(manifest["config"]["pooling"]["saved"])
    settings: dict[str, Any] = {"nested": model["nested"], "pooling": pooling, "training": training}
    if model["base"] not in bundled_names():
        corpus = [Path(entry["file"]) for entry in manifest["data"]]
        rotation = write_backbone(run / MODEL_FOLDER, out, corpus=corpus)
        write_head_folder(out, _turned(head, rotation), backbone=out, **settings)
        return
    graph = None
    if model["unfrozen_layers"]:
        with tempfile.TemporaryDirectory() as made:
            rotation = write_backbone(run / MODEL_FOLDER, Path(made), like=find_bundled(model["base"]).folder.path)
            graph, head = (Path(made) / GRAPH_FILE).read_bytes(), _turned(head, rotation)
    write_head_folder(out, head, backbone=model["base"], graph=graph, **settings)


def write_backbone(checkpoint: Path, out: Path, *, corpus: Sequence[Path] = (), like: Path | None = None) -> FloatArray:
    """Write the BERT of a checkpoint as an int8 graph that rotates its vectors, and its tokenizer.

    corpus: JSON Lines files whose texts show the activations to quantize. like: a model folder to take rotation and
    outliers from instead, so that layers with the same weights become the same bytes.

    Returns the rotation `(dim, dim)` float32.
    """
    try:
        from safetensors.numpy import load

        from .. import export_minilm as exporter
        from ..export_graph import BertShape, merge_attention, require_bert
    except ImportError as error:
        raise MissingExtraError("exporting the Transformer", "export") from error
    try:
        config: Mapping[str, Any] = json.loads((checkpoint / "config.json").read_bytes())
        require_bert(checkpoint, config)
        stored = (checkpoint / "model.safetensors").read_bytes()
        shape = BertShape.of(config, exporter.MAX_TOKENS)
        weights = merge_attention(load(stored), shape)
        tokenizer = (checkpoint / "tokenizer.json").read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise EncoderError(f"{checkpoint} holds no BERT that can be exported: {error!r}") from error
    package = exporter.Package(weights, shape, tokenizer, checkpoint.name, hashlib.sha256(stored).hexdigest())
    calibration = exporter.reuse(like) if like else exporter.calibrate(package, corpus)
    exporter.write_model(package, calibration, out)
    return calibration.rotation


def portable(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A run's manifest without its course, and with files and folders by their last names: fit to travel."""
    made: dict[str, Any] = json.loads(json.dumps({**manifest, "result": manifest["result"].get("after", {})}))
    data, model = made["config"]["data"], made["config"]["model"]
    data["files"] = [Path(name).name for name in data["files"]]
    made["data"] = [entry | {"file": Path(entry["file"]).name} for entry in made["data"]]
    for key in ("base", "checkpoint"):
        model[key] = Path(model[key]).name
    return made


def _turned(head: Head, rotation: FloatArray) -> Head:
    """The head that reads rotated vectors."""
    return replace(head, weight=np.ascontiguousarray(rotation.T @ head.weight, np.float32))
