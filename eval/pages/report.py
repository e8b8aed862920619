"""The page on page retrieval, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..jobs import Result
from ..markdown import page as joined
from ..markdown import table
from .compression import Kept
from .compression import rows_of as kept_rows
from .recipes import TARGET
from .routes import PRODUCT, Route
from .routes import rows_of as route_rows
from .staged import RERANKED

_ROUTES: Final = (
    "A page is right if it is the one that answers. *BM25*: over whole pages, stems, English stop words. *one mean "
    "vector*, *MaxSim of its beginning*: the encoder on a page, of which it reads as much as it takes in one text. "
    f"*{PRODUCT}*: the folder of PDFs indexed as `latefold index` does it (windows of pages, or what OCR reads on "
    "scans), searched in each mode for pages (`--collapse page`): a page has the MaxSim of its best window, a tenth of "
    "that of the pages beside it, and in a hybrid search a tenth of BM25, in standard deviations. These weights, and "
    "the form of the titles that windows are encoded with, were chosen on all queries of the two collections with a "
    "text layer: with 55 questions, forms that differ in a title moved nDCG@10 between .39 and .44. Milliseconds are "
    "of single queries without encoding them. Bytes are of everything on disk; for BM25 of its arrays, for vectors of "
    "4 bytes a dimension of a mean and 2 of a token. Seconds to index are over pages."
)
_COMPRESSION: Final = (
    "A page is one document: the vectors of all windows of its text, after the title of its document. Every query is "
    "scored with every page by MaxSim over what is stored. Bytes are of a page, without what all pages share "
    "(codebooks, rotations). In brackets the change of nDCG@5 against half precision, in per cent. Same 5: mean share "
    "of the first five pages of half precision among the first five. `A / n`: one vector for n. *ward*: hierarchical "
    "clustering; *crisp*: spherical k-means; *spatial*: means of neighbours on the page. *as a set*: each different "
    "code of a page once, in a list or a bit map, which scores the same. Pruning keeps the share of vectors that a "
    "measure prefers: *distance* from the mean of the page, *rarity* of the patch code, *chance*: at random, which "
    "the others have to beat."
)
_STAGED: Final = (
    "A cheap ranking of all pages, and MaxSim in half precision over the first 50 or 100. Found: mean share of the "
    "exact first five pages among them. Learned vectors are fitted to passages of the pages."
)
_KNOWN: Final = (
    "Made from documentation in Debian packages by `python -m latefold.eval.pages.known_items`; queries are headings "
    "and captions, each of which answers on one page. The rules, which no search result shaped, are in "
    "`eval/pages/known_queries.py`. Such queries share their words with the page: they are easier than questions that "
    "people ask, and kinder to BM25."
)
_SECTIONS: Final = {
    "codecs": "Codes of all vectors",
    "pruning": "Fewer vectors by saliency",
    "pooling": "Fewer vectors by pooling",
    "combinations": f"Together, at least {TARGET} times fewer bytes",
    "pruned combinations": "Together, and 60 % of the vectors pruned",
}


@dataclass(frozen=True)
class Report:
    """Results of jobs by task and collection.

    present: summaries of collections. absent: why others could not be had. failed: why a job has no result. manifest:
    of the known-item collection; it need not be there.
    """

    present: Mapping[str, str]
    absent: Mapping[str, str]
    results: Mapping[tuple[str, str], Result]
    failed: Mapping[tuple[str, str], str]
    manifest: Path

    def of(self, task: str) -> dict[str, Result]:
        """Results of a task by collection."""
        return {corpus: result for (name, corpus), result in self.results.items() if name == task}

    def kept(self) -> dict[str, list[Kept]]:
        """Compression by collection."""
        return {corpus: kept_rows(result) for corpus, result in self.of("compression").items()}

    def routes(self) -> dict[str, list[Route]]:
        """Routes by collection."""
        found: dict[str, list[Route]] = {}
        for task in ("whole", "product"):
            for corpus, result in self.of(task).items():
                found.setdefault(corpus, []).extend(route_rows(result))
        return found


def page(report: Report, charts: Mapping[str, str], about: str) -> str:
    """The page. charts: file names and titles. about: Markdown on machine, date and command."""
    sections = {"# Page retrieval": _collections(report)}
    if report.routes():
        sections["## Routes to a page"] = _routes(report)
    if report.kept():
        sections["## What compression keeps"] = _summary(report.kept())
        if charts:
            sections["### Accuracy against bytes"] = "\n\n".join(f"![{t}]({file})" for file, t in charts.items())
        for section, title in _SECTIONS.items():
            sections[f"### {title}"] = _compression(report.kept(), section)
    if report.of("staged"):
        sections["## A first stage"] = _staged(report.of("staged"))
    if report.manifest.is_file():
        sections["## The known-item collection"] = _known(report.manifest)
    return joined({**sections, "## How this was measured": about})


def _collections(report: Report) -> str:
    lines = [f"- {summary}" for summary in report.present.values()]
    lines += [f"- {name} is left out: {reason}" for name, reason in report.absent.items()]
    lines += [f"- {corpus}: {task} is left out: {reason}" for (task, corpus), reason in report.failed.items()]
    return "\n".join(lines)


def _routes(report: Report) -> str:
    header = ["", "recall@1", "recall@5", "nDCG@5", "nDCG@10", "p50 ms", "p95 ms", "bytes / page", "s / page"]
    parts = [_ROUTES]
    for corpus, rows in report.routes().items():
        lines = [
            [
                row.name,
                *(f"{value:.3f}" for value in (row.recall_at_1, row.recall_at_5, row.ndcg_at_5, row.ndcg_at_10)),
                f"{row.p50_ms:.1f}",
                f"{row.p95_ms:.1f}",
                f"{row.bytes:,.0f}",
                f"{row.seconds:.3f}",
            ]
            for row in rows
        ]
        parts.append(f"**{corpus}**\n\n{table(header, lines)}")
        indexed = report.of("product").get(corpus)
        parts += [] if indexed is None else [_index_note(indexed)]
    return "\n\n".join(parts)


def _index_note(indexed: Result) -> str:
    """What the bytes of the index are, and what of the files was not indexed."""
    parts = sorted(((size, part) for part, size in indexed["bytes"].items() if part != "total"), reverse=True)
    largest = ", ".join(f"{part} {size:,.0f}" for size, part in parts[:4])
    notes = indexed["notes"]
    left = f" {len(notes)} parts of files were not indexed, such as `{notes[0]}`." if notes else ""
    return f"Bytes a page of the index: {largest}.{left}"


def _summary(kept: Mapping[str, Sequence[Kept]]) -> str:
    """What the tables come to, in words."""
    shares = mean_shares(kept)
    parts = [_COMPRESSION]
    for label, chosen in (
        (f"at least {TARGET} times fewer bytes", [row for row in shares if row.times >= TARGET]),
        (
            f"at least {TARGET} times fewer bytes and 60 % of the vectors pruned",
            [row for row in shares if row.section == "pruned combinations" and row.times >= TARGET],
        ),
    ):
        if chosen:
            best = max(chosen, key=lambda row: row.least)
            parts.append(
                f"With {label}, *{best.label}* loses least where it loses most: nDCG@5 changes by "
                f"{100 * (best.least - 1):+.1f} % on the collection it suits least ({100 * (best.mean - 1):+.1f} % on "
                f"average), at {best.times:.0f} times fewer bytes."
            )
    reached = [row for row in shares if row.least >= 0.98]
    if reached:
        best = max(reached, key=lambda row: row.times)
        parts.append(
            f"Of what loses at most 2 % on every collection, *{best.label}* is smallest: {best.times:.0f} times fewer."
        )
    return "\n\n".join(parts)


@dataclass(frozen=True)
class Share:
    """A way to store pages over all collections: nDCG@5 as a share of the reference's, mean and least; least times."""

    section: str
    label: str
    times: float
    mean: float
    least: float


