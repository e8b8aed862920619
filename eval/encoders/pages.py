"""The page on the bundled encoder: ranking, pooling, dimensions, folding, speed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ..markdown import page as joined
from ..markdown import table
from .folding import CANDIDATES
from .plan import BASE, NESTED, SIZES, Variant
from .report import Report, Row, System
from .speed import WORDS

_INTRODUCTION: Final = (
    "nDCG@10 of exhaustive MaxSim over LVQ-8 codes, which is what an index stores (the float32 figures beside them are "
    "in the last table). Documents are a title and a text, cut where the encoder cuts them; queries are never pooled. "
    "The bundled encoder was not trained on these collections (its model card says on what); what MiniLM learnt from "
    "before holds abstracts of papers, SciFact's perhaps among them. How the weights of MiniLM became int8 is in "
    "[encoder-int8.md](encoder-int8.md)."
)
_RANKING_NOTE: Final = (
    "Bytes: of LVQ-8 codes, `dimensions + 4` a vector. Change: of the mean, relative to the same encoder at the same "
    "dimensions with all its vectors. CRISP: k-means clusters, as the encoder was trained with; post-hoc: clusters "
    "that no training knew of. `c33%` keeps 33% of a document's vectors, `c8` keeps 8."
)
_POOLING_NOTE: Final = "Mean nDCG@10 over the collections and its change against all vectors, by number of vectors."
_NESTED_NOTE: Final = "Leading dimensions of the same vectors, rescaled to length 1, unpooled."
_FOLD_NOTE: Final = (
    f"Share of the exact top 10 among the first {CANDIDATES} by inner product of one float32 vector a document. "
    "MUVERA: the encoding of an index, sketched to 2,560 dimensions; paper: 20 repetitions of 16 blocks of 8 each, "
    "empty blocks filled; learned: as an index fits it. Cosine: mean of pairs of token vectors, of the collection and "
    "within a document; stable rank: of the matrix of them."
)
_SPEED_NOTE: Final = (
    f"Encoders have their turns on the same texts in one process; queries of {WORDS} words one at a time. CPU time is "
    f"that of all threads. Ratios: medians of the rounds' ratios of CPU time, above 1 where an encoder is faster than "
    f"`{BASE}`, the sentence model in int8."
)
_EXACT_NOTE: Final = "nDCG@10 over LVQ-8 codes and over float32 vectors, and the share of the top 10 that both have."


def page(report: Report, charts: Mapping[str, str], about: str, again: str) -> str:
    """The whole page. charts: file name to title. about: on machine, date and command. again: the command alone."""
    tables = {
        "## Ranking": (_RANKING_NOTE, _ranking(report)),
        "## Pooling": (_POOLING_NOTE, _pooling(report)),
        "## Nested dimensions": (_NESTED_NOTE, _nested(report)),
        "## Folding into single vectors": (_FOLD_NOTE, _folding(report)),
        "## Speed": (_SPEED_NOTE, _speed(report)),
        "## Codes against floats": (_EXACT_NOTE, _exact(report)),
    }
    sections = {
        "# The bundled encoder": f"{_INTRODUCTION}\n\n{_collections(report)}",
        "## Against the yardsticks": _verdict(report),
        "## Accuracy against bytes": "\n\n".join(f"![{title}]({file})" for file, title in charts.items()),
        **{heading: f"{note}\n\n{body}\n\nAgain: `{again}`" for heading, (note, body) in tables.items() if body},
        "## How this was measured": about,
    }
    return joined({heading: body for heading, body in sections.items() if body})


def _collections(report: Report) -> str:
    lines = [f"- {summary}" for summary in report.summaries.values()]
    lines += [f"- {name} was left out: {reason}" for name, reason in report.absent.items()]
    lines += [f"- {label} could not be measured: {reason}" for label, reason in report.missing()]
    return "\n".join(lines)


def _verdict(report: Report) -> str:
    """The bundled encoder, unpooled, minus each yardstick."""
    encoder = report.plan.encoder
    if encoder not in report.dims:
        return ""
    ours = report.unpooled(encoder, report.narrow(encoder))
    own, mean = report.figures(ours), report.mean(ours)
    rows = []
    for other in report.whole():
        theirs, level = report.figures(other), report.mean(other)
        ahead = {name: own[name]["ndcg"] - theirs[name]["ndcg"] for name in own if name in theirs}
        if other != ours and ahead:
            cells = [_points(ahead.get(name)) for name in report.collections]
            total = None if mean is None or level is None else mean - level
            won = sum(value >= 0 for value in ahead.values())
            rows.append([f"minus {report.label(other)}", *cells, _points(total), f"{won} of {len(ahead)}"])
    note = f"{report.label(ours)}, unpooled, minus each yardstick, in points of nDCG@10."
    return f"{note}\n\n{table(['', *report.collections, 'mean', 'not behind on'], rows)}" if rows else ""


def _ranking(report: Report) -> str:
    rows = []
    for system in report.systems():
        found = report.figures(system)
        if found:
            sizes = [_average(found.values(), "vectors", ".1f"), _average(found.values(), "bytes", ",.0f")]
            cells = [_share(found.get(name)) for name in report.collections]
            rows.append(
                [report.label(system), *sizes, *cells, _figure(report.mean(system)), _percent(report.change(system))]
            )
    header = ["", "vectors / document", "bytes / document", *report.collections, "mean", "change"]
    return table(header, rows) if rows else ""


def _pooling(report: Report) -> str:
    """Ways to pool by numbers of vectors."""
    cells: dict[str, dict[str, str]] = {}
    sizes = {size: pooling for size, pooling in SIZES.items() if pooling in report.plan.sizes}
    for size, pooling in sizes.items():
        for system in report.at(pooling):
            mean, change = report.mean(system), report.change(system)
            if mean is not None:
                cells.setdefault(report.family(system), {})[size] = f"{_figure(mean)} ({_percent(change)})"
    rows = [[family, *(found.get(size, "") for size in sizes)] for family, found in cells.items()]
    return table(["", *sizes], rows) if rows else ""


def _nested(report: Report) -> str:
    encoder, rows = report.plan.encoder, []
    if encoder in report.dims:
        narrow = report.narrow(encoder)
        for dim in [*(dim for dim in NESTED if dim < narrow), narrow]:
            system = report.unpooled(encoder, dim)
            found = report.figures(system)
            cells = [_share(found.get(name)) for name in report.collections]
            if found:
                bytes_ = _average(found.values(), "bytes", ",.0f")
                rows.append([f"{dim}", bytes_, *cells, _figure(report.mean(system))])
    return table(["dimensions", "bytes / document", *report.collections, "mean"], rows) if rows else ""


_FOLDED: Final = {
    "muvera": "MUVERA-2560",
    "muvera_paper": "MUVERA-2560, paper",
    "learned": "learned",
    "cosine": "cosine",
    "cosine_within": "cosine within",
    "rank": "stable rank",
    "rank_within": "stable rank within",
}


def _folding(report: Report) -> str:
    """Each collection's lines, then the means over collections."""
    lines: list[list[str]] = []
    total: list[list[str]] = []
    for name, dim in report.dims.items():
        for variant in report.plan.folded(name, dim):
            found = report.rows("fold", name, variant)
            label = report.label(System(name, variant))
            lines += [[corpus, label, *(_folded(row[key]) for key in _FOLDED)] for corpus, row in found.items()]
            if len(found) == len(report.collections) > 1:
                means = (sum(row[key] for row in found.values()) / len(found) for key in _FOLDED)
                total.append(["**mean**", label, *map(_folded, means)])
    lines.sort(key=lambda line: report.collections.index(line[0]))
    return table(["collection", "vectors", *_FOLDED.values()], [*total, *lines], left=2) if lines else ""


