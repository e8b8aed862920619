"""A training run, from its configuration to a checkpoint: data, cached vectors, mining, training, manifest, curves."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ..base import Encoder, Progress
from ..embeddings import IntArray
from ..errors import InvalidInputError, MissingExtraError, StorageError
from ..head import HEAD_FILE, Head
from .cache import TokenCache, cache_tokens
from .config import TrainingConfig
from .metrics import Folded
from .mining import Batches, Corpus, Neighbours, mean_neighbours, neighbour_rows
from .pairs import Pairs, read_pairs
from .teacher import Frequencies, Teacher

MANIFEST_FILE, CURVES_FILE = "manifest.json", "curves.json"
CHECKPOINT_FOLDER, MODEL_FOLDER, CACHE_FOLDER = "checkpoints", "model", "cache"
TIMES = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
EXTRA = ("torch", "transformers", "sentence_transformers", "datasets", "accelerate")
LIBRARIES = ("torch", "sentence-transformers", "transformers", "numpy")


def train(
    config: TrainingConfig,
    output: Path,
    *,
    cache: Path | None = None,
    neighbours: Neighbours | None = None,
    folded: Folded | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train, and write to the folder `output`; the same call goes on where an interrupted one stopped.

    Files: `manifest.json` (configuration, SHA-256 of the data, versions, result), `curves.json` (losses and metrics by
    step), `head.safetensors` (mix, weight, bias), `model/` (the whole checkpoint, where its float32 weights are known),
    `checkpoints/`, and `cache/` of token vectors unless `cache` names another folder, which runs may share.

    neighbours: finds hard negatives for `run.mining = "index"`. folded: one more metric. restart: discard checkpoints.

    Returns the result: pairs, steps, metrics before and after. Raises `InvalidInputError` when the data are unfit or
    the folder holds another run, `MissingExtraError` without the extra `models`, `EncoderError`, `StorageError`.
    """
    if not all(find_spec(name) for name in EXTRA):
        raise MissingExtraError("training", "models")
    from .backbone import quiet

    with quiet():
        return _train(config, output, cache or output / CACHE_FOLDER, neighbours, folded, progress, restart=restart)


def _train(
    config: TrainingConfig,
    output: Path,
    cache: Path,
    neighbours: Neighbours | None,
    folded: Folded | None,
    progress: Progress | None,
    *,
    restart: bool,
) -> dict[str, Any]:
    from . import backbone, trainer

    pairs = read_pairs(config.data.files)
    rows, held = pairs.split(config.data.held_out, config.run.seed)
    if len(rows) < 2:
        raise InvalidInputError(f"there are {len(rows)} pairs to train on; at least 2 are needed")
    encoder = backbone.frozen_encoder(config.model, cache)
    facts = describe(config, pairs, encoder)
    prepare_output(output, facts, restart=restart)
    queries = cache_tokens(cache, pairs.queries, encoder, config.data.query_tokens, "encode queries", progress)
    documents = cache_tokens(cache, pairs.passages, encoder, config.data.document_tokens, "encode passages", progress)
    run, loss = config.run, config.loss
    steps = run.steps or max(1, math.ceil(run.epochs * len(rows) / run.batch))
    batches = Batches(pairs.sources[rows], np.empty((len(rows), 0), np.int64), run.batch, run.group, run.seed)
    seeds = batches.seeds(steps)
    near = find_neighbours(config, pairs, rows, seeds, (queries, documents), cache, neighbours, progress)
    material = trainer.Material(
        pairs,
        rows,
        Teacher(queries, documents, Frequencies.of(documents), loss.maxsim, loss.pooled, loss.bm25),
        replace(batches, neighbours=near),
        steps,
    )
    evaluator = trainer.HeldOut.of(pairs, held, config, folded) if len(held) >= 2 else None
    import torch

    torch.manual_seed(run.seed)
    model = backbone.build_model(config.model, encoder, queries, documents)
    base = backbone.trainable(model)
    history = trainer.fit(model, config, material, output / CHECKPOINT_FOLDER, evaluator, progress)
    if backbone.settle(model, base, config.model) and evaluator is not None:
        history.append({"step": steps} | {f"eval_{name}": value for name, value in evaluator(model).items()})
    result = summarise(history) | {"pairs": len(rows), "held_out": len(held), "steps": steps}
    save_head(output / HEAD_FILE, model[1], config.model.final_marker)
    whole = backbone.complete_model(model, config.model, encoder, pairs.passages, config.pooling.saved)
    if whole is not None:
        whole.save(str(output / MODEL_FOLDER), create_model_card=False)
        result["model"] = MODEL_FOLDER
    write_json(output / CURVES_FILE, curves(history))
    write_json(output / MANIFEST_FILE, facts | {"result": result})
    return result


