"""Tables of the kernels."""

from __future__ import annotations

from typing import Final

from ..markdown import table
from .kernels import DOCUMENT_TOKENS, QUERY_TOKENS
from .report import Report, Row
from .scans import MaxsimCpu, Numpy

_PEERS: Final = ("torch bf16", "torch f32", Numpy.name, MaxsimCpu.name)
_NOTE: Final = (
    f"Pairs of one query of {QUERY_TOKENS} tokens and a document of {DOCUMENT_TOKENS}, thousands a second, medians of "
    "the rounds: of CPU time on one thread, of wall time on two. `of peak`: multiplications and additions of MaxSim "
    "over vectors, which codes may do with fewer or, where a query is two planes of bytes, with twice as many, over "
    "the int8 peak of one thread. `estimate` is what certified pruning does to every document, `score` to those left."
)


def kernels(report: Report) -> str:
    """The kernels on one and two threads, and what the machine can do."""
    found = {job.threads: (job, result) for job, result in report.of("kernels")}
    if 1 not in found:
        return ""
    job, one = found[1]
    two = {row["method"]: row for row in found[2][1]["speeds"]} if 2 in found else {}
    best = max((row["pairs"] for row in one["speeds"] if row["method"] in _PEERS), default=0.0)
    rows = [_line(row, two.get(row["method"]), best, one["int8_peak"]) for row in one["speeds"]]
    header = ["", "bytes / token", "1 thread", "2 threads", "2 over 1", "of the best peer", "of peak"]
    parts = [
        f"{_NOTE}\n\n{_limits(found[1][1], found.get(2, (None, None))[1])}",
        table(header, rows),
        _scans(report, one["int8_peak"]),
        f"Again: `python -m latefold.eval.search --data DATA --collections {job.corpus}`",
    ]
    return "\n\n".join(part for part in parts if part)


def _line(row: Row, twice: Row | None, best: float, peak: float) -> list[str]:
    return [
        row["method"],
        f"{row['bytes']:.0f}",
        f"{row['pairs'] / 1e3:.0f}",
        f"{twice['pairs'] / 1e3:.0f}" if twice else "",
        f"{twice['pairs'] / row['pairs']:.2f}" if twice else "",
        f"{row['pairs'] / best:.2f}" if best else "",
        f"{row['products'] / peak:.2f}",
    ]


def _limits(one: Row, two: Row | None) -> str:
    def both(name: str) -> str:
        values = [result[name] / 1e9 for result in (one, two) if result is not None]
        return " / ".join(f"{value:,.0f}" for value in values)

    return (
        f"This machine at most, on one / two threads: {both('int8_peak')} billion int8 multiplications and additions a "
        f"second ({one['route']}, nothing read), {both('read_peak')} GB read a second."
    )


def _scans(report: Report, peak: float) -> str:
    """Exhaustive search by an engine, everything from vectors to hits, as a share of the peak."""
    rows = []
    for job, result in report.of("search", threads=1):
        for row in result["answers"]:
            if row["setting"] == "exhaustive" and row["depth"] == 10:
                products = 2.0 * result["query_tokens"] * result["tokens"] * result["dim"] / (row["cpu_ms"] / 1e3)
                figures = [f"{row['cpu_ms']:.1f}", f"{products / 1e9:.0f}", f"{products / peak:.2f}"]
                rows.append([job.corpus, row["engine"], *figures])
    if not rows:
        return ""
    note = (
        "Exhaustive search of whole collections, from a query's vectors to the 10 best documents on one thread. Query "
        "vectors fill lanes of 16, and lanes without a vector are work that the share does not count."
    )
    header = ["collection", "engine", "CPU ms", "billion operations / s", "of peak"]
    return f"{note}\n\n{table(header, rows, left=2)}"
