"""Patch codes of HPC-ColPali (2506.21601) and what goes with them: pruned tokens, Hamming distance ahead of MaxSim."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...index.kernels.patches import patch_scores
from ...index.kernels.warmup import warm_up
from ...index.tokens.base import Codes
from ...index.tokens.hamming import SignCodec
from ...index.tokens.lvq8 import Lvq8Codec
from ...index.tokens.patch import Patch256Codec, unique_codes
from ...index.tokens.saliency import document_frequencies, keep_top, prune_queries, saliency
from ..corpora import Corpus
from ..truth import best
from .coding import SAMPLE
from .quality import Judge

SHARES: Final = (0.8, 0.6, 0.4)
FIRST: Final = (50, 200)
"""How many documents of a ranking by Hamming distance are ranked anew."""
_BITS: Final = 8


@dataclass(frozen=True)
class Method:
    """A way to rank all documents. bytes: of codes over the number of tokens before pruning."""

    name: str
    bytes: float
    ndcg: float


class _Bench:
    """A collection in LVQ-8, patch and sign codes."""

    def __init__(self, corpus: Corpus, dim: int) -> None:
        documents, queries = corpus.documents.read().leading(dim), corpus.queries.read().leading(dim)
        self.documents, self.queries, self.offsets = documents, queries, documents.offsets
        sample = np.ascontiguousarray(documents.vectors[:: max(1, -(-len(documents.vectors) // SAMPLE))])
        self.fine, self.patch, self.sign = Lvq8Codec(dim), Patch256Codec.fit(sample), SignCodec.fit(sample)
        self.fine_codes = self.fine.encode(documents.vectors)
        self.patch_codes = self.patch.encode(documents.vectors)
        self.exact = self.fine.score(queries, self.fine_codes, self.offsets)

    def methods(self) -> Iterator[tuple[str, float, FloatArray]]:
        """Names, bytes a token, and scores of all documents."""
        yield "lvq8", self.fine.bytes_per_token, self.exact
        yield "patch256", 1, self.patch.score(self.queries, self.patch_codes, self.offsets)
        yield from self._ahead()
        ids = self.patch.ids(self.patch_codes)
        frequencies = document_frequencies(ids, self.offsets, len(self.patch.params()["codebook0"]))
        yield from self._pruned_documents(
            {
                "rarity": saliency(self.documents, "rarity", codes=ids, frequencies=frequencies),
                "distance": saliency(self.documents, "distance"),
                "chance": np.random.default_rng(0).random(len(ids)).astype(np.float32),
            }
        )
        asked = self.patch.ids(self.patch.encode(self.queries.vectors))
        yield from self._pruned_queries(
            {
                "rarity": saliency(self.queries, "rarity", codes=asked, frequencies=frequencies),
                "distance": saliency(self.queries, "distance"),
            }
        )

    def _ahead(self) -> Iterator[tuple[str, float, FloatArray]]:
        """Rankings by the Hamming distance of signs and of patch ids, and what LVQ-8 makes of their first."""
        codes = self.sign.encode(self.documents.vectors)
        size = float(self.sign.bytes_per_token)
        yield "sign", size, self.sign.score(self.queries, codes, self.offsets)
        plain = np.random.default_rng(0).permutation(1 << _BITS)
        ahead: list[tuple[str, float, FloatArray]] = [
            ("Hamming distance of signs", size, self.sign.coarse(self.queries, codes, self.offsets)),
            ("Hamming distance of ordered patch ids", 1, self._by_ids(np.arange(1 << _BITS))),
            ("Hamming distance of plain patch ids", 1, self._by_ids(plain)),
        ]
        for name, width, scores in ahead:
            yield name, width, scores
            for count in FIRST:
                near = best(scores, count)
                refined = np.full_like(self.exact, -np.inf)
                np.put_along_axis(refined, near, np.take_along_axis(self.exact, near, axis=1), axis=1)
                yield f"{name}, lvq8 on the best {count}", width + self.fine.bytes_per_token, refined

    def _by_ids(self, labels: IntArray) -> FloatArray:
        """MaxSim of bits that agree less those that do not, of ids after centroid `i` got the id `labels[i]`."""
        bits = np.where(labels[:, None] >> np.arange(_BITS) & 1, 1, -1).astype(np.float32)
        asked = bits[self.patch.ids(self.patch.encode(self.queries.vectors))]
        turned = TokenEmbeddings(asked, self.queries.offsets)
        return patch_scores(turned, bits[None], self.patch_codes, self.offsets)

    def _pruned_documents(self, weights: dict[str, FloatArray]) -> Iterator[tuple[str, float, FloatArray]]:
        coders: list[tuple[str, Callable[..., FloatArray], Codes]] = [
            ("patch256", self.patch.score, self.patch_codes),
            ("lvq8", self.fine.score, self.fine_codes),
        ]
        for name, score, codes in coders:
            for by, own in weights.items():
                for share in SHARES:
                    kept, offsets = keep_top(own, self.offsets, share)
                    size = codes.shape[1] * len(kept) / max(1, len(codes))
                    yield f"{name}, {share:.0%} of tokens by {by}", size, score(self.queries, codes[kept], offsets)

    def _pruned_queries(self, weights: dict[str, FloatArray]) -> Iterator[tuple[str, float, FloatArray]]:
        for by, own in weights.items():
            for share in SHARES:
                left = prune_queries(self.queries, own, share)
                label = f"lvq8, {share:.0%} of query tokens by {by}"
                yield label, self.fine.bytes_per_token, self.fine.score(left, self.fine_codes, self.offsets)


def patches(corpus: Corpus, folder: Path, dim: int) -> dict[str, Any]:
    """nDCG@10 of every method, JSON-ready. folder: of the collection, with its judgements."""
    warm_up()
    judge, bench = Judge(corpus, folder), _Bench(corpus, min(dim, corpus.documents.dim))
    rows = [Method(name, float(size), judge.ndcg(best(scores, 10))) for name, size, scores in bench.methods()]
    distinct = len(unique_codes(bench.patch_codes, bench.offsets)[0]) / max(1, len(bench.patch_codes))
    return {"rows": [asdict(row) for row in rows], "distinct": distinct}
