"""CRISP pooling in torch, differentiable through the members of each cluster (extra `models`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from ..batches import length_batches
from ..checkpoint import MODULES_FILE
from ..errors import InvalidInputError
from ..training.modules import MarkerWeight, TokenHead
from .base import MAX_TOKENS, Pooling
from .kernel import cluster_texts

TOKENS_PER_BATCH = 16_384


class CrispPooling(BaseTokenPooling):  # type: ignore[misc]  # its base is untyped
    """A module of a `MultiVectorEncoder`, after its normalization, that pools documents, queries or both.

    documents, queries: poolings by name, as `Pooling.parse` reads them. It is saved with the checkpoint; `load_model`
    and `load_encoder` load that again. It also serves one call: `encode_document(texts, token_pooling=...)`.

    Outside training, `forward` leaves the place of the token that is most similar to each pooled vector, among the
    tokens it stands for, in the feature `central_tokens`, `(batch, kept)` int64.
    """

    config_keys = ["documents", "queries"]  # noqa: RUF012  # as the base class declares it

    def __init__(self, documents: str = "none", queries: str = "none") -> None:
        self.poolings = {"document": Pooling.parse(documents), "query": Pooling.parse(queries)}
        super().__init__(tasks=[task for task, pooling in self.poolings.items() if pooling.kind != "none"])

    @property
    def documents(self) -> str:
        """The pooling of documents."""
        return str(self.poolings["document"])

    @property
    def queries(self) -> str:
        """The pooling of queries."""
        return str(self.poolings["query"])

    def forward(self, features: dict[str, Tensor], task: str | None = None) -> dict[str, Tensor]:
        """Replace `token_embeddings` and `attention_mask` by pooled ones where `task` is pooled."""
        if not self.applies_to(task):
            return features
        embeddings, mask = features["token_embeddings"], features["attention_mask"].bool()
        pooling = self.poolings[task or "document"]
        places = assign(embeddings, mask, pooling)
        pooled, kept = _means(embeddings, mask, places, pooling, None)
        if not self.training:
            features["central_tokens"] = _central_tokens(embeddings, places, pooled)
        features["token_embeddings"], features["attention_mask"] = pooled, kept
        return features

    def pool(
        self,
        embeddings: list[Tensor] | Tensor,
        *,
        task: str | None = None,
        attention_mask: Tensor | None = None,
        padding_side: str = "right",
    ) -> list[Tensor] | Tensor:
        """Pool token embeddings that were encoded before; those of a task that is not pooled come back unchanged.

        embeddings: a list of `(tokens, dim)` tensors, or `(batch, length, dim)` with its mask, `(batch, length)`;
        without a mask, rows of zeros at the padding side are padding. Returns the same kind, padded on that side.
        """
        if not self.applies_to(task):
            return embeddings
        if isinstance(embeddings, Tensor):
            if embeddings.ndim != 3 or padding_side not in ("left", "right"):
                raise InvalidInputError(
                    f"got embeddings of shape {tuple(embeddings.shape)} and padding_side {padding_side!r};"
                    " expected (batch, length, dim) and left or right"
                )
            if not len(embeddings):
                return embeddings.new_zeros((0, 0, embeddings.shape[2]))
            mask = _not_padding(embeddings, padding_side) if attention_mask is None else attention_mask.bool()
            texts = [text[tokens] for text, tokens in zip(embeddings, mask, strict=True)]
            pooled = self._pool_list(texts, self.poolings[task or "document"])
            return pad_sequence(pooled, batch_first=True, padding_side=padding_side)
        return self._pool_list(embeddings, self.poolings[task or "document"])

    def pool_one(self, embedding: Tensor, **_kwargs: Any) -> Tensor:
        """The pooled vectors of one document, `(kept, dim)`, given its `(tokens, dim)`."""
        return self._pool_list([embedding], self.poolings["document"])[0]

    def _pool_list(self, texts: list[Tensor], pooling: Pooling) -> list[Tensor]:
        pooled = list(texts)
        if any(text.ndim != 2 for text in texts):
            raise InvalidInputError("expected a list of (tokens, dim) tensors")
        for batch in length_batches(np.array([len(text) for text in texts], np.int64), TOKENS_PER_BATCH):
            padded = pad_sequence([texts[i] for i in batch], batch_first=True)
            lengths = torch.tensor([len(texts[i]) for i in batch], device=padded.device)
            mask = torch.arange(padded.shape[1], device=padded.device) < lengths.unsqueeze(1)
            for i, vectors, kept in zip(batch, *crisp_pool(padded, mask, pooling), strict=True):
                pooled[i] = vectors[kept]
        return pooled


def load_model(folder: str | Path, **settings: Any) -> MultiVectorEncoder:
    """The `MultiVectorEncoder` of a checkpoint of modules of sentence-transformers, `CrispPooling` and `TokenHead`.

    sentence-transformers imports no other module classes than its own unless told to trust all code that a checkpoint
    names. Here it is handed the two classes more, so that nothing else needs to be trusted.

    settings: as `MultiVectorEncoder` takes them.
    """
    own = {f"{module.__module__}.{module.__qualname__}": module for module in (CrispPooling, TokenHead, MarkerWeight)}
    modules = Path(folder) / MODULES_FILE
    if not modules.is_file() or not any(f'"{name}"' in modules.read_text("utf-8") for name in own):
        return MultiVectorEncoder(str(folder), **settings)
    return MultiVectorEncoder._load_with_module_classes(str(folder), own, **settings)  # noqa: SLF001  # no public way


def crisp_pool(
    embeddings: Tensor, mask: Tensor, pooling: Pooling, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The pooled vectors of a padded batch.

    embeddings: `(batch, length, dim)`; mask: `(batch, length)`, true where there is a token.
    weights: `(batch, length)` importance of each token in its cluster's mean, as `pool` takes it.

    Returns `(batch, kept, dim)` vectors, zero where a text has fewer, and their `(batch, kept)` bool mask. Gradients
    flow through the means: each member of a cluster receives its share of the mean's gradient. Clusters are found on
    the CPU, by the kernel that pools without torch, whatever the device.
    """
    mask = mask.bool()
    scaled = None if weights is None else _token_weights(weights, mask)
    places = assign(embeddings, mask, pooling, scaled)
    return _means(embeddings, mask, places, pooling, scaled)


