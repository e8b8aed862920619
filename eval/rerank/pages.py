"""The page on search under an expensive scorer, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..markdown import page as joined
from ..markdown import table
from .measure import AXN, BM25, BUDGETS, LABELS, OURS, TOPS, Figures
from .plots import Found

_METHODS: Final = f"""Each query may ask the scorer about so many documents; all it was asked about is its answer. \
*{BM25.label}* and *{OURS.label}* score the best of BM25, and of latefold's hybrid search (MaxSim and BM25), in order. \
*AXN, stored vectors alone* is the published method over the single vectors of the index. {AXN.label} regresses on \
these and on MaxSim, BM25 and the inner product together. *Sparse* and *dense factors* were made by `Index.factorize` \
from the learned queries, at the calls given below; ANNCUR and ADACUR need the dense ones. ANNCUR asks about the same \
anchors for every query, up to half of a small budget; they are rarely among the best, so that it falls behind where \
calls are few, where the first stage is close to the scorer, and where few queries were learned from."""
_SCORERS: Final[Mapping[str, str]] = {
    "cross-encoder": "a small cross-encoder trained here (`python -m latefold.eval.rerank.trained`; not a good one: "
    "it exists because its order is not that of the first stage). Every figure under its name is of this self-trained "
    "model.",
    "maxsim-384": "exact MaxSim over the 384 dimensions of `minilm`, in float32: an expensive scorer whose truth is "
    "exact, and close to the first stage.",
}


def page(
    found: Found, overhead: tuple[int, Sequence[Mapping[str, Any]]] | None, charts: Mapping[str, str], about: str
) -> str:
    """The page."""
    sections = {"# k-NN under an expensive scorer": _METHODS}
    scorers = list(dict.fromkeys(scorer for scorer, _ in found))
    for scorer in scorers:
        own = {corpus: figures for (name, corpus), figures in found.items() if name == scorer}
        sections[f"## Scorer: {scorer}"] = f"The scorer is {_SCORERS.get(scorer, scorer)}"
        sections[f"### Recall of the exact top {', '.join(map(str, TOPS))} ({scorer})"] = "\n\n".join(
            f"{_summary(corpus, figures)}\n\n{_recalls(figures)}" for corpus, figures in own.items()
        )
        sections[f"### Points of recall over {BM25.label} at equal calls ({scorer})"] = _points(own)
        sections[f"### nDCG@10 by the judgements of the collection ({scorer})"] = _ndcg(own)
    if charts:
        sections["## Pictures"] = "\n\n".join(f"![{title}]({file})" for file, title in charts.items())
    if overhead is not None:
        sections["## Time beside the scorer's"] = _overhead(*overhead)
    sections["## How this was measured"] = about
    return joined(sections)


def _summary(corpus: str, figures: Figures) -> str:
    offline = ", ".join(f"{kind} {calls:,}" for kind, calls in figures.offline.items())
    return (
        f"**{corpus}**: {figures.documents:,} documents, {figures.asked} queries to judge by, {figures.learned} others "
        f"to learn from; calls before any search: {offline}. Documents added later would have dense factors of which "
        f"the map explains {figures.fit:.2f} of the variance."
    )


def _recalls(figures: Figures) -> str:
    header = ["", *(f"{budget} calls" for budget in BUDGETS)]
    lines = []
    for label in LABELS:
        own = {row.budget: row for row in figures.rows if row.label == label}
        lines.append([label, *(" ".join(f"{own[b].recall[str(k)]:.3f}" for k in TOPS) for b in BUDGETS)])
    return table(header, lines)


def _points(own: Mapping[str, Figures]) -> str:
    """AXN against reranking BM25 and own candidates, in points."""
    deep = [k for k in TOPS if k >= 10]
    header = ["", "over", *(f"{budget} calls" for budget in BUDGETS)]
    lines = []
    for corpus, figures in own.items():
        rows = {(row.label, row.budget): row.recall for row in figures.rows}
        for base in (BM25.label, OURS.label):
            for label in (AXN.label, "ANNCUR", "ADACUR", "**AXN**, dense factors"):
                cells = [
                    " ".join(f"{100 * (rows[label, b][str(k)] - rows[base, b][str(k)]):+.1f}" for k in deep)
                    for b in BUDGETS
                ]
                lines.append([f"{corpus}: {label}", base, *cells])
    note = f"At {', '.join(map(str, deep))}. With 50 calls at most .500 of the top 100 can be found."
    return f"{note}\n\n{table(header, lines, left=2)}"


def _ndcg(own: Mapping[str, Figures]) -> str:
    note = (
        "*whole*: every document ranked by the scorer; *plain*: the search without it. More of the best by a scorer is "
        "not always a better ranking."
    )
    parts = []
    for corpus, figures in own.items():
        rows = {(row.label, row.budget): row.ndcg for row in figures.rows}
        lines = [[label, *(f"{rows[label, budget]:.3f}" for budget in BUDGETS)] for label in LABELS]
        head = f"**{corpus}**: whole {figures.whole:.3f}, plain {figures.plain:.3f}"
        parts.append(f"{head}\n\n{table(['', *(f'{budget} calls' for budget in BUDGETS)], lines)}")
    return "\n\n".join([note, *parts])


def _overhead(documents: int, rows: Sequence[Mapping[str, Any]]) -> str:
    note = (
        f"{documents:,} documents of 8 token vectors, 200 calls a query; medians. *before*: candidates and what is "
        "known of them, once a query. *a round*: choosing and reading documents, without the scorer."
    )
    lines = [
        [str(row["method"]), str(row["rounds"]), f"{row['candidates']:.2f}", f"{row['round_ms']:.2f}"] for row in rows
    ]
    return f"{note}\n\n{table(['method', 'rounds', 'before, ms', 'a round, ms'], lines)}"
