"""Benchmark figures as Markdown tables and a chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..encoders.errors import MissingExtraError
from ..retrieval.stats import IndexStats
from .comparison import BM25, BM25_POOLED, MODES, POOLED, YARDSTICKS, Comparison
from .markdown import page, table
from .metrics import Quality
from .systems import STAGES, Build, Footprint, Latency, Systems

SYSTEMS = (*YARDSTICKS, *MODES)
_PARTS = ("tokens", "vectors", "offsets", "rows", "catalog", "params", "total")
_QUALITY_NOTE = (
    "Means over the judged queries. `exact`, `ann`, `lexical` and `hybrid` are modes of one index a collection. "
    f"Yardsticks: {BM25} with k1 1.2, b .75, stems and English stop words; {POOLED}, the same encoder with one mean "
    f"vector a document, by cosine; {BM25_POOLED}, their reciprocal rank fusion."
)
_EXACT_NOTE = "Found by the vector side of each mode, with the number of candidates that calibration chose."
_BYTES_NOTE = (
    "`tokens`: token codes. `vectors`: codes of the single vectors. `catalog`: texts, metadata and the lexical index."
)
Measure = Callable[[Quality], float]


def ndcg(quality: Quality) -> float:
    """The measure of the first table."""
    return quality.ndcg_at_10


def recall(quality: Quality) -> float:
    """The measure of the second table."""
    return quality.recall_at_100


def quality_page(results: Sequence[Comparison], about: str) -> str:
    """The page on effectiveness. about: Markdown on machine, date and command."""
    sections = {
        "# Retrieval quality": f"{_collections(results)}\n\n{_QUALITY_NOTE}",
        "## nDCG@10": f"{_measure_table(results, ndcg)}\n\n{_fusion_sentence(results)}",
        "## Recall@100": _measure_table(results, recall),
        "## nDCG@10 as a ratio": f"Mean of a mode over the mean of a yardstick.\n\n{_ratio_table(results)}",
        "## Share of the exact MaxSim top 10 found": f"{_EXACT_NOTE}\n\n{_exact_table(results)}",
        "## By collection": "![nDCG@10 by collection](quality.png)",
        "## How this was measured": about,
    }
    return page(sections)


def systems_page(result: Systems, about: str) -> str:
    """The page on speed and size of one collection. about: Markdown on machine, date and command."""
    stats = result.stats
    corpus = (
        f"{result.dataset}: {stats.documents:,} documents, {stats.tokens:,} token vectors of {stats.dim} dimensions, "
        f"codec `{stats.codec}`."
    )
    sections = {
        "# Speed and size": corpus,
        "## Indexing": _build_table(result.build),
        "## Search": f"{_search_note(result)}\n\n{_latency_table(result.latencies)}",
        "## Bytes per document": f"{_BYTES_NOTE}\n\n{_bytes_table(stats)}",
        "## Memory": _memory_note(result.footprint),
        "## How this was measured": about,
    }
    return page(sections)


def plot_quality(results: Sequence[Comparison], path: Path) -> None:
    """Bar chart of nDCG@10 by collection. Raises `MissingExtraError` without the extra `bench`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the chart", "bench") from error
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(results))
    width = 0.85 / len(SYSTEMS)
    for number, system in enumerate(SYSTEMS):
        heights = [ndcg(result.quality[system]) for result in results]
        axes.bar(places + number * width, heights, width, label=system)
    axes.set_xticks(places + width * (len(SYSTEMS) - 1) / 2, [result.dataset for result in results])
    axes.set_ylabel("nDCG@10")
    axes.legend(ncols=4, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _search_note(result: Systems) -> str:
    calibration = result.stats.calibration or {}
    return (
        f"Single queries, text in and 10 hits out, one at a time; {result.latencies[0].queries} queries a mode, none "
        f"answered from a cache. Stages are medians in milliseconds. Mode `ann` reranks "
        f"{calibration.get('candidates', 'the configured number of')} candidates."
    )


def _memory_note(footprint: Footprint) -> str:
    return (
        f"A fresh process that indexed {footprint.documents:,} documents held at most {footprint.peak / 2**20:,.0f} "
        f"MiB, {footprint.before / 2**20:,.0f} MiB of them before the encoder was loaded."
    )


def _collections(results: Sequence[Comparison]) -> str:
    sizes = (f"{result.dataset} ({result.documents:,} documents, {result.queries:,} queries)" for result in results)
    return "Collections: " + ", ".join(sizes) + "."


def _mean(results: Sequence[Comparison], system: str, measure: Measure) -> float:
    return float(np.mean([measure(result.quality[system]) for result in results]))


def _measure_table(results: Sequence[Comparison], measure: Measure) -> str:
    rows = [[result.dataset, *(_decimal(measure(result.quality[system])) for system in SYSTEMS)] for result in results]
    rows.append(["**mean**", *(f"**{_decimal(_mean(results, system, measure))}**" for system in SYSTEMS)])
    return table(["", *SYSTEMS], rows)


def _fusion_sentence(results: Sequence[Comparison]) -> str:
    fused = _mean(results, "hybrid", ndcg)
    parts = {mode: fused - _mean(results, mode, ndcg) for mode in MODES if mode != "hybrid"}
    gains = ", ".join(f"{gain:+.4f} over `{mode}`" for mode, gain in parts.items())
    return f"Mean of `hybrid` against the other modes: {gains}."


def _ratio_table(results: Sequence[Comparison]) -> str:
    rows = [
        [mode, *(f"{_mean(results, mode, ndcg) / _mean(results, yardstick, ndcg):.3f}" for yardstick in YARDSTICKS)]
        for mode in MODES
    ]
    return table(["", *YARDSTICKS], rows)


def _exact_table(results: Sequence[Comparison]) -> str:
    modes = list(results[0].recall_vs_exact)
    rows = [[result.dataset, *(_decimal(result.recall_vs_exact[mode]) for mode in modes)] for result in results]
    return table(["", *modes], rows)


def _build_table(build: Build) -> str:
    bare, indexed = build.documents / build.bare_seconds, build.documents / build.index_seconds
    rows = [
        ["encoder alone", f"{bare:.1f}", "1.00"],
        ["`Index.add` (encoding, compressing, committing)", f"{indexed:.1f}", f"{build.ratio:.2f}"],
    ]
    note = f"Calibration after it took {build.calibrate_seconds:.1f} s. Both were timed chunk by chunk in turn."
    return table(["", "documents / s", "time against the encoder alone"], rows) + "\n\n" + note


def _latency_table(latencies: Sequence[Latency]) -> str:
    rows = [
        [f"`{item.mode}`", *(f"{item.stages[stage]:.1f}" for stage in STAGES), f"**{item.p50:.1f}**", f"{item.p95:.1f}"]
        for item in latencies
    ]
    return table(["mode", *STAGES, "p50", "p95"], rows)


def _bytes_table(stats: IndexStats) -> str:
    count = max(1, stats.documents)
    rows = [
        [part, f"{stats.bytes[part] / count:,.0f}", f"{stats.bytes[part] / max(1, stats.bytes['total']):.1%}"]
        for part in _PARTS
    ]
    return table(["part", "bytes", "share"], rows)


def _decimal(value: float) -> str:
    return f"{value:.4f}"
