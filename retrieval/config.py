"""Parameters of an index and the limits on what a caller may ask."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..index.encodings.fde import FDEConfig

MAX_K = 10_000
"""Most results a search may ask for."""
MAX_QUERY_CHARACTERS = 4_096
MAX_QUERY_VECTORS = 512
MAX_DOCUMENT_CHARACTERS = 10_000_000
MAX_ID_CHARACTERS = 1_024
MAX_METADATA_DEPTH = 100
"""SQLite's JSON functions refuse documents nested ten times deeper, and with them every filter over the index."""


@dataclass(frozen=True)
class IndexConfig:
    """How an index stores and searches; fixed when it is created and kept in its catalog.

    codec: token codec, `"lvq8"` (1 byte a dimension) or `"fp16"` (2 bytes). fde: the single vector per document.
    candidates: documents reranked by MaxSim in mode `fde` until a calibration has chosen the number.
    target_recall: share of the exact top 10 that calibration aims for. exact_below: number of stored token vectors
    under which mode `auto` scans everything exactly. batch_documents: documents encoded and committed at a time.
    """

    codec: str = "lvq8"
    fde: FDEConfig = field(default_factory=FDEConfig)
    candidates: int = 200
    target_recall: float = 0.95
    exact_below: int = 200_000
    batch_documents: int = 512

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> IndexConfig:
        """Inverse of `to_dict`."""
        return cls(**{**value, "fde": FDEConfig(**value["fde"])})
