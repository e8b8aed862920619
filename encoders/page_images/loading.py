"""Page-image checkpoints: which folders hold one, and how each kind is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..checkpoint import MODULES_FILE, vet_weights
from ..errors import EncoderError, MissingExtraError
from .geometry import Grid, MergedGrid, SquareGrid, TileGrid

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
HEADS = {"ColPaliForRetrieval", "ColQwen2ForRetrieval", "ColModernVBertForRetrieval"}
"""Classes of transformers, read as they are."""
PROJECTED = {"ColQwen2": "custom_text_proj", "ColQwen2_5": "custom_text_proj", "ColIdefics3": "linear"}
"""Classes of colpali-engine that are a backbone of transformers and a projection, with the name of that."""
_IMAGE_PROMPT = "<|im_start|>User:<image>Describe the image.<end_of_utterance>\nAssistant:"
_ADVICE = {
    "ColPali": "take the checkpoint in the format of transformers (its name ends in -hf)",
    "ColModernVBert": "take the checkpoint in the format of transformers (ColModernVBertForRetrieval)",
}


def reads_pages(folder: Path) -> bool:
    """Whether a folder holds a page-image checkpoint of any kind, one that cannot be loaded included."""
    architectures = _architectures(folder)
    if any(name in HEADS or name in PROJECTED or _foreign(name) for name in architectures):
        return True
    return any((folder / name).exists() for name in PROCESSOR_FILES) and (
        (folder / MODULES_FILE).exists()
        or (folder / "adapter_config.json").exists()
        or any(name.endswith("ForRetrieval") for name in architectures)
    )


def vet_pages(folder: Path, *, trust_remote_code: bool) -> None:
    """Refuse, with `EncoderError`, what `vet_weights` refuses, and kinds or folders that cannot be read as pages."""
    if (folder / "adapter_config.json").exists():
        raise EncoderError(
            f"{folder} holds an adapter without its base model; merge them (peft: merge_and_unload), and save the"
            " result beside the processor"
        )
    vet_weights(folder, trust_remote_code=trust_remote_code)
    for name in _architectures(folder):
        if _foreign(name) and not (folder / MODULES_FILE).exists():
            advice = _ADVICE.get(name, "save it as a MultiVectorEncoder of sentence-transformers first")
            raise EncoderError(f"{folder} holds {name} of colpali-engine, which latefold does not read; {advice}")
    if not any((folder / name).exists() for name in PROCESSOR_FILES):
        raise EncoderError(
            f"{folder} holds no image processor ({' or '.join(PROCESSOR_FILES)}); copy it from the original checkpoint"
        )


def load_retriever(name: str, folder: Path, *, threads: int | None, offline: bool, trust_remote_code: bool) -> Any:
    """The `Retriever` of a vetted folder, in float32, on the device that sentence-transformers chooses.

    Raises `EncoderError` when the libraries cannot load it, `MissingExtraError` without the extra `models`.
    """
    try:
        import PIL  # noqa: F401
        import torch

        from . import retriever  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"the model {name!r}", "models") from error
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    from ..sentence import no_progress_bars

    if threads is not None:
        torch.set_num_threads(threads)
    architectures = set(_architectures(folder))
    try:
        with no_progress_bars(), _quiet():
            if (folder / MODULES_FILE).exists() or not architectures & (HEADS | set(PROJECTED)):
                return _pipeline(folder, offline, trust_remote_code)
            load = _head if architectures & HEADS else _projected
            made = load(folder, next(iter(architectures & (HEADS | set(PROJECTED)))))
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError,
        SafetensorError, StrictDataclassError,
    ) as error:  # fmt: skip
        reason: object = error
        if "torchvision" in str(error).lower():
            reason = "its processor also reads videos, and needs torchvision, in the build that fits torch"
        raise EncoderError(f"cannot load the model {name!r} from {folder}: {reason}") from error
    made.network.to(_device()).eval()
    return made


def grid_of(processor: Any) -> Grid:
    """How a processor of transformers divides pages. Raises `EncoderError` for a kind that latefold does not know."""
    images = processor.image_processor
    size = dict(images.size or {})
    if not images.do_resize:
        raise EncoderError(f"{type(images).__name__} does not resize pages; where its tokens look is unknown")
    if getattr(images, "merge_size", None):
        return MergedGrid(images.patch_size * images.merge_size, size["shortest_edge"], size["longest_edge"])
    if hasattr(images, "do_image_splitting"):
        side = _root(int(processor.image_seq_len), images)
        most = dict(images.max_image_size)["longest_edge"]
        return TileGrid(size["longest_edge"], most, side, bool(images.do_image_splitting))
    tokens = getattr(processor, "image_seq_length", None) or getattr(images, "image_seq_length", None)
    if tokens and {"height", "width"} <= size.keys() and not getattr(images, "do_pan_and_scan", False):
        return SquareGrid(_root(int(tokens), images))
    raise EncoderError(f"latefold does not know where the tokens of {type(images).__name__} look on a page")


def _head(folder: Path, architecture: str) -> Any:
    import transformers

    from .rendering import ProcessorRendering
    from .retriever import HeadRetriever

    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    network = _weights(getattr(transformers, architecture), folder)
    rendering = ProcessorRendering.of(processor)
    return HeadRetriever(network, processor.tokenizer, rendering, grid_of(processor), processor.image_token_id)


def _projected(folder: Path, architecture: str) -> Any:
    import transformers
    from transformers.models.colqwen2 import ColQwen2Processor
    from transformers.models.idefics3 import Idefics3Processor

    from .rendering import AUGMENTATION_TOKENS, ProcessorRendering, Template
    from .retriever import HeadRetriever, ProjectedModel

    idefics = architecture == "ColIdefics3"
    processor = (Idefics3Processor if idefics else ColQwen2Processor).from_pretrained(folder, local_files_only=True)
    processor.tokenizer.padding_side = "left"
    marker = "<end_of_utterance>" if idefics else "<|endoftext|>"
    rendering = ProcessorRendering(
        processor, Template(after=marker * AUGMENTATION_TOKENS), Template(), _IMAGE_PROMPT if idefics else None
    )
    backbone = _weights(transformers.AutoModel, folder, PROJECTED[architecture])
    network = ProjectedModel(backbone, _projection(folder, PROJECTED[architecture]))
    return HeadRetriever(network, processor.tokenizer, rendering, grid_of(processor), processor.image_token_id)


def _pipeline(folder: Path, offline: bool, trust_remote_code: bool) -> Any:
    from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling

    from ..pooling.modules import load_model
    from .rendering import ProcessorRendering, Rendering, TemplateRendering
    from .retriever import PipelineRetriever

    model = load_model(
        folder,
        local_files_only=offline or not trust_remote_code,
        trust_remote_code=trust_remote_code,
        model_kwargs={"use_safetensors": True, "dtype": "float32"},
    )
    transformer = model[0]
    processor = getattr(transformer, "processor", None)
    if not hasattr(processor, "image_processor") or not {"image", "message"} & set(transformer.modality_config):
        raise EncoderError(f"{folder} holds an image processor, but its first module reads no images")
    if any(isinstance(module, BaseTokenPooling) for module in model):
        raise EncoderError(
            f"{folder} pools the vectors of pages, so that none has a place; save it without the pooling"
        )
    task = getattr(transformer, "transformer_task", "")
    rendering: Rendering = ProcessorRendering.of(processor) if task == "retrieval" else TemplateRendering(model)
    model.eval()
    return PipelineRetriever(model, rendering, grid_of(processor), _image_token(processor, transformer.model.config))


def _image_token(processor: Any, config: Any) -> int:
    for source, key in ((processor, "image_token_id"), (config, "image_token_id"), (config, "image_token_index")):
        found = getattr(source, key, None)
        if found is not None:
            return int(found)
    raise EncoderError(f"{type(processor).__name__} names no image token; latefold cannot tell where a page is")


def _weights(kind: Any, folder: Path, ignored: str = "") -> Any:
    """The model of a folder, in float32, with every weight from it. Raises `EncoderError` where some are absent."""
    network, report = kind.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype="float32", output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if missing or report["mismatched_keys"]:
        raise EncoderError(f"{folder} lacks weights of {type(network).__name__}: {', '.join(missing[:3]) or 'shapes'}")
    extra = [key for key in report["unexpected_keys"] if not ignored or ignored not in key.split(".")]
    if any("lora_" in key for key in extra):
        raise EncoderError(f"{folder} holds adapter weights that are not merged; merge them (peft: merge_and_unload)")
    return network


def _projection(folder: Path, name: str) -> Any:
    """The `nn.Linear` that a checkpoint holds beside its backbone."""
    import torch
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118  # it is no mapping
                owner, _, part = key.rpartition(".")
                if owner in (name, f"base_model.model.{name}"):
                    found[part] = tensors.get_tensor(key).float()
    if "weight" not in found:
        raise EncoderError(f"{folder} holds no projection ({name}.weight); a random one would be put in its place")
    rows, columns = found["weight"].shape
    layer = torch.nn.Linear(columns, rows, bias="bias" in found)
    layer.load_state_dict(found)
    return layer


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the lists of loaded weights that transformers prints to itself: `_weights` judges them."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _device() -> str:
    from sentence_transformers.util import get_device_name

    return str(get_device_name())


def _root(tokens: int, images: Any) -> int:
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise EncoderError(f"{type(images).__name__} gives {tokens} tokens an image, which is no square")
    return side


def _architectures(folder: Path) -> list[str]:
    """The classes that the configuration of a folder names; none where it cannot be read, which loading will tell."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return [str(name) for name in config.get("architectures") or []]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return []


def _foreign(name: str) -> bool:
    """Whether a class is one of colpali-engine that is not read here."""
    return name in _ADVICE or name in {"ColQwen3", "ColQwen3_5", "ColQwen2_5Omni", "ColGemma3"}
