"""Which engines and codecs are measured on which collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...encoders.errors import InvalidInputError
from ..corpora import PACKAGES, PACKAGES_FEW, PACKAGES_HEAD, Place
from .engines import COUNTS, Engine, Latefold
from .peers import FastPlaid, Tachiom, version_of
from .scans import MaxsimCpu, Numpy, Scan

LATEFOLD: Final = "latefold "
SEARCHED: Final = (PACKAGES_FEW, PACKAGES_HEAD, PACKAGES)
"""Collections of whole search."""
BRUTE: Final = ("torch bf16", "torch f32", Numpy.name, MaxsimCpu.name)
_FEW: Final = ("lvq8", "pq32+lvq8")
_STORED: Final = ("lvq8", "lvq4", "pq48", "pq32", "pq16", "pq32+lvq8")
_LARGE: Final = ("lvq8", "pq48")
_QUICK_COUNTS: Final = (50, 200)
CODECS: Final = (
    "fp16", "lvq8", "lvq4x4", "lvq4", "residual4", "residual2", "residual1", "pq48", "pq32", "pq16", "rabitq", "sign",
    "patch512", "patch256", "patch256r1", "patch256r2",
)  # fmt: skip
"""Of one level; the reference first."""
TWO_LEVELS: Final = ("pq32+lvq8", "rabitq+lvq8", "patch256+lvq8")
WIDE: Final = ("fp16", "lvq8", "lvq4", "pq48", "pq32", "pq16", "sign", "patch256")
"""Codecs that are judged on the encoder's whole width too."""
PRUNED: Final = ("lvq8", "lvq4x4", "lvq4", "pq32", "rabitq")
DIMS: Final = (128, 384)
"""Leading dimensions of the sentence model: `minilm-128`, and all of `minilm`."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    large_peers: whether TACHIOM is built on the largest collection as well.
    """

    quick: bool = False
    large_peers: bool = False

    def built(self, corpus: str) -> list[str]:
        """Engines that keep an index, on a collection."""
        if self.quick:
            return [f"{LATEFOLD}lvq8", Tachiom.name]
        if corpus == PACKAGES:
            return [LATEFOLD + codec for codec in _LARGE] + [Tachiom.name] * self.large_peers
        if corpus == PACKAGES_FEW:
            return [LATEFOLD + codec for codec in _FEW] + [Tachiom.name, FastPlaid.name]
        return [LATEFOLD + codec for codec in _STORED] + [Tachiom.name]

    def engines(self, corpus: str) -> list[str]:
        """All engines on a collection."""
        return [*self.built(corpus), *BRUTE]

    @property
    def codecs(self) -> Sequence[str]:
        """Codecs of quality and of kernels."""
        return ("fp16", "lvq8") if self.quick else CODECS

    def ranked(self, dim: int) -> Sequence[str]:
        """Codecs of quality, those of two levels behind their levels."""
        if self.quick:
            return self.codecs
        return (*CODECS, *TWO_LEVELS) if dim == DIMS[0] else WIDE

    @property
    def pruned(self) -> Sequence[str]:
        """Codecs whose pruning is measured."""
        return ("lvq8",) if self.quick else PRUNED

    @property
    def dims(self) -> Sequence[int]:
        """Leading dimensions whose ranking is judged."""
        return DIMS[:1] if self.quick else DIMS


def engine(name: str, place: Place) -> Engine:
    """An engine by name. Raises `InvalidInputError` for an unknown one."""
    if name.startswith(LATEFOLD):
        return Latefold(name.removeprefix(LATEFOLD), _QUICK_COUNTS if place.quick else COUNTS)
    if name == Tachiom.name:
        return Tachiom(place)
    if name == FastPlaid.name:
        return FastPlaid()
    if name in BRUTE:
        return Scan(name)
    raise InvalidInputError(f"no engine {name!r:.40}")


def version(name: str) -> str:
    """Version of the package of an engine, as far as the index it builds depends on it alone; empty for latefold's."""
    return "" if name.startswith(LATEFOLD) else f"{version_of(name.partition(' ')[0])}"
