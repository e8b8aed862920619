"""Finding and vetting a model checkpoint on disk before any library opens it.

A checkpoint is untrusted input: transformers can be told by a configuration file to run code of the checkpoint
(`auto_map`), to fetch kernels (`_attn_implementation_internal`, CVE-2026-4372) or to unpickle weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import EncoderError, MissingExtraError

MODULES_FILE = "modules.json"
_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "artifact.metadata")
_NOT_FETCHED = ("onnx/*", "openvino/*")
_PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})
_CODE_KEYS = frozenset({"auto_map", "_attn_implementation_internal", "_experts_implementation_internal"})
_KERNEL_KEYS = frozenset({"_attn_implementation", "attn_implementation", "experts_implementation"})
_MULTI_VECTOR = frozenset({"MultiVectorEncoder", "ColBERT"})
_TOKENIZERS = ("tokenizer.json", "vocab.*", "*.model")
_HUB_FILES_OF_NO_CONSEQUENCE = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt"})


def find_checkpoint(name: str, *, offline: bool, trust_remote_code: bool) -> Path:
    """Folder of a checkpoint: a local path, or the cached (or, unless `offline`, downloaded) snapshot of a hub name.

    Only files that `vet_checkpoint` admits are downloaded. Raises `EncoderError` when there is no such checkpoint and
    `MissingExtraError` when a hub name is given and the extra `models` is not installed.
    """
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path
    if name and path.exists():
        raise EncoderError(f"{name} is a file; a model checkpoint is a folder")
    if not name or name.count("/") > 1 or name.startswith((".", "/", "~")) or "\\" in name:
        raise EncoderError(f"there is no folder {name!r} to load a model from")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        raise MissingExtraError(f"the model {name!r} (it is not a bundled one)", "models") from None
    wanted = [*_FETCHED, *(["*.py"] if trust_remote_code else [])]
    try:
        folder = snapshot_download(
            name, local_files_only=offline, allow_patterns=wanted, ignore_patterns=list(_NOT_FETCHED)
        )
    except HFValidationError as error:
        raise EncoderError(f"{name!r} is neither a folder nor a possible hub name: {error}") from error
    except (OSError, ValueError) as error:
        reason = "is not in the local cache, and the network is off (offline)" if offline else f"failed: {error}"
        raise EncoderError(f"the model {name!r} {reason}; download it once, or give the path of a folder") from error
    return Path(folder)


def vet_checkpoint(folder: Path, *, trust_remote_code: bool) -> None:
    """Refuse, with `EncoderError`, a folder that is no multi-vector checkpoint or that would run foreign code.

    Refused always: weights in pickle files only, adapters (their base model escapes these checks), checkpoints whose
    projection would be random. Refused unless `trust_remote_code`: configuration that names code or kernels to load.
    """
    _require_multi_vector(folder)
    vet_weights(folder, trust_remote_code=trust_remote_code)
    if not any(file for pattern in _TOKENIZERS for file in folder.rglob(pattern)):
        raise EncoderError(f"{folder} holds no tokenizer files (tokenizer.json, a vocabulary or a *.model file)")


def vet_weights(folder: Path, *, trust_remote_code: bool = False) -> None:
    """The part of `vet_checkpoint` that holds for any checkpoint: no pickles, no adapters, no foreign code."""
    _refuse_pickles(folder)
    if (folder / "adapter_config.json").exists():
        raise EncoderError(f"{folder} holds an adapter; merge it into its base model and save the result")
    if trust_remote_code:
        return
    for file in _files(folder, ".json"):
        found = _code_key(_read_json(file))
        if found is not None:
            raise EncoderError(
                f"{file} asks to run code of the model ({found}); load it with trust_remote_code only if you"
                " have read that code"
            )


def weights_hash(folder: Path) -> str:
    """SHA-256 over everything in the checkpoint that shapes vectors: weights, tokenizer and configuration files."""
    total = hashlib.sha256()
    for file in sorted(_files(folder, ".safetensors", ".json", ".txt", ".model", ".metadata")):
        if file.name == "config_sentence_transformers.json":
            content = _read_json(file)
            content.pop("__version__", None)
            digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        else:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()


def _require_multi_vector(folder: Path) -> None:
    config, saved = folder / "config.json", folder / "config_sentence_transformers.json"
    kind = _read_json(saved).get("model_type") if saved.exists() else None
    if (folder / MODULES_FILE).exists():
        modules = json.dumps(_read_json(folder / MODULES_FILE))
        if kind not in _MULTI_VECTOR and ".Dense" not in modules:
            raise EncoderError(
                f"{folder} holds a single-vector model: it has no projection of token vectors, and a random one"
                " would be put in its place; train it as a MultiVectorEncoder first"
            )
        return
    architectures = _read_json(config).get("architectures") or [] if config.exists() else []
    if not any(str(name) == "HF_ColBERT" or str(name).endswith("ForRetrieval") for name in architectures):
        raise EncoderError(
            f"{folder} holds no multi-vector checkpoint: expected {MODULES_FILE} (sentence-transformers, PyLate)"
            " or a config.json of architecture HF_ColBERT (Stanford ColBERT)"
        )


def _refuse_pickles(folder: Path) -> None:
    if not any(_files(folder, ".safetensors")):
        raise EncoderError(f"{folder} holds no weights in safetensors files, the only format latefold loads")
    for file in _files(folder, *_PICKLES):
        if file.name in _HUB_FILES_OF_NO_CONSEQUENCE:
            continue
        if not any(file.parent.glob("*.safetensors")):
            raise EncoderError(
                f"{file} is a pickle file, which can run code when loaded; save the model in safetensors files"
            )


def _files(folder: Path, *suffixes: str) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.suffix in suffixes and file.is_file())


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"cannot read {file} of the model: {error}") from error


def _code_key(value: Any) -> str | None:
    """The first key, at any depth, that makes transformers load code; kernels of the hub are named `owner/name`."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        if not isinstance(item, dict):
            continue
        for key, inner in item.items():
            if key in _CODE_KEYS or (key in _KERNEL_KEYS and "/" in json.dumps(inner)):
                return str(key)
            waiting.append(inner)
    return None
