"""`serve`: indexes over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ...encoders.errors import InvalidInputError
from .arguments import SCORERS, Offline, Threads
from .console import Output

PORT = 8000
MAX_BUDGET = 200
DEADLINE = 10.0

Paths = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders of the indexes.", show_default=False)]
KeyOption = Annotated[
    list[str],
    typer.Option(
        "--api-key",
        envvar="LATEFOLD_API_KEY",
        help="Key that may read and write; may be repeated. Other users can see the options of a process: the "
        "variable or --api-key-file keeps it from them.",
        show_default=False,
    ),
]
ReadKeyOption = Annotated[
    list[str],
    typer.Option("--read-key", envvar="LATEFOLD_READ_KEY", help="Key that may only read.", show_default=False),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--api-key-file", help="File of keys that may read and write, one a line.", show_default=False),
]
Hosts = Annotated[list[str], typer.Option("--allowed-host", help="Host name to answer to, for a server behind a name.")]
Scorers = Annotated[
    list[str],
    typer.Option(
        "--rerank",
        metavar="NAME=SCORER",
        help=f"Scorer that a search may end with, under a name for clients; may be repeated. SCORER is {SCORERS}",
        show_default=False,
    ),
]
Origins = Annotated[list[str], typer.Option("--cors-origin", help="Web origin whose pages may call the API.")]


def serve(
    output: Output,
    paths: Paths,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = PORT,
    api_key: KeyOption = [],  # noqa: B006  typer makes a new list for each call
    read_key: ReadKeyOption = [],  # noqa: B006
    api_key_file: KeyFile = None,
    allowed_host: Hosts = [],  # noqa: B006
    cors_origin: Origins = [],  # noqa: B006
    rerank: Scorers = [],  # noqa: B006
    max_budget: Annotated[int, typer.Option(help="Calls of a scorer that one query may ask for.")] = MAX_BUDGET,
    deadline: Annotated[float, typer.Option(help="Seconds until a search that has no answer is given up.")] = DEADLINE,
    threads: Threads = None,
    offline: Offline = False,
) -> None:
    """Serve indexes over HTTP until Ctrl-C, each as the collection named after its folder.

    --json: {"url", "collections", "scorers"} as soon as the port is open.
    """
    from ..engine import collection_names
    from ..http.auth import ApiKeys
    from ..http.server import serve as serve_http
    from ..http.settings import ServerSettings

    settings = ServerSettings(
        indexes=tuple(paths),
        scorers=read_scorers(rerank),
        max_budget=max_budget,
        deadline_s=deadline,
        host=host,
        port=port,
        keys=ApiKeys.from_secrets(write=[*api_key, *read_keys(api_key_file)], read=read_key),
        allowed_hosts=tuple(allowed_host),
        cors_origins=tuple(cors_origin),
        threads=threads,
        offline=offline,
    )
    names, scorers = list(collection_names(paths)), sorted(settings.scorers)

    def started(url: str) -> None:
        if output.as_json:
            output.json({"url": url, "collections": names, "scorers": scorers})
            return
        ending = f", with the scorers {', '.join(scorers)}," if scorers else ""
        output.note(f"serving {', '.join(names)}{ending} at {url} (API: {url}/openapi.json); Ctrl-C stops it")

    serve_http(settings, started=started)


def read_scorers(values: Sequence[str]) -> dict[str, str]:
    """Scorers by the name that clients use. Raises `InvalidInputError` on what is no `NAME=SCORER` and on doubles."""
    scorers: dict[str, str] = {}
    for value in values:
        name, _, scorer = value.partition("=")
        if not name or not scorer:
            raise InvalidInputError(f"--rerank {value!r:.200} is no NAME=SCORER, such as ce=maxsim:minilm")
        if name in scorers:
            raise InvalidInputError(f"--rerank names two scorers {name!r:.80}; give each a name of its own")
        scorers[name] = scorer
    return scorers


def read_keys(path: Path | None) -> list[str]:
    """Keys of a file, one a line; blank lines and lines that begin with # are left out.

    Raises `InvalidInputError` when it cannot be read or holds no key, which would leave the server open.
    """
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the key file {path} cannot be read: {error}") from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise InvalidInputError(f"the key file {path} holds no key")
    return keys
