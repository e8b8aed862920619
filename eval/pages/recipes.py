"""What is measured on page vectors: which codes, of which vectors, after which pooling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from ...index.tokens.base import codec
from .poolings import FACTORS, PoolingName

Saliency = Literal["distance", "rarity", "chance"]
REFERENCE: Final = "fp16"
TARGET: Final = 32
"""Times fewer bytes than the reference that combinations are to reach."""
SALIENCY: Final[tuple[Saliency, ...]] = ("distance", "rarity", "chance")
SHARES: Final = (0.8, 0.6, 0.4)
_POOLINGS: Final[tuple[PoolingName, ...]] = ("ward", "crisp", "spatial")
_PRUNED: Final = "lvq8"
_CODECS: Final = (
    "lvq8", "lvq4", "pq48", "pq32", "pq16", "sign", "rabitq", "residual1", "patch256", "patch256r1", "patch256r2",
)  # fmt: skip
_AS_SET: Final = ("patch256", "patch512")
_SMALL: Final = ("sign", "pq16", "pq32")
_COMBINED: Final[tuple[tuple[PoolingName, int, str], ...]] = (
    ("none", 1, "patch256r2"), ("ward", 2, "sign"), ("ward", 3, "pq16"), ("crisp", 3, "pq16"),
)  # fmt: skip
"""Pooling, factor and codec of combinations that are pruned on top; chosen beforehand, one of each sort."""
Section = Literal["codecs", "pruning", "pooling", "combinations", "pruned combinations"]


@dataclass(frozen=True)
class Recipe:
    """One way to store pages.

    pooling, factor: one vector for about so many. share: of the vectors that are left, those kept, the most salient
    `by` a measure. as_set: of patch codes, each different one of a page once, as bits of a map where that is shorter.
    """

    section: Section
    codec: str
    pooling: PoolingName = "none"
    factor: int = 1
    share: float = 1.0
    by: Saliency = "chance"
    as_set: bool = False

    @property
    def label(self) -> str:
        """For tables: `ward / 2, sign, 40 % by distance`."""
        pooling = "" if self.pooling == "none" else f"{self.pooling} / {self.factor}, "
        pruning = "" if self.share == 1 else f", {self.share:.0%} by {self.by}"
        return f"{pooling}{self.codec}{' as a set' * self.as_set}{pruning}"


def recipes(dim: int, *, quick: bool = False) -> list[Recipe]:
    """All that is measured on vectors of `dim` dimensions, the reference first; quick: a few of each sort."""
    everything = [*_codecs(), *_pruning(), *_pooling(), *_combinations(dim), *_pruned_combinations()]
    if not quick:
        return everything
    few = {"fp16", "lvq8", "sign", "pq16", "patch256"}
    light = [item for item in everything if item.codec in few and item.factor in (1, 3) and item.share in (1, 0.4)]
    return [item for item in light if item.by in ("chance", "distance")]


def _codecs() -> Iterator[Recipe]:
    yield Recipe("codecs", REFERENCE)
    for name in _CODECS:
        yield Recipe("codecs", name)
    for name in _AS_SET:
        yield Recipe("codecs", name, as_set=True)


def _pruning() -> Iterator[Recipe]:
    for by in SALIENCY:
        for share in SHARES:
            yield Recipe("pruning", _PRUNED, share=share, by=by)


def _pooling() -> Iterator[Recipe]:
    for pooling in _POOLINGS:
        for factor in FACTORS:
            yield Recipe("pooling", REFERENCE, pooling, factor)


def _combinations(dim: int) -> Iterator[Recipe]:
    """Small codes of pooled vectors that come to a 32nd of the reference or less, at the least factor that does."""
    for pooling in _POOLINGS:
        for name in _SMALL:
            enough = [factor for factor in FACTORS if times(name, dim) * factor >= TARGET]
            for factor in enough[:1]:
                yield Recipe("combinations", name, pooling, factor)


def _pruned_combinations() -> Iterator[Recipe]:
    for pooling, factor, name in _COMBINED:
        for by in ("chance", "distance"):
            yield Recipe("pruned combinations", name, pooling, factor, SHARES[-1], by)


def times(name: str, dim: int) -> float:
    """How many times fewer bytes a vector takes in the codes of a codec than in half precision."""
    return 2 * dim / codec(name).planned_bytes(dim)
