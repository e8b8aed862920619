"""Fitting the single vectors to an index, and choosing their form by measurement.

The learned encoding is fitted to a sample of the stored documents, LeanVec-Sphering to the second moments of its
document and query vectors. Every number of dimensions and bits on offer is then measured: the place of a true answer
among all documents is estimated from how many of a sample come before it. The cheapest at the target recall wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..encoders.base import Encoder, Progress
from ..encoders.embeddings import FloatArray, TokenEmbeddings
from ..index.encodings.learned import Learned
from ..index.kernels.rows import CONSTANT_BYTES, Bytes
from ..index.leanvec import LeanVec, choose_dim, sphering
from ..index.lvq import LVQ
from ..index.moments import Moments
from ..index.single import SingleVectors
from .calibrate import TOP, Curve, Judged, depths_of, measure, needed, recall_curve
from .config import IndexConfig
from .pseudo import live_rows, pseudo_queries
from .snapshot import Fitted, IntArray, Snapshot

DIMS = (64, 128, 192, 256, 384, 512)
BITS = (4, 8)
BYTES = 260
"""No more than so many a document: beyond 256 dimensions 4 bits each lose less than 8 bits of half as many."""
FIT_TOKENS = 1 << 16
"""Stored token vectors that the learned encoding is fitted to."""
FIT_TEXTS, FIT_VECTORS = 1024, 4096
"""Passages, or sets of vectors, that stand for queries in the fit."""
SAMPLE_TOKENS = 1_500_000
"""Stored token vectors of the documents whose single vectors are compared."""
SAMPLE_DOCUMENTS = (2_000, 20_000)
"""Fewest and most of them."""
SCAN_RATE = 2.5e10
"""Bytes of codes that a core scans in a second, about."""
RERANK_RATE = 6e10
"""Multiply-adds of MaxSim that a core does in a second with codes that are not in its caches, about."""
_PROBED, _PROBED_TOKENS = 256, 2048
_LOST = 1e-3
"""Share of the spectrum that is not worth more dimensions."""
_ROTATION_SEED = 7


@dataclass(frozen=True)
class Option:
    """One form of the single vector. bytes: a document. curve: estimated recall of the exact top 10 (see `Curve`).

    candidates: how many reach the target; None when no count that was tried does. microseconds: estimated time of scan
    and rerank on one core with that many; it serves to compare options only.
    """

    single: str
    bytes: int
    curve: Curve
    candidates: int | None
    microseconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Sorts the best option first: those that reach the target by time, the others by recall."""
        return self.candidates is None, self.microseconds if self.candidates else -self.curve[-1][1], self.bytes


@dataclass(frozen=True, eq=False)
class Tuned:
    """The winner, whose single vectors may be those the index had before, and all that was compared."""

    fitted: Fitted
    options: Sequence[Option]


