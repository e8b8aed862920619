"""`python -m latefold.eval.rerank`: recall of an expensive scorer's exact best against the calls it takes, and report.

Besides MaxSim over more dimensions the scorer is the cross-encoder that `python -m latefold.eval.rerank.trained` made
in the cache, or that of `--cross-encoder`; where there is neither, MaxSim alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...encoders.base import load_encoder
from ...encoders.embeddings import FloatArray
from ...encoders.errors import InvalidInputError
from ...encoders.scorers.onnx_pairs import OnnxCrossEncoder
from .. import command, jobs
from ..truth import maxsim_scores
from ..vectors import Source, stored
from .measure import Bench, Figures, opened
from .overhead import measure as measure_overhead
from .pages import page
from .plots import draw
from .scores import digest, exact_scores
from .task import COLLECTIONS, Task, open_task

PROGRAM: Final = "python -m latefold.eval.rerank"
HEAVY: Final = "minilm:none"
CROSS_ENCODER: Final = "cross-encoder"
_CODE: Final = (
    "eval/rerank/measure.py", "eval/rerank/task.py", "retrieval/*.py", "retrieval/cur/*.py", "index/*.py",
)  # fmt: skip


@dataclass(frozen=True)
class Settings(command.Settings):
    """One run. cross_encoder: a model folder; None to leave that scorer out."""

    cross_encoder: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    settings = _parse(arguments)
    return command.finish(lambda: run(settings))


def run(settings: Settings) -> Path:
    """Measure what was not measured before; write `rerank.md` and its charts. Returns the page."""
    found: dict[tuple[str, str], Figures] = {}
    for name in settings.collections:
        try:
            task = open_task(settings.data, name, quick=settings.quick)
        except InvalidInputError as error:
            command.say(f"{name} is left out: {error}")
            continue
        for scorer, (fingerprint, scores) in _scorers(settings, name, task).items():
            command.say(f"{name}: scores of {scorer}")
            found[scorer, name] = _figures(settings, task, name, fingerprint, scores())
            command.say(f"{name}: {scorer} measured")
    if not found:
        raise InvalidInputError(f"no collection can be measured: {settings.data} holds none of them")
    found = dict(sorted(found.items(), key=lambda item: item[0][0]))
    command.say("time beside the scorer's")
    overhead = measure_overhead(quick=settings.quick)
    usual = tuple(COLLECTIONS)
    given = settings.cross_encoder
    more = "" if given in (None, settings.cache / CROSS_ENCODER) else f" --cross-encoder {given.name}"
    about = command.about(PROGRAM, settings, usual, "none: no package ships these methods", more)
    settings.out.mkdir(parents=True, exist_ok=True)
    charts = draw(found, settings.out)
    return command.write(settings.out / "rerank.md", lambda: page(found, overhead, charts, about))


def _scorers(settings: Settings, name: str, task: Task) -> Mapping[str, tuple[str, Callable[[], FloatArray]]]:
    """Fingerprints, and functions that give all scores `(queries, documents)`."""
    made: dict[str, tuple[str, Callable[[], FloatArray]]] = {
        "maxsim-384": (HEAVY, lambda: _maxsim(settings, name, task))
    }
    if settings.cross_encoder is not None:
        model = OnnxCrossEncoder(settings.cross_encoder)

        def said(done: int, total: int) -> None:
            if done % 10 == 0 or done == total:
                command.say(f"{name}: {done} of {total} queries scored")

        made["cross-encoder"] = (
            model.fingerprint,
            lambda: exact_scores(settings.cache / "rerank" / "scores", model, task.queries, task.texts, said),
        )
    return made


def _maxsim(settings: Settings, name: str, task: Task) -> FloatArray:
    """MaxSim of a wider encoder; a document without tokens is as far below the others as can be told."""
    encoder = load_encoder(HEAVY)
    home = settings.cache / "rerank" / f"{name}-quick" if settings.quick else settings.cache / "rerank" / name
    documents = stored(home / "documents", Source(task.texts, encoder, encoder.dim))
    queries = stored(home / "queries", Source(task.queries, encoder, encoder.dim, queries=True))
    scores = maxsim_scores(documents, queries.read())
    return np.where(np.isfinite(scores), scores, scores[np.isfinite(scores)].min() - 1).astype(np.float32)


def _figures(settings: Settings, task: Task, name: str, fingerprint: str, scores: FloatArray) -> Figures:
    """Figures, from the cache where the same code has measured the same scores before."""
    home = settings.cache / "rerank"
    key = digest(fingerprint, settings.encoder, jobs.code_digest(jobs.files(*_CODE)), *task.queries, *task.texts)
    path = home / f"{name}-{key}.json"
    if path.is_file() and not settings.fresh:
        return Figures.from_dict(json.loads(path.read_text(encoding="utf-8")))
    with opened(home / f"{name}-{digest(settings.encoder, *task.texts)}", task, settings.encoder) as index:
        figures = Bench(task, index, fingerprint, scores).figures()
    path.write_text(json.dumps(figures.to_dict(), indent=1), encoding="utf-8")
    return figures


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = command.options(PROGRAM, __doc__, tuple(COLLECTIONS))
    parser.add_argument("--cross-encoder", type=Path, help="folder of a cross-encoder, as `trained` writes it")
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    made = given["cache"] / CROSS_ENCODER
    if given["cross_encoder"] is None and made.is_dir():
        given["cross_encoder"] = made
    if given["collections"] is None:
        given["collections"] = ("cranfield",) if given["quick"] else tuple(COLLECTIONS)
    return Settings(**given)


if __name__ == "__main__":
    sys.exit(main())