def describe(config: TrainingConfig, pairs: Pairs, encoder: Encoder) -> dict[str, Any]:
    """What reproduces a run, as JSON: configuration, hashes of data and base, versions."""
    return {
        "config": json.loads(json.dumps(config.to_dict())),
        "data": pairs.files,
        "base": encoder.fingerprint.digest,
        "versions": {"latefold": __version__} | {name: version(name) for name in LIBRARIES},
    }


def prepare_output(output: Path, facts: Mapping[str, Any], *, restart: bool) -> None:
    """Make the folder and write the manifest. Raises `InvalidInputError` when another run's checkpoints are in it."""
    try:
        manifest = output / MANIFEST_FILE
        if restart:
            shutil.rmtree(output / CHECKPOINT_FOLDER, ignore_errors=True)
        elif manifest.exists() and (output / CHECKPOINT_FOLDER).exists():
            stored = json.loads(manifest.read_bytes())
            changed = [key for key in ("config", "data", "base") if stored.get(key) != facts[key]]
            if changed:
                raise InvalidInputError(
                    f"{output} holds checkpoints of a run with other {' and '.join(changed)}; choose another folder, or"
                    " restart to discard them"
                )
        output.mkdir(parents=True, exist_ok=True)
        write_json(manifest, facts)
    except OSError as error:
        raise StorageError(error.errno, f"the folder {output} cannot be written: {error.strerror}") from error


def find_neighbours(
    config: TrainingConfig,
    pairs: Pairs,
    rows: IntArray,
    seeds: IntArray,
    caches: tuple[TokenCache, TokenCache],
    folder: Path,
    neighbours: Neighbours | None,
    progress: Progress | None,
) -> IntArray:
    """`(len(rows), count)` neighbours of each row, as places in `rows`; kept below `folder` for the next run.

    seeds: places in `rows` that an index is asked for; the others have no neighbours then.
    """
    run, (queries, documents) = config.run, caches
    if run.mining == "none":
        return np.empty((len(rows), 0), np.int64)
    shown, answers = np.unique(pairs.positives[rows], return_inverse=True)
    key = f"{run.mining} {run.neighbours} {queries.digest} {documents.digest} ".encode()
    key += rows.tobytes() + pairs.positives[rows].tobytes() + seeds.tobytes() * (run.mining == "index")
    file = folder / f"neighbours-{hashlib.sha256(key).hexdigest()[:16]}.npy"
    if file.exists():
        return neighbour_rows(np.load(file), answers)
    places = np.array([documents.texts[pairs.passages[i]] for i in shown], np.int64)
    if run.mining == "means":
        found = mean_neighbours(documents.means()[places], run.neighbours, progress)[answers]
    elif neighbours is None:
        raise InvalidInputError('run.mining is "index", but nothing was given to search with; use "means" or "none"')
    else:
        texts = [pairs.queries[i] for i in rows[seeds]]
        asked = np.array([queries.texts[text] for text in texts], np.int64)
        corpus = Corpus(
            texts,
            [pairs.passages[i] for i in shown],
            answers[seeds],
            lambda part: queries.embeddings(asked[part]),
            lambda part: documents.embeddings(places[part]),
        )
        found = np.full((len(rows), run.neighbours), -1, np.int64)
        found[seeds] = neighbours(corpus, run.neighbours, progress)
    fresh = file.with_suffix(".new.npy")
    np.save(fresh, found)
    fresh.replace(file)
    return neighbour_rows(found, answers)


def curves(history: list[dict[str, float]]) -> dict[str, list[dict[str, float]]]:
    """The logged numbers as two lists by step: `train` (losses) and `evaluation` (metrics)."""
    train = [entry for entry in history if "loss" in entry]
    evaluated: dict[int, dict[str, float]] = {}
    for entry in history:
        metrics = {key[5:]: value for key, value in entry.items() if key.startswith("eval_") and key not in TIMES}
        if metrics:
            evaluated[int(entry["step"])] = {"step": entry["step"]} | metrics
    return {"train": train, "evaluation": list(evaluated.values())}


def summarise(history: list[dict[str, float]]) -> dict[str, Any]:
    """Metrics before and after training."""
    evaluated = curves(history)["evaluation"]
    return {"before": evaluated[0], "after": evaluated[-1]} if evaluated else {}


def save_head(path: Path, module: Any, marker: float = 1.0) -> None:
    """Write a `TokenHead` and the weight of the marker as safetensors that `head.Head` reads."""
    values = {name: value.float().cpu().numpy() for name, value in module.state_dict().items()}
    path.write_bytes(Head(values["mix"][0], values["weight"], values["bias"], marker).to_bytes())


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
