"""Which encoders are measured, and which of their dimensions and poolings on every collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Self, cast, get_args

from ...encoders.errors import InvalidInputError

Method = Literal["tokens", "mean", "k-means", "ward"]
"""What stands for a document: all token vectors, their mean, or the means of clusters that one or the other finds."""
BASE: Final = "minilm"
"""The sentence model: what the bundled encoder is made from, and the stand-in whose speed it must reach."""
NARROW: Final = 128
"""Dimensions at which poolings are compared, or as many as an encoder has."""
NESTED: Final = (32, 64, 96)
SIZES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "2x fewer": "c50%",
        "3x fewer": "c33%",
        "6x fewer": "c16.7%",
        "11x fewer": "c9%",
        "32 a document": "c32",
        "8 a document": "c8",
    }
)
"""Numbers of vectors, and the pooling of each."""
_QUICK: Final = ("3x fewer", "8 a document")
_FOLDED: Final = ("c33%", "c32")


@dataclass(frozen=True)
class Variant:
    """A way to use the vectors of an encoder.

    dim: leading dimensions. pooling: how many clusters, as `Pooling` writes it; `none` where there are none.
    """

    dim: int
    method: Method = "tokens"
    pooling: str = "none"

    def __str__(self) -> str:
        return f"{self.dim} {self.method} {self.pooling}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Inverse of `str`. Raises `InvalidInputError`."""
        dim, _, rest = text.partition(" ")
        method, _, pooling = rest.partition(" ")
        if not dim.isdecimal() or method not in get_args(Method) or not pooling:
            raise InvalidInputError(f"{text!r:.60} names no variant; expected '128 ward c33%'")
        return cls(int(dim), cast("Method", method), pooling)


@dataclass(frozen=True)
class Plan:
    """encoder: the one that was trained with pooling. posthoc: one that was trained without, where there is one."""

    encoder: str
    posthoc: str | None = None
    quick: bool = False

    @property
    def encoders(self) -> Sequence[str]:
        """Names or paths, each once."""
        return list(dict.fromkeys(name for name in (BASE, self.encoder, self.posthoc) if name is not None))

    @property
    def sizes(self) -> Sequence[str]:
        """Poolings, from many vectors to few."""
        return [pooling for size, pooling in SIZES.items() if not self.quick or size in _QUICK]

    def variants(self, encoder: str, dim: int) -> Sequence[Variant]:
        """What is ranked of an encoder of `dim` dimensions, each once."""
        narrow = min(dim, NARROW)
        found: list[Variant] = []
        if encoder == BASE:
            found += [Variant(dim, "mean"), Variant(dim), Variant(narrow), *self._pooled(narrow, "k-means")]
        if encoder == self.encoder:
            nested = () if self.quick else NESTED
            found += [Variant(part) for part in (*nested, narrow) if part <= narrow]
        if encoder in (self.encoder, self.posthoc):
            found += [Variant(narrow), *self._pooled(narrow, "k-means"), *self._pooled(narrow, "ward")]
        return list(dict.fromkeys(found))

    def folded(self, encoder: str, dim: int) -> Sequence[Variant]:
        """What is folded into single vectors, and looked at for isotropy."""
        narrow = min(dim, NARROW)
        found = [Variant(dim)] if encoder == BASE and not self.quick else []
        found.append(Variant(narrow))
        if encoder == self.encoder:
            found += [variant for variant in self._pooled(narrow, "k-means") if variant.pooling in _FOLDED]
        return list(dict.fromkeys(found))

    @property
    def timed(self) -> Sequence[str]:
        """Names of encoders with turns, the stand-in first."""
        return [BASE, *dict.fromkeys([self.encoder, *(f"{self.encoder}:{pooling}" for pooling in ("c33%", "c8"))])]

    def _pooled(self, dim: int, method: Method) -> list[Variant]:
        return [Variant(dim, method, pooling) for pooling in self.sizes]
