"""Options and arguments that several commands share, and how their texts become values."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...encoders.errors import InvalidFilterError, InvalidInputError
from ...retrieval.types import Mode, Unit

IndexPath = Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the index.", show_default=False)]
QueryText = Annotated[str, typer.Argument(metavar="QUERY", help="What to look for; - reads it from stdin.")]
Sources = Annotated[
    list[Path], typer.Argument(metavar="SOURCE...", help="Files and folders to read.", show_default=False)
]
SearchMode = Annotated[
    Mode,
    typer.Option(
        "--mode",
        help="exact: MaxSim over everything. ann: MaxSim over the best candidates. lexical: BM25. hybrid: words and "
        "vectors fused. auto: hybrid where there are words.",
    ),
]
Collapse = Annotated[
    Unit | None,
    typer.Option(
        "--collapse",
        help="page: rank pages, and show the best part of each. source: the best part of each file.",
        show_default=False,
    ),
]
FilterText = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="JSON",
        help='Only documents whose metadata match, as in \'{"year": {"$gte": 2020}, "lang": "en"}\'.',
    ),
]
EncoderName = Annotated[
    str,
    typer.Option(
        "--encoder",
        metavar="NAME",
        help="default, latefold or minilm, with -DIM for fewer dimensions and :POOLING for fewer vectors a document "
        "(latefold-64:c33%); the path of an exported encoder; or the path or hub name of a sentence-transformers "
        "multi-vector model.",
    ),
]
RerankMethod = Literal["axn", "adacur", "anncur", "rerank"]
SCORERS = (
    "a folder that `python -m latefold.encoders.export_pairs` wrote; the path or hub name of a sentence-transformers "
    "cross-encoder; or maxsim:ENCODER."
)
ScorerName = Annotated[
    str | None,
    typer.Option("--rerank", metavar="NAME", help=f"Scorer of query and document pairs: {SCORERS}", show_default=False),
]
Budget = Annotated[
    int | None,
    typer.Option("--budget", metavar="N", help="Calls of the scorer a query; 200 unless given.", show_default=False),
]
Method = Annotated[
    RerankMethod | None,
    typer.Option(
        "--method",
        help="Which documents the scorer sees. axn, unless given: in rounds, by a regression on the stored vectors. "
        "adacur, anncur: in rounds or at once, by what `latefold factorize` made. rerank: the best candidates.",
        show_default=False,
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads to use; all cores unless given.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never reach for the network.")]
Include = Annotated[
    list[str], typer.Option("--include", metavar="GLOB", help="Read only files that match; may be repeated.")
]
Exclude = Annotated[
    list[str], typer.Option("--exclude", metavar="GLOB", help="Leave out files that match; may be repeated.")
]


def read_query(text: str) -> str:
    """The query itself, or stdin without the white space around it where the argument is `-`."""
    if text != "-":
        return text
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"the query on stdin is not {error.encoding} text: {error.reason}") from error


def read_filter(text: str | None) -> Mapping[str, Any] | None:
    """The JSON object of `--filter`; its grammar is checked by the index."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidFilterError(f"--filter is not JSON: {error}; got {text[:80]!r}") from error
    if not isinstance(value, dict):
        raise InvalidFilterError(f'--filter must be a JSON object such as {{"lang": "en"}}; got {text[:80]!r}')
    return value
