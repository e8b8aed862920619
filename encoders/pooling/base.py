"""What a pooling keeps of a text, by name (`c8`, `c33%`, `k2`, `tail8`), and `pool`, which applies one without torch.

The clusters are those of spherical k-means over the token vectors of one text, by itself. Lloyd steps begin with Ward's
hierarchical clusters, which lower the same sum of squares greedily, and go on until nothing moves. A cluster without
members takes over the token that fits its own cluster worst. No random numbers: a text's clusters depend on its vectors
only, not on its batch and, but for exact ties, not on their order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..embeddings import FloatArray, TokenEmbeddings
from ..errors import InvalidInputError

Kind = Literal["none", "fixed", "relative", "spacing", "tail"]
Assignments = npt.NDArray[np.int32]

MAX_TOKENS = 16_384
"""Tokens of one text that can be clustered: memory grows with the square (4 GB at this length)."""

_TEXT = re.compile(
    r"(?P<name>none|c(?P<fixed>\d{1,9})|c(?P<share>\d{1,9}(\.\d{1,9})?)%|k(?P<spacing>\d{1,9})|tail(?P<tail>\d{1,9}))"
    r"(?P<raw>:raw)?(:iterations=(?P<iterations>\d{1,9}))?"
)


@dataclass(frozen=True)
class Pooling:
    """Which vectors stand for a text.

    kind: `fixed`, the means of at most `size` clusters of its token vectors; `relative`, of as many clusters as `size`
    (a share in (0, 1]) of its tokens, at least one; `spacing`, every `size`-th token; `tail`, the last `size` tokens;
    `none`, all.
    renormalize: scale means to length 1. Raw means lie inside the unit ball, and MaxSim over them never exceeds MaxSim
    over the tokens; whoever has learned with one kind needs the same kind later.
    iterations: Lloyd steps at most; they end when no token moves. With 0, the clusters are Ward's.

    Raises `InvalidInputError` on values that mean nothing.
    """

    kind: Kind
    size: float = 0
    renormalize: bool = True
    iterations: int = 20

    def __post_init__(self) -> None:
        size = self.size
        if self.kind == "relative":
            if not 0 < size <= 1:
                raise InvalidInputError(f"the share of vectors to keep is {size}; expected more than 0, at most 1")
        elif self.kind in ("fixed", "spacing", "tail"):
            if not 1 <= size < math.inf or size != int(size):
                raise InvalidInputError(f"the size of a {self.kind} pooling is {size}; expected a whole number from 1")
        elif self.kind != "none":
            raise InvalidInputError(f"{self.kind!r} is no pooling; there are none, fixed, relative, spacing, tail")
        if self.iterations < 0:
            raise InvalidInputError(f"iterations is {self.iterations} and must not be negative")

    @classmethod
    def parse(cls, text: str) -> Pooling:
        """The pooling that `str` wrote as `text`: `none`, `c8`, `c33%`, `k2`, `tail8`, with `:raw` for unscaled means.

        Settings other than the usual follow in this order: `c8:raw:iterations=5`.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InvalidInputError(
                f"{text!r} names no pooling; expected none, c8 (8 clusters), c33% (clusters for 33% of the tokens),"
                " k2 (every 2nd token) or tail8 (the last 8), and :raw to keep means as they are"
            )
        kind: Kind = "none"
        size: float = 0
        if match["fixed"]:
            kind, size = "fixed", int(match["fixed"])
        elif match["share"]:
            kind, size = "relative", float(match["share"]) / 100
        elif match["spacing"]:
            kind, size = "spacing", int(match["spacing"])
        elif match["tail"]:
            kind, size = "tail", int(match["tail"])
        return cls(kind, size, match["raw"] is None, int(match["iterations"] or 20))

    def __str__(self) -> str:
        name = {
            "none": "none",
            "fixed": f"c{self.size:.0f}",
            "relative": f"c{self.size * 100:.10g}%",
            "spacing": f"k{self.size:.0f}",
            "tail": f"tail{self.size:.0f}",
        }[self.kind]
        raw = "" if self.renormalize else ":raw"
        steps = "" if self.iterations == 20 else f":iterations={self.iterations}"
        return name + raw + steps

    @property
    def clusters(self) -> bool:
        """Whether vectors are means of clusters, rather than some of the tokens."""
        return self.kind in ("fixed", "relative")

    def kept(self, tokens: int) -> int:
        """How many vectors a text of `tokens` tokens keeps; a text without tokens keeps none."""
        if self.kind == "relative":
            return min(tokens, max(1, math.floor(self.size * tokens + 1e-9)))
        if self.kind == "spacing":
            return -(-tokens // int(self.size))
        return tokens if self.kind == "none" else min(tokens, int(self.size))


def _both(text: str) -> tuple[Pooling, Pooling]:
    return Pooling.parse(text), Pooling.parse(text)


PAPER: Mapping[str, tuple[Pooling, Pooling]] = MappingProxyType(
    {
        "4x8": (Pooling.parse("tail4"), Pooling.parse("tail8")),
        "8x32": (Pooling.parse("tail8"), Pooling.parse("tail32")),
        "K2": _both("k2"),
        "K4": _both("k4"),
        "C4x8": (Pooling.parse("c4"), Pooling.parse("c8")),
        "C8x32": (Pooling.parse("c8"), Pooling.parse("c32")),
        "C25": _both("c25%"),
        "C50": _both("c50%"),
    }
)
"""The paper's names: the poolings of queries and of documents (§3)."""


def pool(
    embeddings: TokenEmbeddings, pooling: Pooling, weights: FloatArray | None = None
) -> tuple[TokenEmbeddings, Assignments]:
    """The pooled vectors of each text, and where each token went.

    weights: `(total,)` importance of each token in its cluster's mean, not negative; equal when None. A token's weight
    counts as a millionth of its text's largest at least, so that every cluster has a mean.

    Returns the pooled vectors, in the order of the first token of each, and `(total,)` int32 assignments: the place of
    each token's vector among those of its text, -1 for tokens that `spacing` and `tail` drop. A text that has no more
    tokens than it may keep stays as it is.

    Raises `InvalidInputError` on weights of a wrong shape or value and on texts too long to cluster.
    """
    lengths = embeddings.lengths
    kept = np.array([pooling.kept(int(length)) for length in lengths], np.int64)
    offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    rank = np.arange(len(embeddings.vectors)) - np.repeat(embeddings.offsets[:-1], lengths)
    if pooling.clusters and (kept < lengths).any():
        require_clusterable(embeddings)
        from .kernel import pool_clusters

        return pool_clusters(embeddings, offsets, token_weights(embeddings, weights), pooling)
    if pooling.kind == "spacing":
        places = np.where(rank % int(pooling.size) == 0, rank // int(pooling.size), -1)
    else:
        places = np.maximum(rank - np.repeat(lengths - kept, lengths), -1)
    return TokenEmbeddings(embeddings.vectors[places >= 0], offsets), places.astype(np.int32)


def require_clusterable(embeddings: TokenEmbeddings) -> None:
    """Refuse texts of more than `MAX_TOKENS` tokens, with `InvalidInputError`."""
    longest = int(embeddings.lengths.max(initial=0))
    if longest > MAX_TOKENS:
        raise InvalidInputError(f"a text of {longest} tokens is too long to cluster (at most {MAX_TOKENS}); split it")


def token_weights(embeddings: TokenEmbeddings, weights: FloatArray | None) -> npt.NDArray[np.float64]:
    """`(total,)` float64 weights from 1e-6 to 1, where 1 is the largest of each text; all 1 when None."""
    total = len(embeddings.vectors)
    if weights is None:
        return np.ones(total)
    given = np.asarray(weights, np.float64)
    if given.shape != (total,) or not np.isfinite(given).all() or (given < 0).any():
        raise InvalidInputError(f"weights must be {total} finite numbers, none negative; got shape {given.shape}")
    largest = np.zeros(len(embeddings))
    np.maximum.at(largest, np.repeat(np.arange(len(embeddings)), embeddings.lengths), given)
    largest = np.repeat(largest, embeddings.lengths)
    scaled = np.ones(total)
    np.divide(given, largest, out=scaled, where=largest > 0)
    return np.maximum(scaled, 1e-6)