def tune(
    snapshot: Snapshot,
    fitted: Fitted,
    encoder: Encoder | None,
    judged: Judged,
    target: float,
    *,
    real: TokenEmbeddings | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Fit the learned encoding and choose its form. real: queries to fit to, none of which is among the judged."""
    rng = np.random.default_rng(snapshot.catalog.generation)
    rows = rng.permutation(live_rows(snapshot))
    report = progress or (lambda _phase, _done, _total: None)
    report("fit", 0, 4)
    unjudged = rows[~np.isin(rows, judged.queries.owners)]
    asked = _queries_to_fit(snapshot, encoder, unjudged if len(unjudged) else rows, real, rng)
    learned = Learned.fit(snapshot.config.learned, next(_decoded(snapshot, fitted, rows, FIT_TOKENS)), asked)
    report("fit", 1, 4)
    sample = _Sample.fold(snapshot, fitted, learned, judged, rows)
    report("fit", 2, 4)
    trial = _Trial(snapshot, judged, target, sample, learned.encode_queries(judged.queries.embeddings))
    tried = [(trial.option(learned, *form), form) for form in _forms(snapshot, learned, asked, sample)]
    report("fit", 3, 4)
    best, form = min(tried, key=lambda pair: pair[0].rank)
    options = [option for option, _ in tried]
    single, misfit = SingleVectors(learned, *form), None
    if snapshot.config.encoding == "auto":
        options.append(trial.current(fitted))
        if options[-1].rank < best.rank:
            single, misfit = fitted.single, fitted.misfit
    if single is not fitted.single:
        misfit = mean_misfit(snapshot, fitted, learned, rows[len(rows) // 2 :])  # mostly not what it was fitted to
    report("fit", 4, 4)
    kept = single is fitted.single and misfit is not None
    next_row = fitted.next_row if kept else int(snapshot.catalog.meta("next_row"))
    return Tuned(
        replace(fitted, single=single, documents=snapshot.documents, misfit=misfit, next_row=next_row), options
    )


def most_bytes(config: IndexConfig) -> int:
    """Bytes a document of the widest learned vector on offer."""
    return max(width for dim in (DIMS if config.dims is None else (config.dims,)) for _, width in _widths(config, dim))


def _widths(config: IndexConfig, dim: int) -> list[tuple[int, int]]:
    """Bits on offer for codes of `dim` dimensions, and the bytes that they take."""
    widths = [(bits, dim * bits // 8 + CONSTANT_BYTES) for bits in (BITS if config.bits is None else (config.bits,))]
    asked = config.dims is not None or config.bits is not None
    return [(bits, width) for bits, width in widths if asked or width <= BYTES]


def drift(snapshot: Snapshot, fitted: Fitted) -> float | None:
    """How much worse the fit is on documents that came after it; None when there are none, or nothing was fitted."""
    later = live_rows(snapshot)
    later = later[later >= fitted.next_row]
    if fitted.misfit is None or not isinstance(fitted.single.encoding, Learned) or not len(later):
        return None
    rng = np.random.default_rng(snapshot.catalog.generation)
    now = mean_misfit(snapshot, fitted, fitted.single.encoding, rng.permutation(later))
    return round(now / max(fitted.misfit, 1e-9), 3)


def mean_misfit(snapshot: Snapshot, fitted: Fitted, learned: Learned, rows: IntArray) -> float:
    """Mean relative squared residual of the first of the documents `rows`, without the longest.

    It takes time by the square of a document's tokens.
    """
    blocks = _decoded(snapshot, fitted, rows[:_PROBED])
    parts = [learned.misfit(tokens.take(np.flatnonzero(tokens.lengths <= _PROBED_TOKENS))) for tokens in blocks]
    found = np.concatenate(parts)
    return float(found.mean()) if len(found) else 0.0


def _queries_to_fit(
    snapshot: Snapshot,
    encoder: Encoder | None,
    rows: IntArray,
    real: TokenEmbeddings | None,
    rng: np.random.Generator,
) -> TokenEmbeddings:
    """Real queries, and passages of documents up to a number that second moments need."""
    wanted = FIT_TEXTS if encoder is not None else FIT_VECTORS  # which need not be encoded
    lacking = wanted - (0 if real is None else len(real))
    parts = [] if real is None else [real]
    if lacking > 0:
        parts.append(pseudo_queries(snapshot, encoder, rows[-lacking:], rng, scattered=True).embeddings)
    return TokenEmbeddings.concatenate(parts)


def _stored(snapshot: Snapshot, rows: IntArray, size: int = 1 << 15) -> Iterator[tuple[Bytes, IntArray]]:
    """Token codes of documents in the order of `rows`, and their offsets, about `size` token vectors at a time."""
    items: list[Bytes] = []
    held = 0
    for number, row in enumerate(rows.tolist(), start=1):
        segment, position = snapshot.locate(row)
        begin, end = segment.offsets[position : position + 2]
        items.append(segment.finest[begin:end])
        held += len(items[-1])
        if held >= size or number == len(rows):
            yield np.concatenate(items), np.cumsum([0, *map(len, items)], dtype=np.int64)
            items, held = [], 0


def _decoded(snapshot: Snapshot, fitted: Fitted, rows: IntArray, size: int = 1 << 15) -> Iterator[TokenEmbeddings]:
    """The same as token embeddings."""
    for codes, offsets in _stored(snapshot, rows, size):
        yield TokenEmbeddings(fitted.finest.decode(codes), offsets)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Learned vectors of some documents, `(len(rows), D)`: `random` of them drawn, the others true answers."""

    rows: IntArray
    vectors: FloatArray
    random: int

    @classmethod
    def fold(cls, snapshot: Snapshot, fitted: Fitted, learned: Learned, judged: Judged, rows: IntArray) -> _Sample:
        per_document = max(1.0, snapshot.tokens / max(1, snapshot.documents))
        drawn = rows[: int(np.clip(SAMPLE_TOKENS / per_document, *SAMPLE_DOCUMENTS))]
        true = np.setdiff1d(np.concatenate([found[:TOP] for found in judged.truth]), drawn)
        chosen = np.concatenate([drawn, true])
        plain = SingleVectors(learned, None, LVQ(np.zeros(learned.output_dim, np.float32)))
        parts = [plain.fold_stored(fitted.finest, *stored) for stored in _stored(snapshot, chosen)]
        return cls(chosen, np.concatenate(parts), len(drawn))


def _forms(
    snapshot: Snapshot, learned: Learned, asked: TokenEmbeddings, sample: _Sample
) -> Iterator[tuple[LeanVec, LVQ]]:
    """The reductions and codes on offer, or those that the configuration asks for."""
    config = snapshot.config
    documents, queries = Moments(learned.output_dim), Moments(learned.output_dim)
    documents.add(sample.vectors[: sample.random])
    queries.add(learned.encode_queries(asked))
    most = min(config.dims or DIMS[-1], learned.output_dim)
    whole = sphering(queries.matrix, documents.centred, most, samples=len(asked))
    if config.dims is None:  # the first number of dimensions beyond which next to nothing is left is the last on offer
        enough = choose_dim(whole.spectrum(queries.matrix, documents.centred), _LOST, step=DIMS[0])
        dims = [dim for dim in DIMS if dim <= min(most, max(enough, DIMS[0]))] or [most]
    else:
        dims = [most]
    for dim in dims:
        reduction = whole.truncated(dim).rotated(_ROTATION_SEED)
        mean = reduction.reduce_documents(sample.vectors[: sample.random]).mean(axis=0)
        for bits, _ in _widths(config, dim):
            yield reduction, LVQ(mean, bits=bits)


@dataclass(frozen=True, eq=False)
class _Trial:
    """Estimates the recall of options on one sample. asked: `(m, D)` learned vectors of the judged queries."""

    snapshot: Snapshot
    judged: Judged
    target: float
    sample: _Sample
    asked: FloatArray

    def option(self, learned: Learned, reduction: LeanVec, lvq: LVQ) -> Option:
        """A reduction with its codes."""
        rows = lvq.encode(reduction.reduce_documents(self.sample.vectors))
        scores = lvq.scores(reduction.reduce_queries(self.asked), rows)
        ranks = [
            self._estimate(own, truth[:TOP], owner)
            for own, truth, owner in zip(scores, self.judged.truth, self.judged.queries.owners, strict=True)
        ]
        curve = recall_curve(ranks, depths_of(self.snapshot.documents))
        return self._describe(SingleVectors(learned, reduction, lvq), curve)

    def current(self, fitted: Fitted) -> Option:
        """What the index has, measured and not estimated."""
        option = self._describe(fitted.single, measure(self.snapshot, fitted, self.judged)[0])
        return replace(option, single=f"{option.single} (present)")

    def _estimate(self, scores: FloatArray, truth: IntArray, owner: int) -> IntArray:
        """Places, from 0, of the true answers among all documents."""
        sample = self.sample
        order = np.argsort(sample.rows)
        own = scores[order[np.searchsorted(sample.rows, truth, sorter=order)]]
        rivals = np.sort(scores[: sample.random][sample.rows[: sample.random] != owner])
        before = len(rivals) - np.searchsorted(rivals, own, side="right")
        scale = (self.snapshot.documents - 1) / max(1, len(rivals))
        return (before * scale).astype(np.int64)

    def _describe(self, single: SingleVectors, curve: Curve) -> Option:
        snapshot = self.snapshot
        point = needed(curve, self.target)
        lengths = self.judged.queries.embeddings.lengths
        pairs = float(lengths.mean()) * snapshot.tokens / max(1, snapshot.documents)
        reranked = _crossing(curve, self.target) * pairs * snapshot.dim
        seconds = snapshot.documents * single.width / SCAN_RATE + reranked / RERANK_RATE
        return Option(single.name, single.width, curve, None if point is None else point[0], round(1e6 * seconds, 1))


def _crossing(curve: Curve, target: float) -> float:
    """Where a curve reaches the target, between the counts that were tried; the last count if it never does."""
    last = (1.0, 0.0)
    for count, recall in curve:
        if recall >= target:
            share = (target - last[1]) / (recall - last[1])
            return float(last[0] * (count / last[0]) ** share)
        last = (float(count), recall)
    return last[0]
