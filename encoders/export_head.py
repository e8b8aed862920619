"""Writes the folder of an encoder that has a head: what training made, as `load_encoder` reads it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .delta import DELTA_FILE, make_delta
from .errors import EncoderError
from .head import HEAD_FILE, Head
from .model_folder import BACKBONE_FILES, DESCRIPTION_FILE, GRAPH_FILE, NO_POOLING, ModelFolder, find_bundled
from .pooling.base import Pooling


def write_head_folder(
    out: Path,
    head: Head,
    *,
    backbone: str | Path,
    dims: int | None = None,
    nested: Sequence[int] = (),
    pooling: Pooling = NO_POOLING,
    graph: bytes | None = None,
    training: Mapping[str, Any] | None = None,
) -> ModelFolder:
    """Write `head.safetensors` and `model.json` into `out`; files that are there already get their checksums listed.

    backbone: the name of a bundled model, whose graph and tokenizer are used from where they are, or a folder that
    holds both and a `model.json` (see `export_minilm`), which are copied. dims: leading dimensions of the head to keep,
    all when None. nested: the numbers of leading dimensions that it was trained for. pooling: of documents, unless
    another is asked for. graph: the graph of a bundled backbone with other weights; only what differs is written.
    training: how the head was made, as JSON.

    Returns the folder as it reads. Raises `EncoderError` where the parts do not fit together.
    """
    dims = head.dims if dims is None else dims
    if not 1 <= dims <= head.dims:
        raise EncoderError(f"dims is {dims}; the head makes 1 to {head.dims}")
    source = find_bundled(backbone).folder if isinstance(backbone, str) else ModelFolder.read(backbone)
    in_place = out.resolve() == source.path.resolve()  # a head that lies there from before is replaced
    if head.width != source.dims or (source.has_head and not in_place):
        raise EncoderError(
            f"the head reads vectors of {head.width} dimensions without a head; {source.path} gives {source.dims},"
            f" {'after' if source.has_head else 'without'} a head of its own"
        )
    out.mkdir(parents=True, exist_ok=True)
    described: dict[str, Any] = {
        "dims": dims,
        "nested": sorted({dims, *(count for count in nested if count <= dims)}) if nested else [],
        "pooling": str(pooling),
        "max_tokens": source.max_tokens,
        "training": dict(training or {}),
    }
    (out / DELTA_FILE).unlink(missing_ok=True)
    if isinstance(backbone, str):
        if graph is not None:
            (out / DELTA_FILE).write_bytes(make_delta(source.bytes_of(GRAPH_FILE), graph))
        digests = {name: source.checksums[name] for name in BACKBONE_FILES}
        described["backbone"] = {"name": source.path.name, "sha256": digests}
    elif not in_place:
        for name in BACKBONE_FILES:
            source.bytes_of(name)
            shutil.copyfile(source.path / name, out / name)
    kept = replace(head, weight=head.weight[:, :dims], bias=head.bias[:dims])
    (out / HEAD_FILE).write_bytes(kept.to_bytes())
    _write_description(out, described)
    return ModelFolder.read(out)


def update_checksums(folder: Path) -> None:
    """List the present files of a model folder with their checksums, after one was added, such as a model card."""
    described = json.loads((folder / DESCRIPTION_FILE).read_bytes())
    _write_description(folder, described)


def _write_description(folder: Path, described: Mapping[str, Any]) -> None:
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name != DESCRIPTION_FILE]
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    text = json.dumps({**described, "sha256": digests}, indent=2, allow_nan=False)
    (folder / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")
