"""Any cross-encoder checkpoint that `sentence-transformers` can load (extra `models`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..checkpoint import find_checkpoint, vet_weights, weights_hash
from ..embeddings import FloatArray
from ..errors import EncoderError, InvalidInputError, MissingExtraError
from .base import Pair, checked_pairs, checked_scores

BATCH = 32
_DEFAULT_LABELS = 2


class SentenceTransformersScorer:
    """Scores of pairs by a `sentence_transformers.CrossEncoder` of one label, without its activation function.

    Weights are loaded from safetensors files only, as float32, and no code of the checkpoint is ever run. With
    `threads`, torch is limited to that many CPU threads in the whole process.
    """

    def __init__(self, name: str, *, threads: int | None = None, offline: bool = False) -> None:
        """Find, vet and load the checkpoint `name`, a folder or a hub name.

        Raises `EncoderError` when it is missing, unfit or refused, `MissingExtraError` without the extra `models`.
        """
        if threads is not None and threads < 1:
            raise InvalidInputError(f"threads is {threads}; expected at least 1, or None for all cores")
        self._folder = find_checkpoint(name, offline=offline, trust_remote_code=False)
        vet_weights(self._folder)
        _require_classifier(self._folder)
        self._model = _load(name, self._folder, threads)

    @cached_property
    def fingerprint(self) -> str:
        """`cross-encoder:` and the hash of the files that shape scores."""
        return f"cross-encoder:{weights_hash(self._folder)}"

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """`(n,)` float32 logits, in order. Raises `ScorerError` on scores that are no finite numbers."""
        import torch

        asked = checked_pairs(pairs)
        if not asked:
            return checked_scores([], 0, str(self._folder))
        made = self._model.predict(
            asked, batch_size=BATCH, show_progress_bar=False, activation_fn=torch.nn.Identity(), convert_to_numpy=True
        )
        return checked_scores(made, len(asked), f"the model in {self._folder}")


def _require_classifier(folder: Path) -> None:
    """Refuse a checkpoint whose classifier is missing, which would be put in place at random, or has many labels."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        architectures = [str(name) for name in config["architectures"]]
        labels = int(config.get("num_labels", len(config.get("id2label", range(_DEFAULT_LABELS)))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EncoderError(f"cannot read config.json of the model in {folder}: {error!r}") from error
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        raise EncoderError(f"{folder} holds no cross-encoder: its architecture is {', '.join(architectures)}")
    if labels != 1:
        raise EncoderError(f"the model in {folder} gives {labels} labels a pair; a scorer gives one")


def _load(name: str, folder: Path, threads: int | None) -> Any:
    try:
        import torch
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError(f"the cross-encoder {name!r}", "models") from error
    from safetensors import SafetensorError

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        return CrossEncoder(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise EncoderError(f"cannot load the cross-encoder {name!r} from {folder}: {error}") from error
