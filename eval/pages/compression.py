"""What compression leaves of page retrieval: exhaustive MaxSim over stored pages, by their bytes and by judgements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import LatefoldError
from ...index.kernels.warmup import warm_up
from ...index.tokens.patch import Patch256Codec, PatchCodec, unique_codes
from ...index.tokens.saliency import Frequencies, document_frequencies, keep_top, saliency
from ..beir import Dataset
from ..search.coding import Coded, encoded
from ..search.quality import shared
from ..truth import best
from .page_vectors import PageVectors
from .poolings import pooled
from .ranking import page_quality, run_of
from .recipes import Recipe, Saliency

DEPTH: Final = 100
AGREED: Final = 5
_HALF: Final = 2


@dataclass(frozen=True)
class Kept:
    """A way to store pages, judged.

    section: of the table. bytes: of a page, without what all pages share (codebooks). times: fewer than in half
    precision. ndcg: nDCG@5. agreement: mean share of the reference's first 5 pages among its own.
    """

    section: str
    label: str
    bytes: float
    times: float
    ndcg: float
    recall_at_5: float
    agreement: float


class Ruler:
    """Judges scores of all pages, against those of half precision once they are known."""

    def __init__(self, dataset: Dataset, vectors: PageVectors) -> None:
        self._pages = [document.id for document in dataset.documents]
        self._dataset = dataset
        self._count = len(vectors.pages)
        self.whole = _HALF * vectors.pages.dim * len(vectors.pages.vectors) / max(1, self._count)
        self.reference: IntArray | None = None

    def judged(self, section: str, label: str, size: float, scores: FloatArray) -> Kept:
        """size: bytes of all pages. The first scores that are judged become the reference."""
        rows = best(scores, DEPTH)
        if self.reference is None:
            self.reference = rows[:, :AGREED]
        found = page_quality(run_of(list(self._dataset.queries), self._pages, rows), self._dataset.qrels)
        each = size / max(1, self._count)
        return Kept(
            section,
            label,
            each,
            self.whole / each if each else float("inf"),
            found.ndcg_at_5,
            found.recall_at_5,
            shared(rows[:, :AGREED], self.reference),
        )


def compression(dataset: Dataset, vectors: PageVectors, chosen: Sequence[Recipe]) -> dict[str, Any]:
    """Every recipe, JSON-ready; the first one is the reference. Recipes that fail are named with the reason."""
    warm_up()
    ruler = Ruler(dataset, vectors)
    rows: list[Kept] = []
    left_out: dict[str, str] = {}

    def kind(recipe: Recipe) -> tuple[str, int]:
        return recipe.pooling, recipe.factor

    first, rest = chosen[:1], sorted(chosen[1:], key=kind)  # so that each pooling is made once, and one at a time
    for group in [first, *(list(found) for _, found in groupby(rest, kind))]:
        pages = pooled(vectors.pages, vectors.boxes, group[0].pooling, group[0].factor)
        weigh = _Weights(pages)
        for recipe, result in _stored(pages, weigh, group, vectors.queries):
            if isinstance(result, LatefoldError):
                left_out[recipe.label] = str(result)
            else:
                rows.append(ruler.judged(recipe.section, recipe.label, *result))
    order = {(str(recipe.section), recipe.label): place for place, recipe in enumerate(chosen)}
    rows.sort(key=lambda row: order[row.section, row.label])
    return {
        "rows": [asdict(row) for row in rows],
        "left_out": left_out,
        "vectors": len(vectors.pages.vectors) / max(1, len(vectors.pages)),
        "dim": vectors.pages.dim,
    }


def _stored(
    pages: TokenEmbeddings, weigh: _Weights, group: Sequence[Recipe], queries: TokenEmbeddings
) -> Iterator[tuple[Recipe, tuple[float, FloatArray] | LatefoldError]]:
    """Bytes of all pages, and scores `(queries, pages)`, of recipes over the same vectors."""
    for name, same in groupby(sorted(group, key=lambda recipe: recipe.codec), lambda recipe: recipe.codec):
        own = list(same)
        try:
            coded = encoded(name, pages)
        except LatefoldError as error:
            yield from ((recipe, error) for recipe in own)
            continue
        for recipe in own:
            yield recipe, _scored(coded, weigh, recipe, queries)


def _scored(coded: Coded, weigh: _Weights, recipe: Recipe, queries: TokenEmbeddings) -> tuple[float, FloatArray]:
    codes, offsets = coded.codes, coded.offsets
    if recipe.share < 1:
        kept, offsets = keep_top(weigh(recipe.by), offsets, recipe.share)
        codes = codes[kept]
    size = float(codes.size)
    if recipe.as_set:
        codes, offsets, _ = unique_codes(codes, offsets)
        size = set_bytes(coded.codec, np.diff(offsets))
    return size, coded.codec.score(queries, codes, offsets)


def set_bytes(codec: Any, different: IntArray) -> float:
    """Bytes of pages with so many different patch codes each: a list of codes, or a map with a bit for each there is.

    A map is possible only where one codebook makes the codes.
    """
    lists = different * codec.bytes_per_token
    if isinstance(codec, PatchCodec) and codec.books == 1:
        return float(np.minimum(lists, codec.entries // 8).sum())
    return float(lists.sum())


class _Weights:
    """Saliency of vectors by measure, each computed once."""

    def __init__(self, pages: TokenEmbeddings) -> None:
        self._pages = pages
        self._known: dict[str, FloatArray] = {}
        self._codes: tuple[IntArray, Frequencies] | None = None

    def __call__(self, by: Saliency) -> FloatArray:
        if by not in self._known:
            self._known[by] = self._weights(by)
        return self._known[by]

    def _weights(self, by: Saliency) -> FloatArray:
        if by == "chance":
            return np.random.default_rng(0).random(len(self._pages.vectors)).astype(np.float32)
        if by != "rarity":
            return saliency(self._pages, by)
        coded = encoded("patch256", self._pages)
        assert isinstance(coded.codec, Patch256Codec)
        ids = coded.codec.ids(coded.codes)
        frequencies = document_frequencies(ids, coded.offsets, len(coded.codec.params()["codebook0"]))
        return saliency(self._pages, "rarity", codes=ids, frequencies=frequencies)


def rows_of(result: Mapping[str, Any]) -> list[Kept]:
    """Rows of a result that was JSON."""
    return [Kept(**row) for row in result["rows"]]
