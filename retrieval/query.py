"""From a caller's question to hits: checks, choice of mode, encoding, the pipeline, and the texts of the winners."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from ..encoders.embeddings import TokenEmbeddings
from ..encoders.errors import IndexCorruptedError, InvalidInputError
from ..index.storage.catalog import Record
from ..index.storage.format import CATALOG, ROWS
from .calibrate import candidates_of
from .config import MAX_K
from .cur.options import CrossEncoderSearch, Spent
from .cur.stage import Stage
from .documents import check_query, not_found
from .encoding import LazyEncoder, check_item
from .filters import CompiledFilter, compile_filter
from .rerank import Ranking, Work
from .search import Depth, Request, Timing, run, run_pages, scans_exactly
from .snapshot import Snapshot
from .types import Document, Hit, Mode, Unit

CANDIDATES_PER_HIT = 4
"""Candidates for each document that is wanted of the vector ranking, at least."""
REFINED_PER_HIT = 2
"""Candidates for each that the second level of codes ranks, at least."""
HITS_PER_UNIT = 4
"""Documents ranked for each page or source that is wanted, to begin with."""


@dataclass(frozen=True)
class SearchResult:
    """Hits of each query, and milliseconds by stage, as `Timing` has them.

    work: how many documents MaxSim estimated, and how many it scored. spent: what the scorer of `rerank` was asked for
    each query; empty without one.
    """

    hits: list[list[Hit]]
    timing: Mapping[str, float]
    work: Work
    spent: Sequence[Spent] = ()


def search(
    snapshot: Snapshot,
    encoder: LazyEncoder,
    *,
    texts: Sequence[str] | None,
    embeddings: TokenEmbeddings | None,
    k: int,
    mode: Mode,
    condition: Mapping[str, Any] | None,
    candidates: int | None = None,
    refined: int | None = None,
    rerank: CrossEncoderSearch | None = None,
    collapse: Unit | None = None,
) -> SearchResult:
    """Run a batch of queries on one snapshot; see `Index.search` for the arguments."""
    _check(k, mode, candidates, refined, collapse)
    if texts is None and embeddings is None:
        raise InvalidInputError("nothing to search for: give a query text or embeddings")
    texts = None if texts is None else [check_query(text) for text in texts]
    if embeddings is not None:
        check_item(embeddings, snapshot.dim, None if texts is None else len(texts))
    chosen = _choose(snapshot, encoder, mode, texts is not None, embeddings is not None)
    compiled = None if condition is None else compile_filter(condition)
    stage = None if rerank is None else _last_stage(snapshot, rerank, chosen, k, texts, compiled)
    timing = Timing()
    depth = k if stage is None else stage.options.depth
    reads_vectors = (depth > 0 and chosen != "lexical") or (
        stage is not None and stage.options.reads_vectors and encoder.present
    )
    if embeddings is None and reads_vectors:
        with timing.stage("encode"):
            embeddings = encoder.require("search for a text this way").encode_queries(texts or [])
    request = Request(chosen, depth, *_depths(snapshot, candidates, refined), texts, embeddings, compiled)
    if stage is None:
        found = _ranked(snapshot, request, collapse, timing)
        spent = [] if rerank is None else [Spent(0, 0)] * len(found)
        return SearchResult(found, timing.stages, timing.work, spent)
    rankings, spent = _scored(snapshot, stage, request, k if collapse is None else stage.options.budget, timing)
    with timing.stage("fetch"):
        return SearchResult(_distinct(_hits(snapshot, rankings), k, collapse), timing.stages, timing.work, spent)


def _ranked(snapshot: Snapshot, request: Request, collapse: Unit | None, timing: Timing) -> list[list[Hit]]:
    """The best `request.k` documents, pages or sources of each query; more are ranked until there are as many."""
    asked = k = request.k
    if collapse == "page" and request.mode != "lexical":
        rankings = run_pages(snapshot, request, timing)
        with timing.stage("fetch"):
            return _hits(snapshot, rankings)
    if collapse is not None:
        asked = min(MAX_K, HITS_PER_UNIT * k)
    while True:
        rankings = run(snapshot, replace(request, k=asked), timing)
        with timing.stage("fetch"):
            found = _distinct(_hits(snapshot, rankings), k, collapse)
        short = [len(ranking) for hits, ranking in zip(found, rankings, strict=True) if len(hits) < k]
        if collapse is None or asked == MAX_K or all(length < asked for length in short):
            return found
        asked = min(MAX_K, HITS_PER_UNIT * asked)


def _distinct(results: list[list[Hit]], k: int, unit: Unit | None) -> list[list[Hit]]:
    """The best hit of each page or source, at most `k`; a document that has neither stands for itself."""
    if unit is None:
        return results
    best: list[dict[tuple[str, Any], Hit]] = [{} for _ in results]
    for found, hits in zip(best, results, strict=True):
        for hit in hits:
            found.setdefault(_unit(hit, unit), hit)
    return [list(found.values())[:k] for found in best]


def _unit(hit: Hit, unit: Unit) -> tuple[str, Any]:
    if hit.source is None or (unit == "page" and hit.page is None):
        return "id", hit.id
    return hit.source, hit.page if unit == "page" else None


def _check(k: int, mode: Mode, candidates: int | None, refined: int | None, collapse: Unit | None) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise InvalidInputError(f"k is a whole number from 1 to {MAX_K}, got {k!r:.40}")
    for name, number in (("candidates", candidates), ("refined", refined)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise InvalidInputError(f"{name} is a whole number from 1 on, got {number!r:.40}")
    if mode not in get_args(Mode):
        raise InvalidInputError(f"no search mode {mode!r:.40}; there are {', '.join(get_args(Mode))}")
    if collapse is not None and collapse not in get_args(Unit):
        raise InvalidInputError(f"results collapse to one a {' or a '.join(get_args(Unit))}, not {collapse!r:.40}")


def _last_stage(
    snapshot: Snapshot,
    rerank: CrossEncoderSearch,
    mode: Mode,
    k: int,
    texts: Sequence[str] | None,
    condition: CompiledFilter | None,
) -> Stage | None:
    """The stage of a scorer; None for an index without documents."""
    if texts is None:
        raise InvalidInputError("a scorer reads texts: give the query's text to rerank")
    if rerank.budget < k:
        raise InvalidInputError(f"a budget of {rerank.budget} calls cannot score {k} results: raise it, or lower k")
    return None if snapshot.fitted is None else Stage(snapshot, snapshot.fitted, rerank, mode, condition)


def _scored(
    snapshot: Snapshot, stage: Stage, request: Request, k: int, timing: Timing
) -> tuple[list[Ranking], list[Spent]]:
    """The `k` best by a scorer of pairs, and what it was asked, for each query."""
    texts, embeddings = request.texts or [], request.embeddings
    first = run(snapshot, request, timing) if request.k else [[] for _ in texts]
    found: list[Ranking] = []
    spent: list[Spent] = []
    for number, (text, ranking) in enumerate(zip(texts, first, strict=True)):
        rows = np.array([row for row, _ in ranking], np.int64)
        result = stage.run(text, None if embeddings is None else embeddings.take([number]), rows, timing)
        found.append(result.top(k))
        spent.append(Spent(result.calls, result.rounds))
    return found, spent


def _depths(snapshot: Snapshot, candidates: int | None, refined: int | None) -> tuple[Depth, Depth | None]:
    """Candidates, and how many of them the second level ranks: as the caller says, else as many as usual."""
    usual, usual_refined = candidates_of(snapshot)
    first = Depth(usual, CANDIDATES_PER_HIT) if candidates is None else Depth(candidates, 1)
    if refined is not None:
        return first, Depth(refined, 1)
    return first, None if usual_refined is None else Depth(usual_refined, REFINED_PER_HIT)


def _choose(snapshot: Snapshot, encoder: LazyEncoder, mode: Mode, has_text: bool, has_vectors: bool) -> Mode:
    if mode in ("lexical", "hybrid") and not has_text:
        raise InvalidInputError(f"mode {mode} needs the query's text")
    if mode != "auto":
        return mode
    if has_text:
        return "hybrid" if has_vectors or encoder.present else "lexical"
    return "exact" if scans_exactly(snapshot) else "ann"


def _hits(snapshot: Snapshot, rankings: Sequence[Ranking]) -> list[list[Hit]]:
    records = snapshot.catalog.records({row for ranking in rankings for row, _ in ranking})
    return [[_hit(records.get(row), score) for row, score in ranking] for ranking in rankings]


def _hit(record: Record | None, score: float) -> Hit:
    if record is None:
        raise IndexCorruptedError(f"{CATALOG} lacks a document that {ROWS} of a segment lists: run `latefold verify`")
    return Hit(record.id, score, record.text, record.title, _metadata(record))


def document_of(record: Record) -> Document:
    """A stored document in the caller's form."""
    return Document(record.id, record.text, record.title, _metadata(record))


def _metadata(record: Record) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(record.metadata)
    except (ValueError, TypeError):
        raise IndexCorruptedError(
            f"the metadata of document {record.id!r:.80} in {CATALOG} is damaged: run `latefold verify`"
        ) from None
    return value


def find_record(snapshot: Snapshot, name: str) -> Record:
    """The record of a live document. Raises `DocumentNotFoundError`."""
    found = snapshot.catalog.records_by_id([name])
    if name not in found:
        raise not_found([name])
    return found[name]
