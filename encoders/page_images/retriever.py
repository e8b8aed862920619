"""A vision-language retriever in torch: what it does with a rendered batch, whatever library it came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import EncoderError
from .geometry import Grid
from .rendering import Rendering


class Retriever(Protocol):
    """A loaded model with its rendering and the geometry of its pages.

    network: holds every weight. tokenizer: for the markers that texts may not spell. image_token: id of the token that
    stands for a part of a page.
    """

    network: nn.Module
    tokenizer: Any
    rendering: Rendering
    grid: Grid
    image_token: int
    dim: int

    def scored(self, features: dict[str, Any], task: str) -> Tensor:
        """`(batch, length)` bool: the tokens whose vectors count, by the model's own mask."""
        ...

    def embed(self, features: dict[str, Any], task: str) -> Tensor:
        """`(batch, length, dim)` unit vectors."""
        ...


class HeadRetriever:
    """A `*ForRetrieval` model of transformers, or a `ProjectedModel`: its forward pass is all there is to do."""

    def __init__(self, network: nn.Module, tokenizer: Any, rendering: Rendering, grid: Grid, image_token: int) -> None:
        self.network, self.tokenizer, self.rendering, self.grid = network, tokenizer, rendering, grid
        self.image_token = image_token
        self.dim = int(network.embedding_dim)

    def scored(self, features: dict[str, Any], task: str) -> Tensor:  # noqa: ARG002  # as the protocol has it
        """As `Retriever.scored`: all but padding."""
        return features["attention_mask"].bool()

    def embed(self, features: dict[str, Any], task: str) -> Tensor:  # noqa: ARG002  # as the protocol has it
        """As `Retriever.embed`."""
        made: Tensor = self.network(**features).embeddings
        return made


class PipelineRetriever:
    """A `MultiVectorEncoder`: its modules one after the other, with their own masks."""

    def __init__(self, model: Any, rendering: Rendering, grid: Grid, image_token: int) -> None:
        self.network, self.tokenizer, self.rendering, self.grid = model, model.tokenizer, rendering, grid
        self.image_token = image_token
        self.dim = int(model.get_embedding_dimension())
        self._model = model

    def scored(self, features: dict[str, Any], task: str) -> Tensor:
        """As `Retriever.scored`."""
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        seen = dict(features)
        for module in self._model:
            if isinstance(module, MultiVectorMask):
                seen = module(seen, task=task)
        return seen["attention_mask"].bool()

    def embed(self, features: dict[str, Any], task: str) -> Tensor:
        """As `Retriever.embed`."""
        if "modality" not in features:
            features = features | {"modality": "image" if "pixel_values" in features else "text"}
        made: Tensor = self._model(dict(features), task=task)["token_embeddings"]
        return made


class Embedded:
    """What a `ProjectedModel` returns."""

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = embeddings


class ProjectedModel(nn.Module):  # type: ignore[misc]  # its base is untyped
    """A backbone and the projection of its last layer to unit vectors, as colpali-engine puts them together."""

    def __init__(self, backbone: nn.Module, projection: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.projection = backbone, projection
        self.embedding_dim = projection.out_features

    def forward(self, pixel_values: Tensor | None = None, **features: Any) -> Embedded:
        """Vectors of a batch; the patches of Qwen pages come padded to the longest, `(pages, most, values)`."""
        grids = features.get("image_grid_thw")
        if pixel_values is not None and grids is not None:
            counts = grids.prod(dim=1).tolist()
            pixel_values = torch.cat([page[:count] for page, count in zip(pixel_values, counts, strict=True)])
            # without it the backbone of Qwen2.5 numbers patches as if they were words, and says nothing
            features["mm_token_type_ids"] = (features["input_ids"] == self.backbone.config.image_token_id).int()
        given = {} if pixel_values is None else {"pixel_values": pixel_values}
        hidden = self.backbone(**given, **features, use_cache=False).last_hidden_state
        return Embedded(nn.functional.normalize(self.projection(hidden), dim=-1))


def last_attention(network: nn.Module) -> nn.Module:
    """The last attention of the language model: the last in the network that belongs to no vision tower.

    Raises `EncoderError` where none is found.
    """
    found = None
    for name, module in network.named_modules():
        vision = any("vision" in part or part == "visual" for part in name.split("."))
        if not vision and type(module).__name__.endswith("Attention"):
            found = module
    if found is None:
        raise EncoderError(f"no attention found in {type(network).__name__}; its saliency cannot be told")
    return found


@contextmanager
def attention_weights(network: nn.Module) -> Iterator[list[Tensor]]:
    """While entered, a forward pass leaves the last attention's weights, `(batch, heads, length, length)`, in a list.

    The language model computes its attentions one by one ("eager") meanwhile; the vision tower stays as it is. Others
    must not use the network meanwhile.
    """
    attention = last_attention(network)
    owner = _owner(network, attention)
    before = owner.config._attn_implementation  # noqa: SLF001  # transformers has no other name for it
    weights: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG001  # as torch calls it
        if not isinstance(output, tuple) or len(output) < 2 or output[1] is None:
            raise EncoderError(f"{type(module).__name__} tells no attention weights; encode without saliency")
        weights.append(output[1])

    handle = attention.register_forward_hook(keep)
    owner.set_attn_implementation("eager")
    try:
        yield weights
    finally:
        owner.set_attn_implementation(before)
        handle.remove()


def _owner(network: nn.Module, inner: nn.Module) -> Any:
    """The innermost model of transformers around a module: the language model, with a configuration of its own."""
    from transformers import PreTrainedModel

    around = [
        module
        for module in network.modules()
        if isinstance(module, PreTrainedModel) and any(part is inner for part in module.modules())
    ]
    return around[-1]
