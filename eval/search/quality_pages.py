"""Tables of what codes keep of the ranking, and of what pruning saves."""

from __future__ import annotations

from typing import Final

from ..markdown import table
from .quality import REFERENCE, REFINED
from .report import Report, Row

_QUALITY_NOTE: Final = (
    "Exhaustive MaxSim over codes: nDCG@10, and in brackets its share of that of half precision vectors. Agreement: "
    "mean share of the half precision top 10 in a codec's own, over the collections. Codes joined by `+`: the first "
    f"rank all documents, the second the best {REFINED} of them. Fitting, encoding: CPU seconds over the collections."
)
PRECISE: Final = "lvq8"
_PATCHES_NOTE: Final = (
    "Patch codes (one of 256 centroids a token, a byte), tokens of documents or queries pruned by saliency that knows "
    "no query, and rankings by Hamming distance, alone and ahead of LVQ-8: nDCG@10, and in brackets its share of "
    "LVQ-8's. Bytes are over the tokens there were before pruning. `rarity`: of a token's patch code; `distance`: from "
    "the mean of the document; `chance`: at random, which saliency has to beat. Ordered ids: near centroids differ in "
    "few bits; plain ids are in any order."
)
_PRUNING_NOTE: Final = (
    "Every document is estimated, and scored only if its estimate leaves it a chance to be among the best k. Skipped: "
    "mean share of documents, and of their tokens, that are never scored. Same: share of queries whose k best "
    "documents and scores equal those of scoring all, to the last bit. CPU ms a query on one thread: scoring "
    "everything, and estimating and scoring what is left. A codec without a cheaper estimate skips scoring, and saves "
    "nothing."
)


def quality(report: Report) -> str:
    """One table for each number of dimensions."""
    dims = list(dict.fromkeys(job.dim for job, _ in report.of("quality")))
    parts = [_of_dim(report, dim) for dim in dims]
    if not parts:
        return ""
    names = " ".join(dict.fromkeys(job.corpus for job, _ in report.of("quality")))
    again = f"Again: `python -m latefold.eval.search --data DATA --collections {names}`"
    return "\n\n".join([_QUALITY_NOTE, *parts, again])


def kept(report: Report, dim: int) -> dict[str, dict[str, Row]]:
    """Rows of codecs at a number of dimensions, by codec and collection."""
    found: dict[str, dict[str, Row]] = {}
    for job, result in report.of("quality"):
        if job.dim == dim:
            for row in result["rows"]:
                found.setdefault(row["codec"], {})[job.corpus] = row
    return found


def shares(rows: dict[str, dict[str, Row]], codec: str) -> dict[str, float]:
    """nDCG@10 of a codec over that of the reference, by collection."""
    reference = rows.get(REFERENCE, {})
    return {
        corpus: row["ndcg"] / reference[corpus]["ndcg"]
        for corpus, row in rows[codec].items()
        if corpus in reference and reference[corpus]["ndcg"] > 0
    }


def _of_dim(report: Report, dim: int) -> str:
    rows = kept(report, dim)
    corpora = list(dict.fromkeys(corpus for found in rows.values() for corpus in found))
    lines = []
    for codec, found in rows.items():
        part = shares(rows, codec)
        cells = [f"{found[c]['ndcg']:.4f} ({part[c]:.1%})" if c in part else "" for c in corpora]
        size = next(iter(found.values()))["bytes"]
        agreement = sum(row["agreement"] for row in found.values()) / len(found)
        fit, encode = (sum(row[name] for row in found.values()) for name in ("fit_seconds", "encode_seconds"))
        least = f"{min(part.values()):.1%}" if part else ""
        lines.append([codec, f"{size:.0f}", *cells, least, f"{agreement:.3f}", f"{fit:.1f}", f"{encode:.1f}"])
    header = ["codec", "bytes / token", *corpora, "least share", "agreement", "fit s", "encode s"]
    return f"Vectors of {dim} dimensions:\n\n{table(header, lines)}"


def patches(report: Report) -> str:
    """What belongs to patch codes, one table for all collections."""
    found: dict[str, dict[str, Row]] = {}
    distinct, dim = {}, 0
    for job, result in report.of("patches"):
        distinct[job.corpus], dim = result["distinct"], job.dim
        for row in result["rows"]:
            found.setdefault(row["name"], {})[job.corpus] = row
    if not found:
        return ""
    reference = found[PRECISE]
    lines = [
        [name, f"{next(iter(rows.values()))['bytes']:.1f}", *(_cell(rows.get(c), reference[c]) for c in distinct)]
        for name, rows in found.items()
    ]
    of = ", ".join(f"{share:.0%} of {corpus}" for corpus, share in distinct.items())
    note = f"{_PATCHES_NOTE} Vectors of {dim} dimensions. Different codes within a document, as a share of all: {of}."
    again = f"Again: `python -m latefold.eval.search --data DATA --collections {' '.join(distinct)}`"
    return f"{note}\n\n{table(['method', 'bytes / token', *distinct], lines)}\n\n{again}"


def _cell(row: Row | None, reference: Row) -> str:
    if row is None:
        return ""
    share = f" ({row['ndcg'] / reference['ndcg']:.1%})" if reference["ndcg"] else ""
    return f"{row['ndcg']:.4f}{share}"


def pruning(report: Report) -> str:
    """Every codec at every depth."""
    lines = []
    corpora = []
    for job, result in report.of("prune"):
        corpora.append(job.corpus)
        lines += [
            [
                row["codec"],
                f"{row['depth']}",
                f"{row['documents']:.1%}",
                f"{row['tokens']:.1%}",
                f"{row['same']:.1%}",
                f"{row['all_ms']:.2f}",
                f"{row['pruned_ms']:.2f}",
            ]
            for row in result["rows"]
        ]
    if not lines:
        return ""
    header = ["codec", "k", "documents skipped", "tokens skipped", "same", "scoring all, ms", "pruned, ms"]
    again = f"Again: `python -m latefold.eval.search --data DATA --collections {corpora[0]}`"
    return f"{_PRUNING_NOTE} On {corpora[0]}.\n\n{table(header, lines)}\n\n{again}"
