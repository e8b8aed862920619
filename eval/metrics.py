"""Effectiveness measures and TREC run files.

A run lists, for each query, the documents found, in the order they were given to the user. Measures follow
that order, so that documents with equal scores are judged as they were shown.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from ..encoders.errors import InvalidInputError, StorageError

Run = Mapping[str, Sequence[tuple[str, float]]]
"""Query id to `(document id, score)` pairs, best first."""
Rankings = dict[str, list[tuple[str, float]]]
"""A run as it is built."""
Judgements = Mapping[str, Mapping[str, int]]

_UNSAFE = re.compile(r"[\s%]")


@dataclass(frozen=True)
class Quality:
    """Means over all judged queries; a query that is not in the run counts as 0."""

    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float


def quality(run: Run, qrels: Judgements) -> Quality:
    """nDCG@10, R@100 and RR@10, computed by `ir-measures` and averaged over the queries of `qrels`."""
    import ir_measures
    from ir_measures import RR, R, nDCG

    by_rank = {query: {id_: -float(i) for i, (id_, _) in enumerate(found)} for query, found in run.items()}
    measures = [nDCG @ 10, R @ 100, RR @ 10]
    means = ir_measures.calc_aggregate(measures, qrels, by_rank)
    return Quality(*(float(means[measure]) for measure in measures))


def recall_at_k(found: Collection[str], truth: Mapping[str, float], k: int = 10, *, tolerance: float = 1e-6) -> float:
    """Share of the exact top `k` that `found` (its first `k` ids) holds; 1.0 when there is nothing to find.

    truth: exact scores of the best documents, a few more than `k` so that ties with the k-th are known. Any
    document whose exact score reaches the k-th best counts as correct. `tolerance` is relative where scores
    exceed 1, because float32 sums taken in another order differ by that much.
    """
    best = sorted(truth.values(), reverse=True)[:k]
    if not best:
        return 1.0
    threshold = best[-1] - tolerance * max(1.0, abs(best[-1]))
    correct = sum(truth.get(id_, float("-inf")) >= threshold for id_ in set(list(found)[:k]))
    return min(1.0, correct / len(best))


def write_run(path: str | Path, run: Run, *, tag: str = "latefold") -> None:
    """Write a TREC run file: `query Q0 document rank score tag`, one result a line, ranks from 1.

    Whitespace and percent signs in ids are percent-encoded (`%20`, `%25`): spaces separate the fields.
    Raises `InvalidInputError` on an empty id, `StorageError` when the file cannot be written.
    """
    lines = [
        f"{_field(query)} Q0 {_field(id_)} {rank} {score!r} {_field(tag)}\n"
        for query, found in run.items()
        for rank, (id_, score) in enumerate(found, start=1)
    ]
    try:
        Path(path).write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"the run file {path} cannot be written: {error.strerror}") from error


def read_run(path: str | Path) -> Rankings:
    """Read a TREC run file, results ordered by rank. Raises `InvalidInputError` naming file and line."""
    ranked: dict[str, list[tuple[int, str, float]]] = {}
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the run file {path} cannot be read: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            query, _, id_, rank, score, _ = fields
            entry = (int(rank), unquote(id_), float(score))
        except ValueError as error:
            raise InvalidInputError(
                f"{path}, line {number}: expected 'query Q0 document rank score tag' ({error})"
            ) from error
        ranked.setdefault(unquote(query), []).append(entry)
    return {query: [(id_, score) for _, id_, score in sorted(found)] for query, found in ranked.items()}


def _field(value: str) -> str:
    if not value:
        raise InvalidInputError("a run file cannot hold an empty id or tag")
    return _UNSAFE.sub(lambda match: quote(match[0]), value)
