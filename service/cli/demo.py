"""`demo`: everything at once, on the documentation of the Python at hand."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import Output, duration
from .look import search_json

if TYPE_CHECKING:
    from ...retrieval.index import Index

SHOWN_HITS = 3


def demo(
    output: Output,
    into: Annotated[
        Path | None, typer.Option("--into", help="Folder of the index; left out, one in the user's cache.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the index of the demo.")] = False,
) -> None:
    """Index the documentation of Python's standard library, and ask it five questions. Needs no data and no network.

    The first run takes a minute or two, and goes on where it stopped when interrupted; later ones reuse the index.

    --json: {"path", "documents", "reused", "seconds", "searches": [the JSON of `search`]}, or {"deleted": path}.
    """
    from .. import demo as demonstration

    folder = into or demonstration.default_folder(demonstration.environment())
    if delete:
        demonstration.delete(folder, ours=into is None)
        if output.as_json:
            output.json({"deleted": str(folder)})
        else:
            output.note(f"deleted {folder}")
        return
    started = time.perf_counter()
    with demonstration.open_or_create(folder, ours=into is None) as index:
        reused = demonstration.is_complete(index)
        if not reused:
            build(output, index)
        seconds = time.perf_counter() - started
        if not output.as_json:
            done = "reusing" if reused else f"indexed in {duration(seconds)}:"
            output.note(f"{done} {len(index):,} documents in {folder}\n")
        index.search("warm up", 1)
        searches = [ask(output, index, question) for question in demonstration.QUESTIONS]
        documents = len(index)
    if output.as_json:
        facts = {"path": str(folder), "documents": documents, "reused": reused, "seconds": round(seconds, 3)}
        output.json({**facts, "searches": searches})
        return
    show_next_steps(output, folder, default=into is None)


def build(output: Output, index: Index) -> None:
    """Collect the documentation and index it."""
    from .. import demo as demonstration

    with output.progress() as report:
        if report is not None:
            report("read docstrings", 0, 1)
        documents = demonstration.collect()
        if report is not None:
            report("read docstrings", 1, 1)
            report.expect("encode", len(documents))
        demonstration.fill(index, documents, report)
        index.calibrate(progress=report)


def ask(output: Output, index: Index, question: str) -> dict[str, Any]:
    """Ask one question and show the best answers; returns the JSON of the search."""
    from rich.text import Text

    from .render import show_hits

    started = time.perf_counter()
    hits = index.search(question, SHOWN_HITS)
    seconds = time.perf_counter() - started
    if not output.as_json:
        output.out.print(Text.assemble((question, "bold reverse"), f"  {duration(seconds)}"))
        output.out.print()
        show_hits(output, question, hits)
    return search_json(question, seconds, hits)


def show_next_steps(output: Output, folder: Path, *, default: bool) -> None:
    """Commands to copy."""
    from rich.text import Text

    from ..demo import QUESTIONS

    path = shlex.quote(str(folder))
    commands = {
        "search it": f"latefold search {path} 'your question'",
        "see why a document matches": f"latefold explain {path} '{QUESTIONS[1]}' functools.lru_cache",
        "serve it": f"latefold serve {path}",
        "index your own files": "latefold index FOLDER --into my.index",
        "delete it": "latefold demo --delete" if default else f"latefold demo --delete --into {path}",
    }
    for purpose, command in commands.items():
        output.out.print(Text.assemble((f"{purpose:<28}", "dim"), command), soft_wrap=True)
