"""Choosing how tokens are stored: presets, and codecs judged by what they keep of the exact ranking on this very index.

An index begins with codes that lose next to nothing. When it is fitted, its tokens are encoded anew by the codec asked
for, or by the smallest that measures well enough.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..encoders.base import Progress
from ..encoders.embeddings import TokenEmbeddings
from ..index.tokens.base import TokenCodec, codec
from .calibrate import TOP, Judged
from .config import AUTO, resolve, starting
from .search import scans_exactly
from .snapshot import Fitted, IntArray, Snapshot

OPTIONS: Final = ("pq16", "pq32", "pq48", "lvq4")
"""What `auto` tries beside LVQ-8."""
KEPT: Final = 0.95
"""Share of the exact top 10 that a codec must keep for `auto` to take it."""
SAMPLE_VALUES: Final = 1 << 25
"""Coordinates of stored token vectors that a codec is fitted to: 128 MiB."""


@dataclass(frozen=True)
class CodecOption:
    """A codec that was measured.

    bytes: a token. kept: share of the exact top 10 that it ranks among its own, when it ranks the exact top 100.
    """

    codec: str
    bytes: int
    kept: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def recode_due(snapshot: Snapshot, fitted: Fitted, *, again: bool) -> bool:
    """Whether the tokens are not yet stored as they are to be. again: whether to look for a smaller codec once more."""
    wanted = resolve(snapshot.config.codec)
    if fitted.codec_name != starting(snapshot.config):
        return False  # finer vectors are gone
    if wanted != AUTO:
        return wanted != fitted.codec_name
    return not scans_exactly(snapshot) and (again or not snapshot.calibration.get("codecs"))


def choose(
    snapshot: Snapshot, fitted: Fitted, judged: Judged, progress: Progress | None = None
) -> tuple[Fitted, list[CodecOption]]:
    """Fit the codec asked for, or the smallest that keeps enough of the exact ranking, and measure what it keeps."""
    wanted = resolve(snapshot.config.codec)
    names = _smaller(fitted.codec) if wanted == AUTO else [wanted.partition("+")[0]]
    report = progress or (lambda _phase, _done, _total: None)
    sample = _sample(snapshot, fitted, np.random.default_rng(snapshot.catalog.generation))
    truth = _Truth.collect(snapshot, fitted, judged)
    options: list[CodecOption] = []
    for number, name in enumerate(names):
        report("codec", number, len(names))
        made = codec(name).fit(sample)
        options.append(CodecOption(name, made.bytes_per_token, truth.kept(made)))
        if wanted != AUTO or options[-1].kept >= KEPT:
            break
    else:
        made = fitted.codec
    report("codec", len(names), len(names))
    fine = None
    if "+" in wanted:
        name = wanted.partition("+")[2]
        fine = fitted.codec if name == fitted.codec.name else codec(name).fit(sample)
    return replace(fitted, codec=made, fine=fine), options


def _smaller(present: TokenCodec) -> list[str]:
    """What `auto` tries in the place of a codec, smallest first."""
    sizes = {name: codec(name).planned_bytes(present.dim) for name in OPTIONS}
    return sorted((name for name, size in sizes.items() if size < present.bytes_per_token), key=sizes.__getitem__)


def _sample(snapshot: Snapshot, fitted: Fitted, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """`(t, dim)` stored token vectors, drawn evenly from all segments."""
    share = min(1.0, SAMPLE_VALUES / max(1, snapshot.tokens * snapshot.dim))
    parts = [np.empty((0, snapshot.dim), np.float32)]
    for segment in snapshot.segments:
        count = len(segment.finest)
        chosen = np.sort(rng.choice(count, size=min(count, max(1, round(share * count))), replace=False))
        parts.append(fitted.finest.decode(segment.finest[chosen]))
    return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class _Truth:
    """The exact top 100 of each judged query, with the vectors of those documents."""

    judged: Judged
    rows: IntArray
    tokens: TokenEmbeddings

    @classmethod
    def collect(cls, snapshot: Snapshot, fitted: Fitted, judged: Judged) -> _Truth:
        rows = np.unique(np.concatenate([np.empty(0, np.int64), *judged.truth]))
        items = []
        for row in rows.tolist():
            segment, position = snapshot.locate(row)
            items.append(fitted.finest.decode(segment.finest[slice(*segment.offsets[position : position + 2])]))
        return cls(judged, rows, TokenEmbeddings.from_list(items, dim=snapshot.dim))

    def kept(self, chosen: TokenCodec) -> float:
        """Share of the exact top 10 that a codec ranks among its own 10 best, mean over queries."""
        codes = chosen.encode(self.tokens.vectors)
        shares = []
        for number, best in enumerate(self.judged.truth):
            if len(best) <= TOP:
                continue
            query = self.judged.queries.embeddings.take([number])
            scores = chosen.score(query, codes, self.tokens.offsets, np.searchsorted(self.rows, best))[0]
            found = best[np.argsort(-scores, kind="stable")[:TOP]]
            shares.append(len(np.intersect1d(found, best[:TOP])) / TOP)
        return round(float(np.mean(shares)), 4) if shares else 1.0
