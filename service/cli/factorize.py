"""`factorize`: calls of a scorer spent before any query comes, on vectors that predict its scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...encoders.errors import InvalidInputError
from .arguments import IndexPath, Offline, ScorerName, Threads
from .calibrate import read_queries
from .console import Output, count, size

Kind = Literal["auto", "dense", "sparse"]

SUFFIX = ".scores.sqlite"
Queries = Annotated[
    Path | None,
    typer.Option("--queries", metavar="FILE", help="Queries like those to come, one a line.", show_default=False),
]
Calls = Annotated[
    int | None,
    typer.Option("--budget", metavar="N", help="Calls of the scorer that may be spent in all.", show_default=False),
]
KindOption = Annotated[
    Kind,
    typer.Option(
        "--kind",
        help="dense: every document for a few queries. sparse: a few documents for every query. auto: what the budget "
        "is enough for.",
    ),
]
ScoresFile = Annotated[
    Path | None,
    typer.Option(
        "--scores",
        metavar="FILE",
        help=f"Where scores are remembered, to be shared and to go on from; unless given, PATH{SUFFIX}.",
        show_default=False,
    ),
]
Drop = Annotated[bool, typer.Option("--drop", help="Remove the vectors that were made; nothing else.")]


def factorize(
    output: Output,
    path: IndexPath,
    queries: Queries = None,
    rerank: ScorerName = None,
    budget: Calls = None,
    kind: KindOption = "auto",
    scores: ScoresFile = None,
    drop: Drop = False,
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Spend calls of a scorer on vectors that predict its scores, for searches with --method adacur, anncur and axn.

    Says how many calls it will make before the first. Every score is remembered as soon as it is paid for: the same
    command goes on where an interrupted run stopped.

    --json: {"plan": {"kind", "queries", "calls"}, "scores", "factorization": {"kind", "scorer", "queries", "documents",
    "calls", "remembered", "dims", "anchors", "bytes", "fit"}}; {"dropped"} with --drop.
    """
    if drop:
        drop_factors(output, path, given=(queries, rerank, budget, scores))
        return
    if queries is None or rerank is None or budget is None:
        raise InvalidInputError("factorize needs --queries FILE, --rerank NAME and --budget N; or --drop")
    asked = list(dict.fromkeys(read_queries(queries, least=1, what="factorizing")))
    cache = scores_file(path, scores)
    from ...encoders.scorers.load import load_scorer
    from ...retrieval.cur.factorize import planned
    from ...retrieval.index import Index

    scorer = load_scorer(rerank, threads=threads, offline=offline)
    with Index.open(path, threads=threads, offline=offline) as index:
        if kind == "auto" and index.encoder is None:
            kind = "dense"  # candidates of a text, which kind sparse scores, are chosen by an encoder
        plan = planned(len(index), len(asked), budget, kind)
        facts = {"kind": plan.kind, "queries": plan.queries, "calls": plan.calls}
        output.note(f"{describe_plan(facts)} of {rerank}, less those remembered in {cache}")
        with output.progress() as report:
            made = index.factorize(scorer, asked, budget, kind=kind, cache=cache, progress=report).to_dict()
    if output.as_json:
        output.json({"plan": facts, "scores": str(cache), "factorization": made})
        return
    from .render import show_facts

    spent = f"{count(made['calls'], 'call')}, {made['remembered']:,} remembered in {cache}"
    show_facts(output, {**describe_factors(made), "scores": spent})


def drop_factors(output: Output, path: Path, given: tuple[object, ...]) -> None:
    """`--drop`. Raises `InvalidInputError` where it stands beside options that make factors."""
    if any(value is not None for value in given):
        raise InvalidInputError("--drop makes nothing: leave --queries, --rerank, --budget and --scores out")
    from ...retrieval.index import Index

    with Index.open(path) as index:
        dropped = index.drop_factors()
    if output.as_json:
        output.json({"dropped": dropped})
        return
    output.note("dropped the vectors that were made of scores" if dropped else "there was nothing to drop")


def scores_file(path: Path, chosen: Path | None) -> Path:
    """The file that remembers scores: the chosen one, or one beside the index.

    Raises `InvalidInputError` for a file inside the index, which holds its own files only.
    """
    folder = path.resolve()
    file = folder.with_name(folder.name + SUFFIX) if chosen is None else chosen
    if folder in file.resolve().parents:
        raise InvalidInputError(f"{file} is inside the index {path}: choose a file elsewhere for --scores")
    return file


def describe_plan(plan: Mapping[str, Any]) -> str:
    """What a factorization will do, in words."""
    return f"{plan['kind']}: {plan['queries']:,} of the queries, {count(plan['calls'], 'call')}"


def describe_factors(made: Mapping[str, Any]) -> dict[str, str]:
    """What a factorization made, in words; the facts of `Factorization.to_dict`."""
    scorer = f"{made['scorer']:.24}" or "a function without a name"
    first = f", {made['anchors']:,} documents to be scored first" if made["anchors"] else ""
    facts = {
        "factors": f"{made['kind']}, {made['dims']} dimensions, {size(made['bytes'])} a document{first}",
        "  made of": f"scores of {made['queries']:,} queries and {made['documents']:,} documents by {scorer}",
    }
    if made["fit"] is not None:
        facts["  added later"] = f"without a call, which explains {made['fit']:.2f} of the variance"
    return facts
