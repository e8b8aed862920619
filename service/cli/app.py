"""The tree of commands. What a command needs is imported when it runs, so that `--help` stays quick."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import __version__
from . import build, calibrate, demo, doctor, evaluate, factorize, look, manage, serve, train
from .command import Function, register

HELP = """Late-interaction retrieval: index a folder, search it with MaxSim, serve it.

Try `latefold demo`: it needs no data and no network.
"""
EXIT_CODES = (
    "Exit codes: 0 done; 1 failure; 2 wrong options or values; 3 no such document; 4 no such index; 5 path taken; "
    "6 index locked; 7 index corrupted; 8 format version; 9 storage; 10 other encoder; 11 encoder; 12 missing extra; "
    "13 scorer; 14 call budget; 15 score cache; 20 some files could not be read; 130 interrupted."
)


LONG = frozenset({"demo", "plan", "index", "eval", "verify", "calibrate", "factorize", "optimize", "train"})
"""Commands that may take more than two seconds, and show how far they are."""


def make_app() -> typer.Typer:
    """The command line as a typer app."""
    app = typer.Typer(
        name="latefold",
        help=HELP,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    panels: dict[str, dict[str, Function]] = {
        "Start": {"demo": demo.demo, "doctor": doctor.doctor},
        "Build": {"plan": build.plan, "index": build.index, "train": train.train},
        "Ask": {"search": look.search, "explain": look.explain, "serve": serve.serve, "eval": evaluate.evaluate},
        "Keep": {
            "stats": manage.stats,
            "verify": manage.verify,
            "calibrate": calibrate.calibrate,
            "factorize": factorize.factorize,
            "optimize": manage.optimize,
            "delete": manage.delete,
        },
    }
    for panel, commands in panels.items():
        for name, function in commands.items():
            register(app, name, function, panel=panel, long=name in LONG)
    return app


def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=lambda value: show_version(value=value)
        ),
    ] = False,
) -> None:
    """Options of the program itself; `--version` has done its work before this is called."""


def show_version(*, value: bool) -> None:
    """Print the version and stop, if asked to."""
    if value:
        typer.echo(f"latefold {__version__}")
        raise typer.Exit
