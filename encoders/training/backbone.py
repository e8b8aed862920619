"""The Transformer under the head: frozen behind a cache of its vectors, partly trained, put back for the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from transformers.utils import logging

from ..axes import principal_axes
from ..base import Encoder, load_encoder
from ..checkpoint import vet_weights
from ..embeddings import FloatArray
from ..errors import EncoderError, InvalidInputError
from ..model_folder import bundled_names, find_bundled
from ..pooling.modules import CrispPooling
from .cache import TokenCache
from .config import ModelConfig
from .lower_layers import LowerLayers
from .modules import CachedBackbone, MarkerWeight, TokenHead

ALIGNED_TEXTS = 128
SAMPLED_TOKENS = 200_000


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the bars and loading reports of transformers off the terminal."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def frozen_encoder(model: ModelConfig, cache: Path) -> Encoder:
    """The encoder of the base's own vectors: a bundled one, or the Transformer in a folder without anything on top."""
    if model.base in bundled_names():
        if find_bundled(model.base).folder.has_head:
            raise InvalidInputError(f"model.base is {model.base}, which has a trained head already; train minilm")
        return load_encoder(f"{model.base}:none")
    folder = cache / "base"
    plain = MultiVectorEncoder(modules=[_transformer(model.base), *_ending()], device="cpu")
    plain.save(str(folder), create_model_card=False)
    return load_encoder(folder, offline=True)


def real_checkpoint(model: ModelConfig) -> str:
    """Folder of the base's float32 weights; empty when there is none."""
    return model.checkpoint or ("" if model.base in bundled_names() else model.base)


