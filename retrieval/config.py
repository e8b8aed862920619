"""Parameters of an index and the limits on what a caller may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

from ..encoders.errors import InvalidInputError
from ..index.encodings.fde import FDEConfig
from ..index.encodings.learned import LearnedConfig
from ..index.tokens.base import codec_names

MAX_K = 10_000
"""Most results a search may ask for."""
MAX_QUERY_CHARACTERS = 4_096
MAX_QUERY_VECTORS = 512
MAX_REAL_QUERIES = 8_192
"""Queries of a calibration: more would not change what is fitted."""
MAX_DOCUMENT_CHARACTERS = 10_000_000
MAX_ID_CHARACTERS = 1_024
MAX_METADATA_DEPTH = 100
"""SQLite's JSON functions refuse documents nested ten times deeper, and with them every filter over the index."""

Saliency = Literal["distance", "norm", "attention"]
AUTO: Final = "auto"


@dataclass(frozen=True)
class Preset:
    """A token codec by what one wants of it.

    kept: the smallest share of nDCG@10 that it was measured to keep, at most 1: against fp16 with vectors of 128
    dimensions on SciFact, Cranfield and CISI (`make bench-search`), and against LVQ-8 with 384 on Cranfield and CISI.
    A share of other vectors may be smaller: `auto` measures on the index itself.
    """

    codec: str
    kept: float


PRESETS: Final[Mapping[str, Preset]] = {
    "smallest": Preset("pq16", 0.992),
    "balanced": Preset("pq32", 0.996),
    "exact": Preset("lvq8", 0.999),
}
"""From 20 to `dim + 4` bytes a token."""
FAITHFUL: Final = ("lvq8", "fp16")
"""Codecs whose ranking is that of the vectors themselves, near enough to be the measure of the others."""


@dataclass(frozen=True)
class IndexConfig:
    """How an index stores and searches; fixed when it is created and kept in its catalog.

    codec: of tokens: a name from `tokens.base.codec_names`; two joined by `+`, as in `"pq32+lvq8"`, to rank candidates
    by the first and the best of them by the second; a preset (`PRESETS`); or `"auto"`: LVQ-8, and the smallest codec
    that measures well enough once the index has outgrown the exact scan. An index begins with LVQ-8 (or fp16, if that
    is asked for), and stores its tokens anew when it is calibrated or fitted. keep: share of a document's tokens that
    is stored, the most salient ones; saliency: by what, a measure of `tokens.saliency`; `attention` is what a caller
    passes to `Index.add` beside the embeddings. encoding: the single vector per document:
    `"fde"` (MUVERA, fitted to nothing, as `fde` says), `"learned"` (least squares on the stored documents, as `learned`
    says), or `"auto"`, whichever measures better. An index begins with MUVERA, and fits the other once it has outgrown
    the exact scan or is calibrated. dims and bits: of the codes of a learned vector; chosen by measurement when None.
    target_recall: share of the exact top 10 that calibration wants among the candidates. candidates: documents
    reranked by MaxSim until a calibration has chosen the number. exact_below: number of stored token vectors under
    which everything is scanned exactly and nothing is fitted. graph_above: documents of a segment from which a graph
    replaces the scan. batch_documents: documents encoded and committed at a time.
    """

    codec: str = AUTO
    keep: float = 1.0
    saliency: Saliency = "distance"
    encoding: Literal["auto", "fde", "learned"] = "auto"
    fde: FDEConfig = field(default_factory=FDEConfig)
    learned: LearnedConfig = field(default_factory=LearnedConfig)
    dims: int | None = None
    bits: Literal[4, 8] | None = None
    target_recall: float = 0.95
    candidates: int = 200
    exact_below: int = 200_000
    graph_above: int = 500_000
    batch_documents: int = 512

    def __post_init__(self) -> None:
        resolve(self.codec)
        if isinstance(self.keep, bool) or not isinstance(self.keep, int | float) or not 0 < self.keep <= 1:
            raise InvalidInputError(f"keep is the share of tokens to store, above 0 and up to 1; got {self.keep!r}")
        if self.saliency not in get_args(Saliency):
            raise InvalidInputError(f"saliency is {', '.join(get_args(Saliency))}; got {self.saliency!r:.40}")
        if self.encoding not in ("auto", "fde", "learned"):
            raise InvalidInputError(f"encoding is auto, fde or learned; got {self.encoding!r}")
        if self.bits is not None and (type(self.bits) is not int or self.bits not in (4, 8)):
            raise InvalidInputError(f"bits is 4 or 8; got {self.bits!r}")
        if self.dims is not None:
            _check("dims", self.dims, 1, 4096)
        _check("candidates", self.candidates, 1, 1_000_000)
        _check("exact_below", self.exact_below, 0, 1 << 62)
        _check("graph_above", self.graph_above, 0, 1 << 62)
        _check("batch_documents", self.batch_documents, 1, 1_000_000)
        check_target(self.target_recall)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> IndexConfig:
        """Inverse of `to_dict`."""
        parts = {"fde": FDEConfig(**value["fde"]), "learned": LearnedConfig.from_dict(value["learned"])}
        return cls(**{**value, **parts})


def resolve(codec: str) -> str:
    """The codec a preset stands for; other names as they are. Raises `InvalidInputError` for what is neither."""
    name = PRESETS[codec].codec if codec in PRESETS else codec
    levels = str(name).split("+")
    if name == AUTO or (len(levels) <= 2 and set(levels) <= set(codec_names())):
        return name
    raise InvalidInputError(
        f"no token codec {codec!r:.60}; there are {', '.join(codec_names())}, two of them joined by +, the presets "
        f"{', '.join(PRESETS)}, and {AUTO}"
    )


def starting(config: IndexConfig) -> str:
    """The codec an index begins with: the finest level that is asked for if it is faithful, else LVQ-8."""
    finest = resolve(config.codec).rpartition("+")[2]
    return finest if finest in FAITHFUL else FAITHFUL[0]


def _check(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InvalidInputError(f"{name} is a whole number from {low} to {high}; got {value!r}")


def check_target(recall: float) -> None:
    """Raise `InvalidInputError` for a recall that no calibration can aim for."""
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
        raise InvalidInputError(f"a target recall is above 0 and at most 1; got {recall!r}")
