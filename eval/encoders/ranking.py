"""nDCG@10 of every variant of an encoder on one collection, by exhaustive MaxSim over LVQ-8 codes, and its size.

The codes are what an index stores, and their products are sums of integers, several times faster than products of
floats; `exact` says how far the figures are from those of float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from time import process_time
from typing import Any

import numpy as np

from ...encoders.embeddings import FloatArray, TokenEmbeddings
from ...encoders.pooling.base import Pooling, pool
from ...encoders.pooling.ward import ward
from ...index.kernels.warmup import warm_up
from ...index.tokens.lvq8 import Lvq8Codec
from ..search.quality import TOP, shared
from ..search.scans import Numpy
from ..truth import best
from ..yardsticks import bm25_run, mean_pooled
from .collection import Collection, Encoded
from .plan import Variant

Row = dict[str, Any]


def bm25(collection: Collection) -> Row:
    """The figures of BM25. Raises `MissingExtraError` without the extra `bench`."""
    return {"ndcg": collection.judged(bm25_run(collection.dataset))}


def rank(collection: Collection, encoded: Encoded, variants: Sequence[Variant]) -> Row:
    """nDCG@10, vectors and LVQ-8 bytes a document, and CPU seconds of pooling, by variant, JSON-ready."""
    warm_up()
    rows = []
    for variant, documents, queries, seconds in _prepared(encoded, variants):
        if variant.method == "mean":
            scores = mean_pooled(queries) @ mean_pooled(documents).T
            vectors = 1.0
        else:
            scores = byte_scores(documents, queries)
            vectors = len(documents.vectors) / max(1, len(documents))
        rows.append(
            {
                "variant": str(variant),
                "ndcg": collection.ndcg(scores),
                "vectors": vectors,
                "bytes": vectors * Lvq8Codec(variant.dim).bytes_per_token,
                "pooling_seconds": seconds,
            }
        )
    return {"rows": rows}


def exact(collection: Collection, encoded: Encoded, variants: Sequence[Variant]) -> Row:
    """nDCG@10 by LVQ-8 codes and by float32 vectors, and the share of the top 10 that both have, by variant."""
    warm_up()
    rows = []
    for variant, documents, queries, _ in _prepared(encoded, variants):
        codes = byte_scores(documents, queries)
        scan = Numpy(documents)
        floats = np.stack([scan.scores(query) for query in queries])
        agreement = shared(best(codes, TOP), best(floats, TOP))
        row = {"ndcg": collection.ndcg(codes), "exact": collection.ndcg(floats), "agreement": agreement}
        rows.append({"variant": str(variant), **row})
    return {"rows": rows}


def byte_scores(documents: TokenEmbeddings, queries: TokenEmbeddings) -> FloatArray:
    """`(queries, documents)` MaxSim over LVQ-8 codes of the documents."""
    codec = Lvq8Codec(documents.dim)
    return codec.score(queries, codec.encode(documents.vectors), documents.offsets)


def pooled(documents: TokenEmbeddings, variant: Variant) -> TokenEmbeddings:
    """Documents as a variant has them; both sorts of clusters keep equally many vectors.

    Ward's clusters are those that rank best: the marker at the start is one of a fixed number of vectors by itself.
    """
    pooling = Pooling.parse(variant.pooling)
    if variant.method == "k-means":
        return pool(documents, pooling)[0]
    if variant.method == "ward":
        apart = pooling.kind == "fixed" and pooling.size > 1
        return ward(documents, replace(pooling, size=pooling.size - 1) if apart else pooling, protected=int(apart))
    return documents


def _prepared(
    encoded: Encoded, variants: Sequence[Variant]
) -> Iterator[tuple[Variant, TokenEmbeddings, TokenEmbeddings, float]]:
    """Each variant with its documents, queries and the CPU seconds of pooling; vectors are read once a dimension."""
    for dim, same in groupby(sorted(variants, key=lambda variant: variant.dim), key=lambda variant: variant.dim):
        documents, queries = encoded.at(dim)
        for variant in same:
            start = process_time()
            made = pooled(documents, variant)
            yield variant, made, queries, process_time() - start