def build_model(model: ModelConfig, encoder: Encoder, queries: TokenCache, documents: TokenCache) -> MultiVectorEncoder:
    """The model to train: backbone, head, and unit vectors.

    Raises `InvalidInputError` when it has fewer dimensions or layers than the configuration asks for.
    """
    if model.dim > encoder.dim:
        raise InvalidInputError(f"model.dim is {model.dim}, but the base {model.base} has {encoder.dim} dimensions")
    head = TokenHead(encoder.dim, model.dim, model.mix)
    start = np.eye(encoder.dim, dtype=np.float32)
    if model.base not in bundled_names():
        sample = np.asarray(documents.vectors[:: max(1, len(documents.vectors) // SAMPLED_TOKENS)], np.float64)
        start = principal_axes(sample.T @ sample)
    backbone: torch.nn.Module = CachedBackbone(queries, documents)
    if model.unfrozen_layers:
        backbone = _transformer(_require_checkpoint(model), _max_tokens(model))
        _unfreeze(backbone, model.unfrozen_layers)
        if model.frozen_int8:
            bert = backbone.model
            frozen = len(bert.encoder.layer) - model.unfrozen_layers
            LowerLayers(bert, find_bundled(model.base).folder, frozen)
        if model.base in bundled_names():
            start = rotation_between(backbone, encoder, list(documents.texts)[:ALIGNED_TEXTS]) @ start
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(np.ascontiguousarray(start[:, : model.dim])))
    return MultiVectorEncoder(modules=[backbone, head, *_ending(model.marker)])


def complete_model(
    trained: MultiVectorEncoder, model: ModelConfig, encoder: Encoder, texts: Sequence[str], pooling: str
) -> MultiVectorEncoder | None:
    """The trained head over the real Transformer, with the pooling that it is saved with; None without its weights."""
    backbone, head = trained[0], trained[1]
    if model.frozen_int8:
        backbone.model.embeddings.restore(backbone.model)
    if isinstance(backbone, CachedBackbone):
        if not real_checkpoint(model):
            return None
        backbone = _transformer(real_checkpoint(model), _max_tokens(model))
        whole = TokenHead(head.in_features, head.out_features)
        whole.load_state_dict(head.state_dict())
        if model.base in bundled_names():
            turn = rotation_between(backbone, encoder, list(texts)[:ALIGNED_TEXTS])
            with torch.no_grad():
                whole.weight.copy_(torch.from_numpy(turn) @ head.weight.cpu())
        head = whole
    pools = [] if pooling == "none" else [CrispPooling(documents=pooling)]
    return MultiVectorEncoder(modules=[backbone, head, *_ending(model.final_marker), *pools], device="cpu").eval()


def trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights that training may change."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def settle(trained: MultiVectorEncoder, base: Mapping[str, torch.Tensor], model: ModelConfig) -> bool:
    """Give a trained model the weights and the marker that are saved; false where they are as trained.

    base: the same weights before training.
    """
    if model.share == 1 and model.final_marker == model.marker:
        return False
    with torch.no_grad():
        for name, value in trained.named_parameters():
            if name in base:
                value.copy_(base[name].to(value.device).lerp(value, model.share))
    for module in trained:
        if isinstance(module, MarkerWeight):
            module.weight = model.final_marker
    return True


def rotation_between(backbone: Any, encoder: Encoder, texts: Sequence[str]) -> FloatArray:
    """`(dim, dim)` float32, the orthogonal matrix that turns the Transformer's unit vectors into the encoder's best.

    The solution of the orthogonal Procrustes problem (Schoenemann 1966) over the tokens of some texts: a bundled
    encoder is the rotated and quantized Transformer. Raises `EncoderError` when the two are not the same model.
    """
    plain = MultiVectorEncoder(modules=[backbone, *_ending()], device="cpu").eval()
    made = plain.encode_document(list(texts), convert_to_numpy=True, show_progress_bar=False)
    theirs = encoder.encode_documents(list(texts))
    pairs = [(ours, theirs[i]) for i, ours in enumerate(made) if ours.shape == theirs[i].shape]
    if not pairs:
        raise EncoderError("the checkpoint and the base cut texts into different tokens; they are not the same model")
    halves = pairs[::2], pairs[1::2] or pairs
    turn = _procrustes(*_stacked(halves[0]))
    left, right = _stacked(halves[1])
    agreement = float(np.mean(np.sum((left @ turn) * right, axis=1)))
    if agreement < 0.9:
        raise EncoderError(
            f"after alignment on {len(halves[0])} texts, the checkpoint's vectors agree with the base's by a cosine of"
            f" {agreement:.2f} only: they are not the same model, or there is too little text to align them"
        )
    return np.asarray(_procrustes(*_stacked(pairs)), np.float32)


def _stacked(pairs: Sequence[tuple[FloatArray, FloatArray]]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    return [np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True)]


def _procrustes(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    u, _, v = np.linalg.svd(left.T @ right)
    return np.asarray(u @ v)


def _ending(marker: float = 1.0) -> list[torch.nn.Module]:
    weights = [] if marker == 1 else [MarkerWeight(marker)]
    return [MultiVectorMask(), Normalize(module_input_name="token_embeddings"), *weights]


def _transformer(folder: str, max_tokens: int | None = None) -> Transformer:
    settings = {"use_safetensors": True, "dtype": "float32", "local_files_only": True}
    vet_weights(Path(folder))
    try:
        backbone = Transformer(folder, model_kwargs=settings)
        if max_tokens is not None:
            backbone.max_seq_length = max_tokens
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise EncoderError(f"cannot load the checkpoint {folder}: {error}") from error
    if getattr(backbone.model, "pooler", None) is not None:
        backbone.model.pooler = None  # not part of token vectors, and random where the checkpoint has none
    return backbone


def _max_tokens(model: ModelConfig) -> int | None:
    """Where a bundled base cuts texts; None leaves a folder's own limit."""
    return find_bundled(model.base).folder.max_tokens if model.base in bundled_names() else None


def _require_checkpoint(model: ModelConfig) -> str:
    folder = real_checkpoint(model)
    if not folder:
        raise InvalidInputError(
            f"unfrozen layers need the float32 weights of {model.base}: give their folder as model.checkpoint"
        )
    return folder


def _unfreeze(backbone: Transformer, count: int) -> None:
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    inner = backbone.model
    layers = getattr(getattr(inner, "encoder", inner), "layer", None) or getattr(inner, "layers", None)
    if layers is None or count > len(layers):
        found = "no" if layers is None else len(layers)
        raise InvalidInputError(f"model.unfrozen_layers is {count}, but the backbone has {found} layers to unfreeze")
    for layer in layers[-count:]:
        for parameter in layer.parameters():
            parameter.requires_grad = True
