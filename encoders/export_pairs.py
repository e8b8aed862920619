"""Makes an int8 cross-encoder folder for `OnnxCrossEncoder` from a BERT classifier of one label; no torch.

    python -m latefold.encoders.export_pairs --checkpoint CHECKPOINT --pairs pairs.jsonl --out FOLDER

CHECKPOINT has `config.json`, `model.safetensors` and `tokenizer.json`, as `transformers` saves them; `pairs.jsonl` has
a `query` and a `passage` a line, of the sort that will be scored: they show which activation channels are outliers (see
`export_int8`). The same files give the same bytes. Needs the extra `export`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers
from safetensors import SafetensorError
from safetensors.numpy import load

from .batches import length_batches
from .embeddings import IntArray
from .errors import EncoderError, InvalidInputError
from .export_graph import (
    BertShape,
    ExactDense,
    FloatArray,
    Weights,
    build_pair_graph,
    make_pair_model,
    merge_attention,
    require_bert,
)
from .export_int8 import Int8Dense, outlier_probes, smoothing_factors
from .scorers.base import Pair
from .scorers.onnx_pairs import describe_folder, padded

MAX_TOKENS = 256
MAX_PAIRS = 2_000
TOKENS_PER_BATCH = 4096


def export_cross_encoder(checkpoint: Path, out: Path, pairs: Sequence[Pair], *, max_tokens: int = MAX_TOKENS) -> None:
    """Write `model.onnx`, `tokenizer.json` and `model.json` to `out`; pairs of up to `max_tokens` will be scored.

    pairs: at least one, to calibrate on. Raises `EncoderError` where the checkpoint is no BERT classifier of one label,
    and `InvalidInputError` without pairs.
    """
    if not pairs:
        raise InvalidInputError("an int8 cross-encoder is calibrated on pairs: give at least one pair")
    weights, shape, tokenizer = _read(checkpoint, max_tokens)
    smoothing = _smoothing(weights, shape, tokenizer, pairs[:: max(1, len(pairs) // MAX_PAIRS)])
    model = make_pair_model(build_pair_graph(weights, shape, Int8Dense(smoothing)), "cross-encoder")
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (out / "tokenizer.json").write_bytes(tokenizer)
    describe_folder(out, shape.positions)


def _read(checkpoint: Path, max_tokens: int) -> tuple[dict[str, FloatArray], BertShape, bytes]:
    try:
        config: Mapping[str, Any] = json.loads((checkpoint / "config.json").read_bytes())
        require_bert(checkpoint, config)
        shape = BertShape.of(config, max_tokens)
        stored = load((checkpoint / "model.safetensors").read_bytes())
        floats = {name.removeprefix("bert."): np.asarray(array, np.float32) for name, array in stored.items()}
        weights = merge_attention(floats, shape)
        labels = weights["classifier.weight"].shape
        tokenizer = (checkpoint / "tokenizer.json").read_bytes()
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise EncoderError(f"{checkpoint} holds no BERT classifier that can be exported: {error!r}") from error
    if labels != (1, shape.dim):
        raise EncoderError(f"the classifier in {checkpoint} gives {labels[0]} labels a pair; a scorer gives one")
    return weights, shape, tokenizer


def _smoothing(weights: Weights, shape: BertShape, tokenizer: bytes, pairs: Sequence[Pair]) -> dict[str, FloatArray]:
    """Factors of the channels that are outliers when the float32 model reads the pairs."""
    dense = ExactDense()
    graph = build_pair_graph(weights, shape, dense)
    probes = outlier_probes(graph, dense, shape)
    model = make_pair_model(graph, "calibration", tuple(probes.values()))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    cutter = tokenizers.Tokenizer.from_buffer(tokenizer)
    cutter.no_padding()
    cutter.enable_truncation(shape.positions)
    encoded = [cutter.encode(*pair) for pair in pairs]
    peaks = [np.zeros(shape.dim, np.float32) for _ in probes]
    lengths: IntArray = np.array([len(item.ids) for item in encoded], np.int64)
    for batch in length_batches(lengths, TOKENS_PER_BATCH):
        found = session.run(list(probes.values()), padded([encoded[i] for i in batch]))
        peaks = [np.maximum(old, new) for old, new in zip(peaks, found, strict=True)]
    return {name: smoothing_factors(peak, weights[f"{name}.weight"]) for name, peak in zip(probes, peaks, strict=True)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m latefold.encoders.export_pairs`."""
    parser = argparse.ArgumentParser(description="Make an int8 cross-encoder folder from a BERT classifier.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the classifier")
    parser.add_argument("--pairs", type=Path, required=True, help="JSONL file of queries and passages to calibrate on")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="where pairs are cut (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parser.parse_args(arguments)
    records = [json.loads(line) for line in given.pairs.read_text(encoding="utf-8").splitlines() if line.strip()]
    pairs = [(str(record["query"]), str(record["passage"])) for record in records]
    export_cross_encoder(given.checkpoint, given.out, pairs, max_tokens=given.max_tokens)
    sizes = {file.name: file.stat().st_size for file in sorted(given.out.iterdir())}
    sys.stdout.write(json.dumps(sizes, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
