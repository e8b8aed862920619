"""The objective: contrastive and distilled MaxSim over pooled, nested vectors, and a measure of how even they are."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..pooling.base import Pooling
from ..pooling.modules import crisp_pool
from .config import TrainingConfig

MASKED = -1e4
"""Below every cosine: what padding scores."""
NAMES = ("contrastive", "distillation", "marker", "regulariser")
PARTS = 2
"""Texts of a batch are encoded in so many parts of near-equal length."""


class CrispLoss(nn.Module):  # type: ignore[misc]
    """The sum of its parts, each returned under its name, weighted.

    Every text's vectors are cut to a prefix of their dimensions, scaled to length 1 and pooled (CRISP, Veneroso et al.
    2025, arXiv 2505.11471: gradients flow through the means of clusters), here in the forward pass. The poolings of a
    batch and the nested prefixes (Kusupati et al. 2022, Matryoshka) are drawn by a number that comes with it, so that a
    run that is resumed draws the same. Similarity is MaxSim divided by the number of query vectors and a temperature.

    contrastive: cross-entropy of each query's passage among all documents of the batch. distillation: Kullback-Leibler
    divergence from the teacher's distribution over them to the model's. marker: the same with the first query vector
    alone, at a temperature of its own. regulariser: `anisotropy` of the documents' vectors.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self._config = config
        scale = torch.tensor(math.log(1 / config.loss.temperature))
        self.log_scale = nn.Parameter(scale, requires_grad=config.loss.learn_temperature)
        if config.loss.marker:
            self.marker_log_scale = nn.Parameter(scale.clone(), requires_grad=config.loss.learn_temperature)
        self._poolings = [
            [dataclasses.replace(Pooling.parse(name), iterations=config.pooling.iterations) for name in names]
            for names in (config.pooling.queries, config.pooling.documents)
        ]

    def forward(self, features: list[dict[str, Any]], _labels: Tensor | None = None) -> dict[str, Tensor]:
        """Losses of a batch that `run.Collator` made: queries and documents, whose features hold what is known of them.

        teacher: `(queries, documents)`, -inf where a query has given scores that leave a document out. positives:
        `(queries,)`. draw: a whole number.
        """
        asked, answers = features
        weights = self._config.loss
        rng = np.random.default_rng([self._config.run.seed, int(answers["draw"])])
        drawn = [names[rng.integers(len(names))] for names in self._poolings]
        queries, query_mask = self._encode(asked, "query")
        documents, document_mask = self._encode(answers, "document")
        teacher = answers["teacher"] / weights.teacher_temperature
        losses = {name: queries.new_zeros(()) for name in NAMES}
        for dim, poolings in self._views(rng, drawn):
            q, q_mask = _prefix(queries, query_mask, dim, poolings[0])
            d, d_mask = _prefix(documents, document_mask, dim, poolings[1])
            scores = mean_maxsim(q, q_mask, d, d_mask) * self.log_scale.exp()
            if weights.contrastive:
                losses["contrastive"] += weights.contrastive * functional.cross_entropy(scores, answers["positives"])
            if weights.distillation:
                losses["distillation"] += weights.distillation * divergence(scores, teacher)
            if weights.marker:
                first = functional.normalize(queries[:, :1, :dim], dim=-1)
                alone = mean_maxsim(first, query_mask[:, :1], d, d_mask) * self.marker_log_scale.exp()
                losses["marker"] += weights.marker * divergence(alone, teacher)
            if weights.regulariser:
                losses["regulariser"] += weights.regulariser * anisotropy(d[d_mask])
        return losses

    def _encode(self, features: dict[str, Any], task: str) -> tuple[Tensor, Tensor]:
        """Vectors and mask of a batch, encoded in parts of texts about as long, so that little of it is padding."""
        known = {key: value for key, value in features.items() if key not in ("teacher", "positives", "draw")}
        mask = known["attention_mask"].bool()
        lengths = mask.sum(1)
        order = lengths.argsort(descending=True, stable=True)
        parts = order.chunk(PARTS) if bool(mask[:, 0].all()) else (order,)
        vectors, masks = [], []
        for rows in parts:
            longest = int(lengths[rows].max()) if len(parts) > 1 else mask.shape[1]
            part = {key: _rows(value, rows, mask.shape, longest) for key, value in known.items()}
            made = self.model(part, task=task)
            missing = mask.shape[1] - longest
            vectors.append(functional.pad(made["token_embeddings"], (0, 0, 0, missing)))
            masks.append(functional.pad(made["attention_mask"].bool(), (0, missing)))
        back = order.argsort()
        return torch.cat(vectors)[back], torch.cat(masks)[back]

    def _views(self, rng: np.random.Generator, drawn: list[Pooling]) -> list[tuple[int, list[Pooling]]]:
        """The dimensions and the poolings, of queries and of documents, that a step trains."""
        nested, count = self._config.model.nested, self._config.loss.nested_per_step
        if nested and count:
            nested = tuple(rng.permutation(nested)[:count].tolist())
        dim = self._config.model.dim
        beside = self._config.pooling.and_unpooled and any(pooling.kind != "none" for pooling in drawn)
        return [(dim, [Pooling("none")] * 2)] * beside + [(size, drawn) for size in (dim, *nested)]


def _rows(value: Any, rows: Tensor, shape: torch.Size, longest: int) -> Any:
    """Some texts of a feature that has a value a token; any other feature as it is."""
    known = isinstance(value, Tensor) and value.shape[:2] == shape
    return value[rows, :longest] if known else value


def mean_maxsim(queries: Tensor, query_mask: Tensor, documents: Tensor, document_mask: Tensor) -> Tensor:
    """`(queries, documents)`: MaxSim over the vectors that the masks keep, divided by the number of query vectors."""
    similarity = torch.einsum("qid,njd->qinj", queries, documents)
    best = similarity.masked_fill(~document_mask[None, None], MASKED).amax(3)
    kept = query_mask.unsqueeze(2)
    return (best * kept).sum(1) / kept.sum(1).clamp_min(1)


def divergence(scores: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the softmax of `scores` from that of `teacher`, mean over queries.

    Both `(queries, documents)`. Documents whose teacher score is -inf take no part, on either side.
    """
    known = teacher > -torch.inf
    target = teacher.masked_fill(~known, MASKED).log_softmax(1)
    found = scores.masked_fill(~known, MASKED).log_softmax(1)
    return (target.exp() * (target - found)).masked_fill(~known, 0).sum(1).mean()


def anisotropy(vectors: Tensor) -> Tensor:
    """How unevenly unit vectors `(n, dim)` fill the sphere: `|mean|^2 + tr(M^2)`, M their second moment.

    The second term is the mean squared cosine of two vectors, the frame potential (Benedetto and Fickus 2003); it is
    least, 1 / dim, when all directions carry the same energy, and its inverse is the effective number of dimensions.
    The first is the mean cosine. Both are what random projections and buckets of an index suffer from.
    """
    mean = vectors.mean(0)
    moment = vectors.T @ vectors / max(len(vectors), 1)
    return mean.square().sum() + moment.square().sum()


def _prefix(vectors: Tensor, mask: Tensor, dim: int, pooling: Pooling) -> tuple[Tensor, Tensor]:
    """Leading dimensions, rescaled to the length that the vectors had, and pooled."""
    cut = functional.normalize(vectors[..., :dim], dim=-1) * vectors.norm(dim=-1, keepdim=True).detach()
    return (cut, mask) if pooling.kind == "none" else crisp_pool(cut, mask, pooling)
