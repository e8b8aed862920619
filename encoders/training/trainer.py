"""The training loop: sentence-transformers' trainer with our batches, teacher, objective and evaluation."""

from __future__ import annotations

import math
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator
from transformers import PrinterCallback, TrainerCallback

from ..base import Progress
from ..embeddings import FloatArray, IntArray, TokenEmbeddings
from .config import TrainingConfig
from .losses import CrispLoss
from .metrics import Folded, measure
from .mining import Batches
from .pairs import Pairs
from .teacher import Teacher, standardise

TRAINED_FILE = "trained.safetensors"
CHECKPOINT_FILES = (TRAINED_FILE, "optimizer.pt", "scheduler.pt", "trainer_state.json")
"""What a whole checkpoint has; transformers writes the last one last."""
TEXTS_PER_BATCH = 64
LOGS = 50
"""Points of the training curves."""


@dataclass
class Collator(MultiVectorEncoderDataCollator):  # type: ignore[misc]  # its base is untyped
    """Makes a batch of row numbers: queries, each passage or negative once, the teacher's scores, a number to draw by.

    limits: tokens of queries and documents.
    """

    pairs: Pairs | None = None
    teacher: Teacher | None = None
    negatives: int = 0
    limits: tuple[int, int] = (0, 0)

    def __call__(self, features: list[dict[str, int]]) -> dict[str, Any]:
        """Columns `query_*` and `document_*`, as the trainer hands them on to the loss."""
        pairs = _given(self.pairs)
        rows = np.array([feature["row"] for feature in features], np.int64)
        passages = list(dict.fromkeys(
            [int(pairs.positives[i]) for i in rows] + [p for i in rows for p in pairs.negatives[i][: self.negatives]]
        ))  # fmt: skip
        texts = {"query": [pairs.queries[i] for i in rows], "document": [pairs.passages[p] for p in passages]}
        batch: dict[str, Any] = {"return_loss": True}
        for (task, inputs), limit in zip(texts.items(), self.limits, strict=True):
            made = self.preprocess_fn(inputs, prompt=None, task=task, max_length=limit)
            batch |= {f"{task}_{key}": value for key, value in made.items()}
        place = {passage: column for column, passage in enumerate(passages)}
        positives = [place[int(pairs.positives[i])] for i in rows]
        batch["document_positives"] = torch.tensor(positives)
        batch["document_teacher"] = torch.from_numpy(self._scores(rows, passages, texts))
        batch["document_draw"] = torch.tensor(zlib.crc32(rows.tobytes()))
        return batch

    def _scores(self, rows: IntArray, passages: list[int], texts: dict[str, list[str]]) -> FloatArray:
        """The teacher's scores, and in rows that came with scores those instead, -inf for documents without one."""
        pairs, teacher = _given(self.pairs), _given(self.teacher)
        asked = np.array([teacher.queries.texts[text] for text in texts["query"]], np.int64)
        answers = np.array([teacher.documents.texts[text] for text in texts["document"]], np.int64)
        scores: FloatArray = teacher.scores(asked, answers)
        place = {passage: column for column, passage in enumerate(passages)}
        for row, i in enumerate(rows):
            given = pairs.scores[i]
            if given is not None and len(given) > 1:
                listed = [int(pairs.positives[i]), *pairs.negatives[i][: self.negatives]]
                scores[row] = -np.inf
                known = standardise(np.array([given[: len(listed)]], np.float32))[0]
                scores[row, [place[passage] for passage in listed]] = known
        return scores


class RunSampler(DefaultBatchSampler):  # type: ignore[misc]
    """All batches of the run, in order."""

    def __init__(self, dataset: Dataset, batches: Batches, steps: int) -> None:
        super().__init__(dataset, batch_size=batches.size, drop_last=False)
        self._batches, self._steps = batches, steps

    def __iter__(self) -> Iterator[list[int]]:
        return (self._batches[number] for number in range(self._steps))

    def __len__(self) -> int:
        return self._steps


