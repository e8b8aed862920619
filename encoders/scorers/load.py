"""How a name becomes a scorer of pairs."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import EncoderError, MissingExtraError
from .base import Scorer

MAXSIM = "maxsim:"
"""What stands before the name of an encoder whose MaxSim is to be the score."""


def load_scorer(name: str | Path, *, threads: int | None = None, offline: bool = False) -> Scorer:
    """Load a scorer of query and document pairs by name.

    name: `maxsim:ENCODER` with anything that `load_encoder` takes (`"maxsim:minilm"`); a folder with `model.json`, as
    `python -m latefold.encoders.export_pairs` writes it, which runs on onnxruntime; or the local path or hub name of a
    `sentence-transformers` cross-encoder checkpoint (extra `models`). threads: CPU threads to use; all cores when None.
    offline: never reach for the network.

    Raises `EncoderError` saying what was tried when there is no such scorer or its files cannot be used, and
    `MissingExtraError` when the extra is not installed.
    """
    text = str(name)
    if text.startswith(MAXSIM):
        return _maxsim(text, threads, offline)
    if _has_description(text):
        from .onnx_pairs import OnnxCrossEncoder

        return OnnxCrossEncoder(text, threads=threads)
    _refuse_encoder(text)
    return _checkpoint(text, threads, offline)


def _maxsim(name: str, threads: int | None, offline: bool) -> Scorer:
    from ..base import load_encoder
    from .maxsim import MaxSimScorer

    encoder = name.removeprefix(MAXSIM)
    if not encoder:
        raise EncoderError(f"{name} names no encoder; {MAXSIM}default scores by the one in the package")
    return MaxSimScorer(load_encoder(encoder, threads=threads, offline=offline))


def _has_description(name: str) -> bool:
    from ..model_folder import DESCRIPTION_FILE

    try:
        return bool(name) and (Path(name).expanduser() / DESCRIPTION_FILE).is_file()
    except (OSError, ValueError, RuntimeError):  # no possible path: too long, a NUL byte, an unknown user
        return False


def _refuse_encoder(name: str) -> None:
    """Refuse the name of a bundled encoder, which might else be looked for on the hub."""
    from ..model_folder import bundled_names

    if re.split("[-:]", name, maxsplit=1)[0] in ("default", *bundled_names()) and "/" not in name:
        raise EncoderError(f"{name} is an encoder of vectors, no scorer of pairs; {MAXSIM}{name} scores by its MaxSim")


def _checkpoint(name: str, threads: int | None, offline: bool) -> Scorer:
    from .sentence_pairs import SentenceTransformersScorer

    tried = f"not {MAXSIM}ENCODER, not a folder with model.json"
    try:
        return SentenceTransformersScorer(name, threads=threads, offline=offline)
    except MissingExtraError as error:
        raise MissingExtraError(f"the scorer {name!r:.200} ({tried})", "models") from error
    except (EncoderError, OSError) as error:  # OSError: a name too long for a path
        raise EncoderError(f"no scorer {name!r:.200}: {tried}, and as a cross-encoder checkpoint: {error}") from error