def _folded(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"


def _speed(report: Report) -> str:
    rows = [
        [
            Path(row["encoder"]).name,
            f"{row['documents_per_second']:.1f}",
            f"{row['documents_per_cpu_second']:.1f}",
            f"{row['document_ratio']:.2f}",
            f"{row['query_ms']:.2f}",
            f"{row['query_cpu_ms']:.2f}",
            f"{row['query_ratio']:.2f}",
        ]
        for _, result in report.of("speed")
        for row in result["rows"]
    ]
    header = ["", "documents / s", "documents / CPU s", "ratio", "query ms", "query CPU ms", "ratio"]
    return table(header, rows) if rows else ""


def _exact(report: Report) -> str:
    rows = [
        [
            job.corpus,
            report.label(System(job.encoder, Variant.parse(row["variant"]))),
            _share(row),
            _figure(row["exact"]),
            f"{row['agreement']:.4f}",
        ]
        for job, result in report.of("exact")
        for row in result["rows"]
    ]
    return table(["collection", "vectors", "LVQ-8", "float32", "top 10 shared"], rows, left=2) if rows else ""


def _average(rows: Iterable[Row], key: str, form: str) -> str:
    values = [float(row[key]) for row in rows if key in row]
    return format(sum(values) / len(values), form) if values else ""


def _share(row: Row | None) -> str:
    return "" if row is None else _figure(row["ndcg"])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.1f}%"


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.1f}"
