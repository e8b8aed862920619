"""The page on candidates: tables of everything that was measured, each with the command that measures it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ..markdown import page as joined
from ..markdown import table
from .measure import ASKED, CUTS
from .nearest import TARGET
from .report import HEADLINE, Report, Row, key, name
from .scaling import BITS, DIM, NOISE

_CUT: Final = str(ASKED)
_LEARNED: Final = ("learned", "", "f32")
_MUVERA: Final = ("MUVERA 10240", "", "f32")
_BARE: Final = ("MUVERA 10240, no fill", "", "f32")
_SMALL: Final = ("learned", "Sphering 256", "LVQ-4")
_INTRODUCTION: Final = (
    "One vector a document, whose inner products rank documents like MaxSim does: how many of the exact MaxSim top 10 "
    f"are among its first N, at how many bytes a document, and for how much time from a query's token vectors to the "
    f"first {ASKED}. Times are CPU milliseconds on one thread, each method in a process of its own, in turns with a "
    "float32 scan of mean vectors, whose time in the same seconds stands beside it: the machine was as fast for two "
    "methods as these two are near. Sphering is fitted to pseudo-queries (passages of 12 words of the documents), "
    "where real queries are not named. Reductions are followed by a random rotation unless named otherwise."
)
_ANN_NOTE: Final = (
    f"Exact inner products on the same vectors are the truth; the cheapest setting that finds at least {TARGET:.0%} of "
    "the exact top 10 is timed, one query at a time on one thread, all indexes in turns. Our scans and graphs find "
    "candidates by codes of reduced vectors and order the best (`effort`) by LVQ-8 codes of whole vectors."
)


def page(report: Report, charts: Mapping[str, str], about: str) -> str:
    """The whole page. charts: file name to title. about: Markdown on machine, date and command."""
    sections = {
        "# Candidates: one short vector a document": f"{_INTRODUCTION}\n\n{_collections(report)}",
        f"## Exact top 10 within {ASKED} candidates": _headline(report),
        "## Charts": "\n\n".join(f"![{title}]({file})" for file, title in charts.items()),
        "## LeanVec: loss and recall": _losses(report),
        "## Encodings: cost": _costs(report),
        "## MUVERA: speed of generation": _generation(report),
        **{f"## Search of given vectors: {title}": body for title, body in _contests(report)},
        "## Growth": _growth(report),
        **{f"## All methods: {collection}": _methods(report, collection) for collection in report.summaries},
        "## How this was measured": about,
    }
    return joined({heading: body for heading, body in sections.items() if body})


def _collections(report: Report) -> str:
    lines = [f"- {summary}" for summary in report.summaries.values()]
    lines += [f"- {collection} was left out: {reason}" for collection, reason in report.absent.items()]
    lines += [f"- {job.label} could not be measured: {reason}" for job, reason in report.missing()]
    return "\n".join(lines)


def _again(*collections: str) -> str:
    return f"Again: `python -m latefold.eval.candidates --data DATA --collections {' '.join(collections)}`"


def _headline(report: Report) -> str:
    """Methods by collections, then the two differences that matter."""
    names = list(report.summaries)
    rows = []
    for method in HEADLINE:
        found = [report.row(collection, method) for collection in names]
        sizes = sorted({round(row["bytes"]) for row in found if row})
        if sizes:
            size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
            rows.append([name(method), size, *(_share(row) for row in found)])
    for other in (_MUVERA, _BARE, _LEARNED):
        cells = [_difference(report, collection, other) for collection in names]
        rows.append([f"**{name(_SMALL)} minus {name(other)}**", "", *cells])
    return f"{table(['', 'bytes', *names], rows)}\n\n{_again(*names)}"


def _share(row: Row | None) -> str:
    return f"{row['recall'][_CUT]:.3f}" if row and _CUT in row["recall"] else ""


def _difference(report: Report, collection: str, other: tuple[str, str, str]) -> str:
    pair = [report.row(collection, method) for method in (_SMALL, other)]
    if any(row is None or _CUT not in row["recall"] for row in pair):
        return ""
    ours, theirs = (row["recall"][_CUT] for row in pair if row)
    return f"**{100 * (ours - theirs):+.1f} points**"


def _methods(report: Report, collection: str) -> str:
    rows = report.rows(collection)
    cuts = [str(cut) for cut in CUTS if all(str(cut) in row["recall"] for row in rows)]
    known = any(row["known"] is not None for row in rows)
    header = ["encoding", "reduction", "store", "bytes", *(f"N={cut}" for cut in cuts)]
    header += [f"known in {ASKED}"] * known + ["CPU ms", "mean scan ms", "build CPU s"]
    lines = [
        [
            *key(row),
            f"{row['bytes']:,.0f}",
            *(f"{row['recall'][cut]:.3f}" for cut in cuts),
            *([f"{row['known']:.3f}"] if known else []),
            f"{row['query_ms']:.3f}",
            f"{row['yardstick_ms']:.3f}",
            f"{row['build_seconds']:.1f}",
        ]
        for row in rows
    ]
    note = f"`known in {ASKED}`: queries whose own document is among the candidates.\n\n" if known else ""
    return f"{note}{table(header, lines, left=3)}\n\n{_again(collection)}"


def _losses(report: Report) -> str:
    """Every reduction without codes: relative loss on the test queries, and recall."""
    rows = []
    for collection in report.summaries:
        plain = [row for row in report.rows(collection) if row["loss"] is not None and row["encoding"] == "learned"]
        plain.sort(key=lambda row: (row["dim"], -row["fitted_loss"]))
        rows += [
            [collection, row["reduction"], f"{row['fitted_loss']:.2e}", f"{row['loss']:.2e}", *_some(row)]
            for row in plain
        ]
    if not rows:
        return ""
    note = (
        "Vectors of the learned encoding, reduced and kept in float32. Loss: mean square error of inner products as a "
        "share of their mean square, with the queries that the reduction was fitted to and with the test queries, "
        "which none was fitted to."
    )
    header = ["collection", "reduction", "loss fitted", "loss test", *(f"N={cut}" for cut in CUTS[:3])]
    return f"{note}\n\n{table(header, rows, left=2)}\n\n{_again(*report.summaries)}"


def _some(row: Row) -> list[str]:
    return [f"{row['recall'][str(cut)]:.3f}" if str(cut) in row["recall"] else "" for cut in CUTS[:3]]


def _costs(report: Report) -> str:
    rows = [
        [
            job.corpus,
            result["encoding"],
            f"{result['dims']:,}",
            f"{result['fit_seconds']:.1f}",
            f"{result['documents_per_second']:,.0f}",
            f"{result['fold_ms']:.3f}",
            f"{result['peak'] / 2**20:,.0f}",
        ]
        for job, result in report.of("matrix")
    ]
    header = ["collection", "encoding", "dims", "fit CPU s", "documents / CPU s", "query CPU ms", "peak MiB"]
    note = "Peak: of the process when all documents were folded, with their float32 vectors in it."
    return f"{note}\n\n{table(header, rows, left=2)}\n\n{_again(*report.summaries)}" if rows else ""


def _generation(report: Report) -> str:
    parts = []
    for job, result in report.of("speed"):
        figures = zip(("latefold", "muvera-python"), result["documents_per_second"], result["query_ms"], strict=True)
        rows = [[maker, f"{documents:,.0f}", f"{query:.3f}"] for maker, documents, query in figures]
        note = (
            f"{result['documents']} documents of {job.corpus} at 10,240 dimensions with the paper's fill, one thread, "
            f"in turns, medians of {result['rounds']} rounds: {result['ratio']:.1f} times as many documents a CPU "
            f"second ({result['least_ratio']:.1f} in the worst round)."
        )
        parts.append(f"{note}\n\n{table(['', 'documents / CPU s', 'query CPU ms'], rows)}\n\n{_again(job.corpus)}")
    return "\n\n".join(parts)


def _contests(report: Report) -> Iterator[tuple[str, str]]:
    for job, result in report.of("nearest"):
        rows = [_contestant(entry) for entry in sorted(result["indexes"], key=_speed)]
        header = ["index", "effort", "recall", "CPU ms", "queries / CPU s", "bytes", "build CPU s"]
        missing = "".join(f"\n\n{label} is left out: {reason}" for label, reason in result["left_out"].items())
        yield result["problem"], f"{_ANN_NOTE}\n\n{table(header, rows)}{missing}\n\n{_again(job.corpus)}"


def _speed(entry: Mapping[str, Any]) -> float:
    return float(entry["best"]["query_ms"]) if entry["best"] else float("inf")


def _contestant(entry: Mapping[str, Any]) -> list[str]:
    ends = [f"{entry['bytes']:,.0f}", f"{entry['build_seconds']:.1f}"]
    best = entry["best"]
    if best is None:
        return [entry["index"], "", f"at most {max(p['recall'] for p in entry['curve']):.3f}", "", "", *ends]
    time = best["query_ms"]
    return [entry["index"], f"{best['effort']}", f"{best['recall']:.3f}", f"{time:.3f}", f"{1000 / time:,.0f}", *ends]


def _growth(report: Report) -> str:
    built = next((result["points"] for _, result in report.of("scale-build")), None)
    found = next(((job, result["points"]) for job, result in report.of("scale-search")), None)
    if built is None or found is None:
        return ""
    job, searched = found
    note = (
        f"Learned encoding, Sphering to {DIM} dimensions, LVQ-{BITS}, from token vectors (made LVQ-8 codes first) to "
        "codes on all cores, in a stream. Sizes marked * are synthesised beyond the collection's own documents: copies "
        f"of them, each token vector with Gaussian noise of length {NOISE} and scaled back to length 1, which show "
        "cost and not quality."
    )
    rows = [
        [
            f"{point['documents']:,}" + "*" * point["copied"],
            f"{point['wall_seconds']:.1f}",
            f"{point['cpu_seconds']:.1f}",
            f"{point['peak'] / 2**20:,.0f}",
            f"{point['bytes']:,.0f}",
        ]
        for point in built
    ]
    built_table = table(["documents", "build s", "build CPU s", "peak MiB", "bytes / document"], rows)
    return f"{note}\n\n{built_table}\n\n{_search_growth(searched)}\n\n{_again(job.corpus)}"


def _search_growth(points: Sequence[Mapping[str, Any]]) -> str:
    note = (
        f"CPU milliseconds from a folded query to {ASKED} rows, one thread. `memory`: the time that reading the codes "
        "takes at the speed of long dot products. Graph: time and share of the scan's answers, by beam; a search that "
        "would visit as many rows as a scan is one."
    )
    beams = next(([beam["beam"] for beam in point["graph"]] for point in points if point["graph"]), [])
    header = ["documents", "scan ms", "memory ms", "scan / memory", *(f"graph, beam {beam}" for beam in beams)]
    header += ["graph build CPU s", "graph bytes"] if beams else []
    rows = []
    for point in points:
        memory = point["scan_ms"] * point["scan_rate"] / point["read_rate"]
        cells = [f"{point['documents']:,}", f"{point['scan_ms']:.3f}", f"{memory:.3f}"]
        cells.append(f"{point['scan_ms'] / memory:.2f}")
        graph = point["graph"]
        cells += [f"{beam['query_ms']:.3f} ({beam['recall']:.3f})" for beam in graph] if graph else [""] * len(beams)
        cells += [f"{point['graph_seconds']:.0f}", f"{point['graph_bytes']:.0f}"] if graph else [""] * 2 * bool(beams)
        rows.append(cells)
    return f"{note}\n\n{table(header, rows)}"
