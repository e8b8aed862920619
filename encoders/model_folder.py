"""A text encoder on disk: the folder with its files, what its `model.json` says, and the name that asks for it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .delta import DELTA_FILE, apply_delta
from .delta import MAX_BYTES as MAX_DELTA_BYTES
from .errors import EncoderError, InvalidInputError
from .head import HEAD_FILE
from .head import MAX_BYTES as MAX_HEAD_BYTES
from .pooling.base import Pooling

MODELS = Path(__file__).parent / "models"
DESCRIPTION_FILE, GRAPH_FILE, TOKENIZER_FILE = "model.json", "model.onnx", "tokenizer.json"
BACKBONE_FILES = (GRAPH_FILE, TOKENIZER_FILE)
NO_POOLING = Pooling("none")

_MAX_BYTES = {
    DESCRIPTION_FILE: 1 << 20,
    TOKENIZER_FILE: 64 << 20,
    GRAPH_FILE: 2 << 30,
    HEAD_FILE: MAX_HEAD_BYTES,
    DELTA_FILE: MAX_DELTA_BYTES,
}
_MAX_OTHER_BYTES = 1 << 20
_MAX_DIMS, _MIN_TOKENS, _MAX_TOKENS = 4096, 3, 8192
_NAME = re.compile(r"(.+?)(?:-([0-9]{1,5}))?(?::([^/\\]+))?", re.DOTALL)
_BUNDLED_NAME = re.compile(r"[a-z][a-z0-9]{0,31}")


@dataclass(frozen=True)
class ModelFolder:
    """A model: its folder, and what its `model.json` says.

    dims: dimensions of the vectors. max_tokens: longest text in tokens, markers included; more is cut.
    checksums: file name to SHA-256. nested: the numbers of leading dimensions that may be used alone, rescaled to
    length 1; any where there are none. pooling: of documents, unless another is asked for.
    backbone: the bundled model whose graph and tokenizer a folder without them uses; the graph with the changes in
    `delta.safetensors` where the folder has one.
    """

    path: Path
    dims: int
    max_tokens: int
    checksums: Mapping[str, str]
    nested: tuple[int, ...] = ()
    pooling: Pooling = NO_POOLING
    backbone: ModelFolder | None = None

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """Read `model.json`. Raises `EncoderError` naming the file when it is missing or unusable."""
        file = path / DESCRIPTION_FILE
        try:
            content = json.loads(_read(path, DESCRIPTION_FILE))
            backbone = _backbone(content["backbone"]) if "backbone" in content else None
            most = _MAX_TOKENS if backbone is None else backbone.max_tokens
            dims = _number(content, "dims", 1, _MAX_DIMS)
            return cls(
                path,
                dims,
                _number(content, "max_tokens", _MIN_TOKENS, most),
                {str(name): str(digest) for name, digest in content["sha256"].items()},
                _nested(content.get("nested", []), dims),
                Pooling.parse(str(content.get("pooling", "none"))),
                backbone,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EncoderError(f"cannot read the model description {file}: {error!r}; {_remedy(path)}") from error

    @property
    def has_head(self) -> bool:
        """Whether the vectors of the graph go through a `Head`."""
        return HEAD_FILE in self.checksums

    @property
    def weights(self) -> str:
        """Hash of the recorded checksums of all files that shape vectors, and of the cut; no other file is read."""
        graph = self.backbone or self
        identity: list[Any] = [[name, graph.checksums.get(name)] for name in BACKBONE_FILES]
        parts = [HEAD_FILE, DELTA_FILE] if self.backbone is not None else [HEAD_FILE]
        identity += [[name, self.checksums[name]] for name in parts if name in self.checksums]
        return hashlib.sha256(json.dumps([*identity, self.max_tokens]).encode()).hexdigest()

    def require_dim(self, dim: int) -> None:
        """Refuse a number of dimensions that the model does not offer, with `InvalidInputError`."""
        if self.nested and dim not in self.nested:
            offered = ", ".join(map(str, self.nested))
            raise InvalidInputError(f"dim is {dim}; {self.path} offers {offered}")
        if not 1 <= dim <= self.dims:
            raise InvalidInputError(f"dim is {dim}; {self.path} offers 1 to {self.dims}")

    def bytes_of(self, name: str) -> bytes:
        """Content of one file, checked; graph and tokenizer come from the backbone where there is one.

        Raises `EncoderError` when it is missing, too large or differs from its checksum.
        """
        if self.backbone is not None and name in BACKBONE_FILES:
            content = self.backbone.bytes_of(name)
            changed = name == GRAPH_FILE and DELTA_FILE in self.checksums
            return apply_delta(content, self.bytes_of(DELTA_FILE)) if changed else content
        content = _read(self.path, name)
        if hashlib.sha256(content).hexdigest() != self.checksums.get(name):
            raise EncoderError(f"the model file {self.path / name} differs from its checksum; {_remedy(self.path)}")
        return content


@dataclass(frozen=True)
class ModelChoice:
    """What a name `NAME[-DIM][:POOLING]` asks for.

    name: the name that finds the same again, with an absolute path. dim, pooling: None where the name has none.
    """

    name: str
    folder: ModelFolder
    dim: int | None = None
    pooling: Pooling | None = None


def bundled_names() -> list[str]:
    """Names of the models that travel with the package, sorted."""
    return sorted(file.parent.name for file in MODELS.glob(f"*/{DESCRIPTION_FILE}"))


def find_model(name: str) -> ModelChoice | None:
    """The model that `name` asks for: a bundled one or a folder with a `model.json`; None where it is neither.

    A folder that exists under the whole name comes before one whose name is followed by dimensions or a pooling.

    Raises `EncoderError` when the folder is unusable and `InvalidInputError` when it has no such dimensions or when
    what stands for the pooling is none.
    """
    for base, dim, pooling in _readings(name):
        folder = _folder(base)
        if folder is None:
            continue
        described = ModelFolder.read(folder)
        if dim is not None:
            described.require_dim(int(dim))
        return ModelChoice(
            (base if _is_bundled(base) else str(folder)) + name[len(base) :],
            described,
            None if dim is None else int(dim),
            None if pooling is None else Pooling.parse(pooling),
        )
    return None


def find_bundled(name: str) -> ModelChoice:
    """The same, for bundled models only. Raises `EncoderError` listing them where `name` asks for none of them."""
    choice = find_model(name)
    if choice is None or Path(choice.name).is_absolute():
        raise EncoderError(f"no bundled encoder is called {name!r}; there are {', '.join(bundled_names())}")
    return choice


def _readings(name: str) -> Iterator[tuple[str, str | None, str | None]]:
    """How a name may be read, as base, dimensions and pooling; a bundled base can only be read in one way."""
    match = _NAME.fullmatch(name)
    base, dim, pooling = match.groups() if match else (name, None, None)
    if not _is_bundled(base):
        yield name, None, None
        if dim is not None and pooling is not None:
            yield f"{base}-{dim}", None, pooling
    yield base, dim, pooling


def _is_bundled(base: str) -> bool:
    return bool(_BUNDLED_NAME.fullmatch(base)) and (MODELS / base / DESCRIPTION_FILE).is_file()


def _folder(base: str) -> Path | None:
    if _is_bundled(base):
        return MODELS / base
    try:
        path = Path(base).expanduser().resolve()
        return path if base and (path / DESCRIPTION_FILE).is_file() else None
    except (OSError, ValueError, RuntimeError):  # no possible path: too long, a NUL byte, an unknown user
        return None


def _backbone(value: Any) -> ModelFolder:
    """The bundled model of that name, which must be the release that the head was trained on."""
    name, digests = value["name"], value["sha256"]
    if not isinstance(name, str) or not _is_bundled(name):
        raise ValueError(f"no bundled model is called {name!r}, there are {', '.join(bundled_names())}")
    folder = MODELS / name
    if "backbone" in json.loads(_read(folder, DESCRIPTION_FILE)):
        raise ValueError(f"{name} has no graph of its own")
    found = ModelFolder.read(folder)
    if any(digests[file] != found.checksums[file] for file in BACKBONE_FILES):
        raise ValueError(f"it was made for another release of {name} than the one installed")
    return found


def _nested(value: Any, dims: int) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(item) is not int or not 1 <= item <= dims for item in value):
        raise ValueError(f"nested is {value!r}; expected a list of whole numbers from 1 to {dims}")
    if value and dims not in value:
        raise ValueError(f"nested is {value!r}, without all {dims} dimensions")
    return tuple(sorted(set(value)))


def _number(content: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = content[key]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{key} is {value!r}; expected a whole number from {least} to {most}")
    return value


def _read(path: Path, name: str) -> bytes:
    file, limit = path / name, _MAX_BYTES.get(name, _MAX_OTHER_BYTES)
    try:
        if file.exists() and not file.is_file():
            raise EncoderError(f"cannot read the model file {file}: it is no file")
        content = file.read_bytes() if file.stat().st_size <= limit else None
    except OSError as error:
        raise EncoderError(f"cannot read the model file {file}: {error}; {_remedy(path)}") from error
    if content is None:
        raise EncoderError(f"the model file {file} has more than {limit} bytes, the most that is read of it")
    return content


def _remedy(path: Path) -> str:
    return "reinstall latefold" if path.parent == MODELS else "export the model again"
