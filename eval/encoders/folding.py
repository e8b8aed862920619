"""How well single vectors stand for the token vectors of an encoder, and what those look like: isotropy, stable rank.

An encoder whose tokens share a direction folds badly: every partition of space then holds all or nothing (LEMUR, arXiv
2601.21853, measures it on several encoders).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, TokenEmbeddings
from ...index.encodings.base import Encoding
from ...index.encodings.fde import FDE, FDEConfig
from ...index.encodings.learned import Learned, LearnedConfig
from ...index.kernels.warmup import warm_up
from ..search.quality import TOP, shared
from ..truth import best
from .collection import Encoded
from .plan import Variant
from .ranking import byte_scores, pooled

CANDIDATES: Final = 100
MUVERA: Final[Mapping[str, FDEConfig]] = MappingProxyType(
    {
        "muvera": FDEConfig(final_dim=2560),
        "muvera_paper": FDEConfig(repetitions=20, simhash_bits=4, projected_dim=8, fill_empty=True),
    }
)
"""Both of 2,560 dimensions: as an index folds, sketched to that, and a shape of the paper's."""
_SAMPLE, _LOOKED_AT, _BLOCK = 4096, 500, 1000


def fold(encoded: Encoded, variants: Sequence[Variant]) -> dict[str, Any]:
    """Recall of the exact top 10 in `CANDIDATES` by each encoding, and isotropy, by variant, JSON-ready."""
    warm_up()
    rows = []
    for variant in variants:
        documents, queries = encoded.at(variant.dim)
        documents = pooled(documents, variant)
        truth = best(byte_scores(documents, queries), TOP)
        row: dict[str, Any] = {"variant": str(variant), **isotropy(documents)}
        for name, config in MUVERA.items():
            row[name] = _recall(FDE(config, documents.dim), documents, queries, truth)
        row["learned"] = _recall(Learned.fit(LearnedConfig(), _sample(documents, _SAMPLE)), documents, queries, truth)
        rows.append(row)
    return {"rows": rows}


def isotropy(documents: TokenEmbeddings) -> dict[str, float]:
    """Mean cosine of two different tokens, and stable rank, of the whole collection and within a document (mean).

    The stable rank is the sum of all squared singular values over the largest, 1 where all tokens share a direction.
    """
    inside = [_of(vectors) for vectors in _sample(documents, _LOOKED_AT) if len(vectors) > 1]
    cosine, rank = _of(documents.vectors)
    within = np.mean(inside, axis=0) if inside else np.zeros(2)
    return {"cosine": cosine, "rank": rank, "cosine_within": float(within[0]), "rank_within": float(within[1])}


def _of(vectors: FloatArray) -> tuple[float, float]:
    """Mean cosine of pairs of unit vectors, which is had from the length of their sum, and stable rank."""
    count = len(vectors)
    total = vectors.sum(axis=0, dtype=np.float64)
    cosine = (total @ total - count) / max(1, count * (count - 1))
    small = vectors @ vectors.T if count < vectors.shape[1] else vectors.T @ vectors
    values = np.linalg.eigvalsh(small.astype(np.float64))
    return float(cosine), float(values.sum() / max(values[-1], np.finfo(np.float64).tiny))


def _recall(encoding: Encoding, documents: TokenEmbeddings, queries: TokenEmbeddings, truth: Any) -> float:
    folded = np.concatenate(
        [
            encoding.encode_documents(documents.take(np.arange(start, min(start + _BLOCK, len(documents)))))
            for start in range(0, len(documents), _BLOCK)
        ]
    )
    return shared(best(encoding.encode_queries(queries) @ folded.T, CANDIDATES), truth)


def _sample(documents: TokenEmbeddings, count: int) -> TokenEmbeddings:
    """Documents drawn with seed 0."""
    rows = np.random.default_rng(0).choice(len(documents), min(count, len(documents)), replace=False)
    return documents.take(np.sort(rows))
