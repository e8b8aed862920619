"""What one training run is: dataclasses read from a TOML file, which together with the data reproduces the run."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

from ..errors import InvalidInputError
from ..head import MAX_MARKER
from ..model_folder import bundled_names
from ..pooling.base import Pooling

Mining = Literal["index", "means", "none"]
Precision = Literal["float32", "bfloat16"]
_CHOICES: Final = {"mining": get_args(Mining), "precision": get_args(Precision)}


@dataclass(frozen=True)
class DataConfig:
    """files: JSON Lines of `{"query", "passage"[, "negatives"][, "scores"]}`; scores are those of the passage and then
    of each negative. query_tokens, document_tokens: longer texts are cut. held_out: share of the passages that is kept
    for evaluation. evaluated: at most so many pairs are.
    """  # noqa: D205

    files: tuple[str, ...]
    query_tokens: int = 48
    document_tokens: int = 128
    held_out: float = 0.02
    evaluated: int = 1000


@dataclass(frozen=True)
class ModelConfig:
    """base: a bundled encoder, or a folder with a BERT of sentence-transformers or transformers. checkpoint: a folder
    with the float32 weights of a bundled base, which a full checkpoint and unfrozen layers need. dim: of the trained
    vectors; nested: prefixes of them that are trained as well. mix: share of the text's mean vector added to each
    token; learn_mix: train it too, which on short passages drives it to 0. unfrozen_layers: top layers of the backbone
    that are trained; 0 trains the head alone. frozen_int8: the layers below them run as the int8 graph of a bundled
    base, which they are in the exported encoder too; several times faster on a CPU (extra `export`). marker: how much
    the first vector of a query counts, that of the marker which stands for all of it; others count 1; saved_marker: in
    the model that is saved, 0 for as much. share: how far from the base towards the trained weights those lie that are
    saved; less than 1 keeps more of what the base knows of other texts (WiSE-FT, Wortsman et al. 2022, arXiv
    2109.01903).
    """  # noqa: D205

    base: str = "minilm"
    checkpoint: str = ""
    dim: int = 128
    nested: tuple[int, ...] = (32, 64, 96)
    mix: float = 0.4
    learn_mix: bool = False
    unfrozen_layers: int = 0
    frozen_int8: bool = False
    marker: float = 1.0
    saved_marker: float = 0.0
    share: float = 1.0

    @property
    def final_marker(self) -> float:
        """How much the marker counts in the model that is saved."""
        return self.saved_marker or self.marker


@dataclass(frozen=True)
class PoolingConfig:
    """documents, queries: poolings by name; each batch is pooled by one drawn from each list. and_unpooled: each batch
    is also trained as it is, beside the pooling drawn. iterations: Lloyd steps at most while training. saved: pooling
    of documents that the saved checkpoint applies.
    """  # noqa: D205

    documents: tuple[str, ...] = ("none",)
    queries: tuple[str, ...] = ("none",)
    and_unpooled: bool = False
    iterations: int = 6
    saved: str = "none"


@dataclass(frozen=True)
class LossConfig:
    """contrastive, distillation, marker, regulariser: weights; that of the marker is for distillation into the first
    query vector alone. temperature: of the mean cosine of a query token's best match; learned from there on with
    learn_temperature. nested_per_step: how many of the nested dimensions a step trains beside all; 0 trains all of
    them. teacher_temperature: of the standardised teacher scores. maxsim, pooled, bm25: weights of the teacher's parts.
    """  # noqa: D205

    contrastive: float = 0.3
    distillation: float = 1.0
    marker: float = 0.0
    regulariser: float = 0.0
    temperature: float = 0.03
    learn_temperature: bool = True
    nested_per_step: int = 1
    teacher_temperature: float = 0.4
    maxsim: float = 1.0
    pooled: float = 0.5
    bm25: float = 0.5


@dataclass(frozen=True)
class RunConfig:
    """steps: of the optimiser; where 0, as many as `epochs` over the data take. batch: pairs a step. mining: whose
    passages share a batch: `index`, neighbours by hybrid search in an index; `means`, by the cosine of mean vectors;
    `none`, random ones. group: pairs that come from one neighbourhood of the `neighbours` nearest. negatives: explicit
    ones of each pair at most. warmup: share of the steps in which the rates rise. evaluate_every: steps between
    evaluations, each of which leaves a checkpoint.
    """  # noqa: D205

    steps: int = 0
    epochs: float = 2.0
    batch: int = 64
    mining: Mining = "index"
    neighbours: int = 24
    group: int = 8
    negatives: int = 4
    lr: float = 2e-3
    backbone_lr: float = 2e-5
    warmup: float = 0.08
    weight_decay: float = 0.0
    clip: float = 1.0
    precision: Precision = "float32"
    evaluate_every: int = 200
    seed: int = 0


@dataclass(frozen=True)
class TrainingConfig:
    """One training run."""

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        for low, values in ((0, _not_negative(self)), (1, _positive(self))):
            for name, value in values.items():
                if not (math.isfinite(value) and value >= low):
                    raise InvalidInputError(f"{name} is {value}; expected at least {low}")
        self._require_ranges()
        for text in (*self.pooling.documents, *self.pooling.queries, self.pooling.saved):
            Pooling.parse(text)

    def _require_ranges(self) -> None:
        data, model, loss, run = self.data, self.model, self.loss, self.run
        for holds, message in (
            (bool(data.files), "data.files is empty; name at least one JSON Lines file of pairs"),
            (0 <= data.held_out < 1, f"data.held_out is {data.held_out}; expected a share from 0 to below 1"),
            (math.isfinite(model.mix), f"model.mix is {model.mix}; expected a finite number"),
            (run.seed < 1 << 32, f"run.seed is {run.seed}; expected less than 2^32"),
            (run.warmup <= 1, f"run.warmup is {run.warmup}; expected a share of the steps, at most 1"),
            (
                min(loss.temperature, loss.teacher_temperature, run.lr) > 0,
                "loss.temperature, loss.teacher_temperature and run.lr must be above 0",
            ),
            (
                all(0 < dim < model.dim for dim in model.nested),
                f"model.nested is {model.nested}; expected dimensions below {model.dim}",
            ),
            (
                bool(self.pooling.documents and self.pooling.queries),
                'pooling.documents and pooling.queries need a name each; "none" pools nothing',
            ),
            (0 < model.marker <= MAX_MARKER, f"model.marker is {model.marker}; expected above 0, at most {MAX_MARKER}"),
            (
                0 <= model.saved_marker <= MAX_MARKER,
                f"model.saved_marker is {model.saved_marker}; expected from 0 to {MAX_MARKER}",
            ),
            (0 < model.share <= 1, f"model.share is {model.share}; expected above 0, at most 1"),
            (
                not model.frozen_int8 or (model.unfrozen_layers > 0 and model.base in bundled_names()),
                "model.frozen_int8 needs a bundled model.base and model.unfrozen_layers above 0",
            ),
        ):
            if not holds:
                raise InvalidInputError(message)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, sections as in the file."""
        return asdict(self)


