"""Which combinations of encoding, reduction and store are measured on which collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ..corpora import PACKAGES
from .encodings import RECIPES
from .reductions import KINDS, Reduction

StoreName = Literal["f32", "LVQ-8", "LVQ-4", "LVQ-4x8", "faiss HNSW"]
DIMS: Final = (64, 128, 192, 256)
_CODES: Final[tuple[StoreName, ...]] = ("LVQ-4", "LVQ-8", "LVQ-4x8")
_UNREDUCED: Final = ("mean", "muvera-2560", "muvera-10240", "muvera-10240-bare", "muvera-python", "cv-fde-10240")
Depth = Literal["quick", "usual", "full"]
"""How many combinations: full has every LeanVec method at every number of dimensions."""


@dataclass(frozen=True)
class Variant:
    """What stands behind an encoding. reduction: None keeps all dimensions."""

    reduction: Reduction | None
    store: StoreName


def recipes(corpus: str, *, quick: bool = False) -> list[str]:
    """Encodings measured on a collection: all, but on the largest none whose float32 vectors crowd the memory.

    quick: one of each sort.
    """
    if quick:
        return ["mean", "muvera-2560", "learned"]
    return [name for name, recipe in RECIPES.items() if corpus != PACKAGES or not recipe.large]


def variants(recipe: str, *, real: bool, depth: Depth) -> list[Variant]:
    """What is measured behind an encoding, unreduced float32 first. real: whether there are real queries to fit to."""
    plain: dict[str, tuple[StoreName, ...]] = {
        "mean": ("f32", "LVQ-8", "LVQ-4"),
        "muvera-2560": ("f32", "faiss HNSW"),
        "learned": ("f32", "LVQ-8", "faiss HNSW"),
    }
    found = [Variant(None, store) for store in plain.get(recipe, ("f32",)) if depth == "full" or store != "faiss HNSW"]
    if recipe in _UNREDUCED:
        return found
    if recipe != "learned" or depth == "quick":
        return found + [Variant(Reduction("Sphering", dim), store) for dim in (128, 256) for store in ("f32", "LVQ-4")]
    found += [Variant(Reduction("Sphering", dim), store) for dim in DIMS for store in ("f32", *_CODES)]
    found += [Variant(Reduction("Sphering", dim, rotated=False), "LVQ-4") for dim in (128, 256)]
    full = depth == "full"
    others = [kind for kind in KINDS if kind != "Sphering"]
    stores: tuple[StoreName, ...] = ("f32", *_CODES) if full else ("f32",)
    found += [Variant(Reduction(kind, dim), store) for kind in others for dim in _dims(full) for store in stores]
    if real:
        fitted = [Reduction("Sphering", dim, "real") for dim in (DIMS if full else (128, 256))]
        found += [Variant(reduction, store) for reduction in fitted for store in ("f32", "LVQ-4")]
    return found


def _dims(full: bool) -> tuple[int, ...]:
    """Dimensions at which the methods that Sphering is compared with are fitted; Frank-Wolfe takes longest by far."""
    return DIMS if full else (128,)