def mean_shares(kept: Mapping[str, Sequence[Kept]]) -> list[Share]:
    """Ways that were measured on every collection, in the order of the first."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for rows in kept.values():
        reference = rows[0].ndcg
        for row in rows:
            share = row.ndcg / reference if reference else 0.0
            found.setdefault((row.section, row.label), []).append((row.times, share))
    return [
        Share(
            section,
            label,
            min(t for t, _ in values),
            sum(s for _, s in values) / len(values),
            min(s for _, s in values),
        )
        for (section, label), values in found.items()
        if len(values) == len(kept)
    ]


def _compression(kept: Mapping[str, Sequence[Kept]], section: str) -> str:
    header = [""]
    for corpus in kept:
        header += [f"{corpus}: bytes", "fewer", "nDCG@5", "same 5"]
    lines = []
    labels = dict.fromkeys(row.label for rows in kept.values() for row in rows if row.section == section)
    for label in labels:
        cells = [label]
        for rows in kept.values():
            own = next((row for row in rows if row.section == section and row.label == label), None)
            cells += ["", "", "", ""] if own is None else _cells(own, rows[0])
        lines.append(cells)
    return table(header, lines)


def _cells(row: Kept, reference: Kept) -> list[str]:
    change = f" ({100 * (row.ndcg / reference.ndcg - 1):+.1f})" if reference.ndcg else ""
    return [f"{row.bytes:,.0f}", f"{row.times:.1f}x", f"{row.ndcg:.4f}{change}", f"{row.agreement:.3f}"]


def _staged(found: Mapping[str, Result]) -> str:
    counts = [str(count) for count in RERANKED]
    header = ["", "bytes / page", "nDCG@5 alone"]
    header += [f"found in {count}" for count in counts] + [f"nDCG@5 of {count}" for count in counts]
    parts = [_STAGED]
    for corpus, result in found.items():
        lines = [_staged_cells(row, counts) for row in result["rows"]]
        parts.append(f"**{corpus}**: {result['whole']:.4f} without a first stage\n\n{table(header, lines)}")
    return "\n\n".join(parts)


def _staged_cells(row: Mapping[str, Any], counts: Sequence[str]) -> list[str]:
    found = [f"{row['found'][count]:.3f}" for count in counts]
    after = [f"{row['ndcg'][count]:.4f}" for count in counts]
    return [row["name"], f"{row['bytes']:,.0f}", f"{row['alone']:.4f}", *found, *after]


def _known(manifest: Path) -> str:
    about = json.loads(manifest.read_text(encoding="utf-8"))
    kinds = ", ".join(f"{count} of kind {kind}" for kind, count in about["kinds"].items())
    lines = [
        [
            source["title"],
            f"`{source['package']}` {source['version']}",
            source["licence"],
            str(source["pages"]),
            str(sum(source["queries"].values())),
        ]
        for source in about["sources"]
    ]
    sizes = f"{about['documents']} PDFs, {about['pages']} pages, {about['queries']} queries: {kinds}."
    return f"{_KNOWN}\n\n{sizes}\n\n{table(['document', 'package', 'licence', 'pages', 'queries'], lines, left=3)}"