def read_config(path: Path) -> TrainingConfig:
    """Read a TOML file; relative paths in it are relative to it.

    Raises `InvalidInputError` naming the key that is unknown, missing or of a wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"the configuration {path} cannot be read: {error}") from error
    return parse_config(content, path.parent)


def parse_config(content: Mapping[str, Any], folder: Path) -> TrainingConfig:
    """A configuration from its sections, as in the file; relative paths are relative to `folder`."""
    types = get_type_hints(TrainingConfig)
    _refuse_unknown("", content, types)
    if "data" not in content:
        raise InvalidInputError("the configuration has no section [data] with the files to train on")
    sections = {name: _section(name, types[name], values) for name, values in content.items()}
    config = TrainingConfig(**sections)
    files = tuple(str((folder / name).absolute()) for name in config.data.files)
    model = config.model
    base = str((folder / model.base).absolute()) if (folder / model.base).is_dir() else model.base
    checkpoint = str((folder / model.checkpoint).absolute()) if model.checkpoint else ""
    return replace(
        config, data=replace(config.data, files=files), model=replace(model, base=base, checkpoint=checkpoint)
    )


def _section(name: str, kind: Any, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"[{name}] must be a section")
    types = get_type_hints(kind)
    _refuse_unknown(f"{name}.", values, types)
    for entry in fields(kind):
        if entry.default is MISSING and entry.name not in values:
            raise InvalidInputError(f"{name}.{entry.name} is missing in the configuration")
    return kind(**{key: _value(f"{name}.{key}", types[key], value) for key, value in values.items()})


def _refuse_unknown(prefix: str, values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key in values:
        if key not in known:
            raise InvalidInputError(f"{prefix}{key} is no setting; there are {', '.join(known)}")


def _value(name: str, kind: Any, value: Any) -> Any:
    choices = _CHOICES.get(name.split(".")[-1])
    if choices:
        if value not in choices:
            raise InvalidInputError(f"{name} is {value!r}; expected one of {', '.join(choices)}")
        return value
    if kind is float and type(value) is int:
        return float(value)
    if kind in (tuple[str, ...], tuple[int, ...]):
        inner = get_args(kind)[0]
        if isinstance(value, list) and all(type(item) is inner for item in value):
            return tuple(value)
        raise InvalidInputError(f"{name} is {value!r}; expected a list of {'texts' if inner is str else 'numbers'}")
    if type(value) is not kind:
        raise InvalidInputError(f"{name} is {value!r}; expected a value of type {kind.__name__}")
    return value


def _positive(config: TrainingConfig) -> dict[str, float]:
    return {
        "data.query_tokens": config.data.query_tokens,
        "data.document_tokens": config.data.document_tokens,
        "data.evaluated": config.data.evaluated,
        "model.dim": config.model.dim,
        "run.batch": config.run.batch,
        "run.neighbours": config.run.neighbours,
        "run.group": config.run.group,
        "run.evaluate_every": config.run.evaluate_every,
    }


def _not_negative(config: TrainingConfig) -> dict[str, float]:
    loss, run = asdict(config.loss), asdict(config.run)
    values = {f"loss.{key}": float(value) for key, value in loss.items()}
    values |= {f"run.{key}": float(value) for key, value in run.items() if not isinstance(value, str)}
    return values | {
        "model.unfrozen_layers": config.model.unfrozen_layers,
        "pooling.iterations": config.pooling.iterations,
    }