def assign(embeddings: Tensor, mask: Tensor, pooling: Pooling, weights: Tensor | None = None) -> Tensor:
    """`(batch, length)` int64: the place of each token's pooled vector in its text, -1 for padding and dropped ones.

    weights: `(batch, length)` in (0, 1].
    """
    lengths = mask.sum(1)
    kept = torch.tensor([pooling.kept(n) for n in lengths.tolist()], dtype=torch.long, device=mask.device)
    places = mask.cumsum(1) - 1
    if pooling.kind == "spacing":
        size = int(pooling.size)
        places = torch.where(places % size == 0, places // size, -1)
    elif not pooling.clusters:
        places = places - (lengths - kept).unsqueeze(1)
    else:
        if mask.shape[1] > MAX_TOKENS:
            raise InvalidInputError(f"texts of {mask.shape[1]} tokens are too long to cluster (at most {MAX_TOKENS})")
        rows = (kept < lengths).nonzero().squeeze(1)
        if len(rows):
            row_weights = mask[rows].float() if weights is None else weights[rows]
            places[rows] = _clusters(embeddings.detach()[rows], mask[rows], kept[rows], row_weights, pooling)
    return torch.where(mask, places.clamp_min(-1), -1)


def _means(
    embeddings: Tensor, mask: Tensor, places: Tensor, pooling: Pooling, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    size = int(places.max()) + 1 if places.numel() else 0
    slots = torch.arange(size, device=places.device)
    member = (places.unsqueeze(1) == slots.view(1, -1, 1)).to(embeddings.dtype)
    count = member.sum(2, keepdim=True)
    if weights is not None:
        member = member * weights.to(embeddings.dtype).unsqueeze(1)
    share = member / member.sum(2, keepdim=True).clamp_min(torch.finfo(embeddings.dtype).tiny)
    with torch.autocast(embeddings.device.type, enabled=False):
        pooled = torch.bmm(share, embeddings.masked_fill(~mask.unsqueeze(2), 0))
    if pooling.clusters and pooling.renormalize:
        merged = (count > 1).any(1, keepdim=True)
        pooled = torch.where(merged, functional.normalize(pooled, dim=-1), pooled)
    return pooled, count.squeeze(2) > 0


def _central_tokens(embeddings: Tensor, places: Tensor, pooled: Tensor) -> Tensor:
    """`(batch, kept)` int64: the token most similar to each pooled vector among those it stands for."""
    similarity = torch.bmm(pooled.detach(), embeddings.detach().transpose(1, 2))
    slots = torch.arange(pooled.shape[1], device=places.device).view(1, -1, 1)
    return similarity.masked_fill(places.unsqueeze(1) != slots, -torch.inf).argmax(2)


def _not_padding(embeddings: Tensor, padding_side: str) -> Tensor:
    """`(batch, length)` bool: false for the rows of zeros at the padding side."""
    known = (embeddings != 0).any(2)
    if padding_side == "left":
        return known.cumsum(1) > 0
    return known.flip(1).cumsum(1).flip(1) > 0


def _token_weights(weights: Tensor, mask: Tensor) -> Tensor:
    given = torch.where(mask, weights.detach().double(), 0)
    largest = given.amax(1, keepdim=True) if given.shape[1] else given.sum(1, keepdim=True)
    return torch.where(largest > 0, (given / largest).clamp_min(1e-6), 1.0)


def _clusters(embeddings: Tensor, mask: Tensor, kept: Tensor, weights: Tensor, pooling: Pooling) -> Tensor:
    """`(batch, length)` int64 clusters of each text by the compiled kernel, on the CPU, -1 for padding.

    kept: `(batch,)` clusters, fewer than tokens. weights: `(batch, length)` in (0, 1].
    """
    present = mask.cpu()
    offsets, bounds = (np.concatenate([[0], counts.cpu().numpy()]).cumsum() for counts in (mask.sum(1), kept))
    vectors, known = embeddings[mask].float().cpu().numpy(), weights[mask].cpu().double().numpy()
    places = torch.full(mask.shape, -1)
    places[present] = torch.from_numpy(cluster_texts(vectors, offsets, bounds, known, pooling)).long()
    return places.to(mask.device)
