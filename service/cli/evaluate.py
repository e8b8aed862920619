"""`eval`: how good and how fast an index is on a test collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import EncoderName, Offline, SearchMode, Threads
from .console import Output

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="BEIR_FOLDER", help="Folder with corpus.jsonl, queries.jsonl and qrels/.", show_default=False
    ),
]


def evaluate(
    output: Output,
    folder: Folder,
    index_path: Annotated[
        Path | None, typer.Option("--index", help="Index of the collection; left out, a temporary one is built.")
    ] = None,
    mode: SearchMode = "auto",
    encoder: EncoderName = "default",
    run: Annotated[Path | None, typer.Option("--run", help="Write the results here as a TREC run file.")] = None,
    split: Annotated[str, typer.Option(help="Judgements to use: the name of a file in qrels/.")] = "test",
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Measure search quality, recall against exact MaxSim, latency and size on a test collection in BEIR layout.

    --json: {"dataset", "encoder", "mode", "queries", "documents", "ndcg@10", "recall@100", "mrr@10",
    "recall_vs_exact@10", "p50_ms", "bytes_per_document"}. Latency is one search for 10 results with a loaded encoder.
    """
    from ...encoders.base import load_encoder
    from ...eval.beir import load_beir
    from ...eval.evaluate import evaluate as measure
    from ...retrieval.index import Index

    dataset = load_beir(folder, split=split)
    with output.progress() as report:
        if index_path is None:
            loaded = load_encoder(encoder, threads=threads, offline=offline)
            measured = measure(dataset, encoder=loaded, mode=mode, run_path=run, progress=report)
        else:
            with Index.open(index_path, threads=threads, offline=offline) as index:
                measured = measure(dataset, index=index, mode=mode, run_path=run, progress=report)
    if output.as_json:
        output.json(measured.to_dict())
        return
    from .render import show_facts

    show_facts(output, measured.to_dict())
