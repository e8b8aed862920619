"""Modules of a `MultiVectorEncoder`: the trained head, and a first module that reads vectors computed before."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor, nn
from torch.nn import functional

from .cache import TokenCache


class TokenHead(Module):  # type: ignore[misc]  # its base is untyped
    """Mixes each token with its text and projects it: `y = (h + mix * m) @ weight + bias`.

    `h` is the token's vector scaled to length 1 and `m` the mean of those of its text. A `Normalize` module comes after
    it. Prefixes of `y`, scaled to length 1, are usable too where they were trained.

    in_features, out_features: dimensions. Parameters: mix `(1,)`, weight `(in_features, out_features)`, bias
    `(out_features,)`, to begin with the leading dimensions as they are.
    """

    config_keys = ["in_features", "out_features"]  # noqa: RUF012  # as the base class declares it

    def __init__(self, in_features: int, out_features: int, mix: float = 0.0) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.mix = nn.Parameter(torch.full((1,), mix))
        self.weight = nn.Parameter(torch.eye(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace `token_embeddings`, `(batch, length, in_features)`; padding by `attention_mask` takes no part."""
        mask = features["attention_mask"].unsqueeze(2).to(self.weight.dtype)
        tokens = functional.normalize(features["token_embeddings"].to(self.weight.dtype), dim=-1) * mask
        mean = tokens.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)
        features["token_embeddings"] = (tokens + self.mix * mean) @ self.weight + self.bias
        return features

    def get_embedding_dimension(self) -> int:
        """Dimensions of the vectors it makes."""
        return self.out_features

    def save(self, output_path: str, *_args: Any, safe_serialization: bool = True, **_kwargs: Any) -> None:
        """Write configuration and weights to a folder."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **settings: Any) -> TokenHead:
        """Read what `save` wrote."""
        place = {
            key: settings[key] for key in ("token", "cache_folder", "revision", "local_files_only") if key in settings
        }
        head = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **place))
        cls.load_torch_weights(model_name_or_path, subfolder=subfolder, model=head, **place)
        return head


class MarkerWeight(Module):  # type: ignore[misc]
    """Scales the first vector of a query, that of the marker which stands for all of it; after `Normalize`.

    weight: how much it counts in MaxSim, where other vectors count 1.
    """

    config_keys = ["weight"]  # noqa: RUF012
    forward_kwargs = {"task"}  # noqa: RUF012

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, features: dict[str, Tensor], task: str | None = None) -> dict[str, Tensor]:
        """Replace `token_embeddings` of queries, whose padding stands behind the tokens."""
        if task == "query":
            vectors = features["token_embeddings"]
            features["token_embeddings"] = torch.cat([vectors[:, :1] * self.weight, vectors[:, 1:]], dim=1)
        return features

    def save(self, output_path: str, *_args: Any, **_kwargs: Any) -> None:
        """Write the configuration to a folder."""
        self.save_config(output_path)


class CachedBackbone(Module):  # type: ignore[misc]
    """Stands for a frozen Transformer while the modules after it are trained: looks vectors up instead of computing.

    Texts are known by what they say, as queries or as documents; others are a `KeyError`. The real Transformer takes
    its place when the checkpoint is saved.
    """

    def __init__(self, queries: TokenCache, documents: TokenCache) -> None:
        super().__init__()
        self._caches = {"query": queries, "document": documents}
        self.tokenizer = None

    def preprocess(self, inputs: list[str], task: str | None = None, **_settings: Any) -> dict[str, Tensor]:
        """The padded vectors of some texts: `token_embeddings`, `attention_mask`, and word pieces as `input_ids`."""
        cache = self._caches[task or "document"]
        rows = [cache.texts[text] for text in inputs]
        lengths = [int(cache.offsets[i + 1] - cache.offsets[i]) for i in rows]
        vectors = torch.zeros(len(rows), max(lengths, default=0), cache.dim)
        mask = torch.zeros(vectors.shape[:2], dtype=torch.bool)
        ids = torch.zeros(vectors.shape[:2], dtype=torch.long)
        for place, (i, length) in enumerate(zip(rows, lengths, strict=True)):
            start = int(cache.offsets[i])
            vectors[place, :length] = torch.from_numpy(cache.vectors[start : start + length].astype("float32"))
            ids[place, :length] = torch.from_numpy(cache.terms[start : start + length].astype("int64"))
            mask[place, :length] = True
        return {"input_ids": ids, "attention_mask": mask, "token_embeddings": vectors}

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Nothing to compute."""
        return features

    def save(self, output_path: str, *_args: Any, **_kwargs: Any) -> None:
        """Nothing of its own to write but an empty configuration."""
        self.save_config(output_path)