class HeldOut(BaseEvaluator):  # type: ignore[misc]
    """Measures a model on pairs it is not trained on.

    positives: `(queries,)` the document of each query. dims: all dimensions first, then nested ones.
    """

    def __init__(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        positives: IntArray,
        config: TrainingConfig,
        folded: Folded | None = None,
    ) -> None:
        super().__init__()
        self._texts = {"query": list(queries), "document": list(documents)}
        self._positives = positives
        self._config = config
        self._folded = folded
        self.primary_metric = f"mrr@10:{config.model.dim}:none"

    @classmethod
    def of(cls, pairs: Pairs, rows: IntArray, config: TrainingConfig, folded: Folded | None) -> HeldOut:
        """An evaluation on evenly spaced ones of some rows, among their passages."""
        rows = rows[:: max(1, math.ceil(len(rows) / config.data.evaluated))]
        shown, places = np.unique(pairs.positives[rows], return_inverse=True)
        texts = [pairs.queries[i] for i in rows], [pairs.passages[i] for i in shown]
        return cls(*texts, places, config, folded)

    def __call__(self, model: MultiVectorEncoder, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """All metrics by name, as `metrics.measure` gives them."""
        data, dim = self._config.data, self._config.model.dim
        made = {
            task: encode(model, texts, task, limit)
            for (task, texts), limit in zip(self._texts.items(), (data.query_tokens, data.document_tokens), strict=True)
        }
        poolings = dict.fromkeys(["none", *self._config.pooling.documents, self._config.pooling.saved])
        return measure(
            made["query"], made["document"], self._positives,
            dims=[dim, *self._config.model.nested], poolings=list(poolings), folded=self._folded,
        )  # fmt: skip


class Trainer(MultiVectorEncoderTrainer):  # type: ignore[misc]
    """Saves what is trained, the loss's temperature included, and nothing else of the model in its checkpoints."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card during training."""

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:  # noqa: ARG002
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = {name: value.detach().contiguous() for name, value in self._trained()}
        save_file(trained, folder / TRAINED_FILE)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        stored = load_file(Path(checkpoint_path) / TRAINED_FILE)
        with torch.no_grad():
            for name, value in self._trained():
                value.copy_(stored[name])

    def _trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        return ((name, value) for name, value in self.loss.named_parameters() if value.requires_grad)


class ProgressCallback(TrainerCallback):  # type: ignore[misc]
    """Reports steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        """One step more is done."""
        self._progress("train", state.global_step, state.max_steps)


@dataclass(frozen=True, eq=False)
class Material:
    """What a run trains on. rows: those of `pairs` to train on, which `batches` number from 0."""

    pairs: Pairs
    rows: IntArray
    teacher: Teacher
    batches: Batches
    steps: int


def fit(
    model: MultiVectorEncoder,
    config: TrainingConfig,
    material: Material,
    folder: Path,
    evaluator: HeldOut | None,
    progress: Progress | None,
) -> list[dict[str, float]]:
    """Train the model, from the last checkpoint in `folder` where there is one; returns what was logged, by step."""
    loss = CrispLoss(model, config)
    dataset = Dataset.from_dict({"row": material.rows})
    trainer = Trainer(
        model=model,
        args=_arguments(config, material, folder, evaluates=evaluator is not None),
        train_dataset=dataset,
        loss=loss,
        evaluator=evaluator,
        data_collator=Collator(
            preprocess_fn=model.preprocess,
            pairs=material.pairs,
            teacher=material.teacher,
            negatives=config.run.negatives,
            limits=(config.data.query_tokens, config.data.document_tokens),
        ),
        callbacks=[] if progress is None else [ProgressCallback(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    model.eval()
    return list(trainer.state.log_history)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; newer ones, left by a run that was killed, are removed."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    for path in sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True):
        if all((path / name).is_file() for name in CHECKPOINT_FILES):
            return str(path)
        shutil.rmtree(path)
    return None


def encode(model: MultiVectorEncoder, texts: Sequence[str], task: str, limit: int) -> TokenEmbeddings:
    """Unit token vectors of texts by the modules of a model, cached ones included, on whatever device it is."""
    items: list[FloatArray] = []
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(texts), TEXTS_PER_BATCH):
            features = model.preprocess(list(texts[start : start + TEXTS_PER_BATCH]), task=task, max_length=limit)
            known = {key: value.to(device) for key, value in features.items() if isinstance(value, torch.Tensor)}
            made = model(known, task=task)
            for vectors, mask in zip(made["token_embeddings"], made["attention_mask"].bool(), strict=True):
                items.append(vectors[mask].float().cpu().numpy())
    model.train(training)
    return TokenEmbeddings.from_list(items, dim=int(model.get_embedding_dimension() or 0))


def _arguments(
    config: TrainingConfig, material: Material, folder: Path, *, evaluates: bool
) -> MultiVectorEncoderTrainingArguments:
    run = config.run
    rates = {r"\.mix$": 3 * run.lr if config.model.learn_mix else 0.0, "log_scale$": 5 * run.lr}
    if config.model.unfrozen_layers:
        rates[r"^model\.0\."] = run.backbone_lr
    return MultiVectorEncoderTrainingArguments(
        output_dir=str(folder),
        max_steps=material.steps,
        per_device_train_batch_size=run.batch,
        learning_rate=run.lr,
        learning_rate_mapping=rates,
        lr_scheduler_type="cosine",
        warmup_steps=round(run.warmup * material.steps),
        weight_decay=run.weight_decay,
        max_grad_norm=run.clip,
        seed=run.seed,
        bf16=run.precision == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        batch_sampler=lambda dataset, **_settings: RunSampler(dataset, material.batches, material.steps),
        logging_steps=max(1, material.steps // LOGS),
        eval_strategy="steps" if evaluates else "no",
        eval_steps=run.evaluate_every,
        eval_on_start=evaluates,
        save_strategy="steps",
        save_steps=run.evaluate_every,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        remove_unused_columns=False,
    )


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("the collator has nothing to make batches of")
    return value
