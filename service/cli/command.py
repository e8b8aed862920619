"""How a function becomes a command: `--json` and `--debug` on each, and one border where errors become exit codes."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ...encoders.errors import LatefoldError, StorageError
from ..exit_codes import BROKEN_PIPE, FAILURE, INTERRUPTED, OK, exit_code
from .console import Output

Function = Callable[..., int | None]
JsonFlag = Annotated[bool, typer.Option("--json", help="Write one JSON value to stdout.")]
DebugFlag = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ProgressFlag = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress",
        help="Progress bars on stderr; left out, bars on a terminal and a line now and then elsewhere.",
        show_default=False,
    ),
]


def register(app: typer.Typer, name: str, function: Function, *, panel: str | None = None, long: bool = False) -> None:
    """Add `function(output, ...)` to the app as the command `name`.

    The options are the function's parameters after `output`, plus `--json` and `--debug`, and `--progress` where it
    takes `long`. The function returns its exit code, or None for success, and raises `LatefoldError`.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "output"]
    flags = [_flag("as_json", JsonFlag, default=False), _flag("debug", DebugFlag, default=False)]
    if long:
        flags.append(_flag("progress", ProgressFlag, default=None))

    def command(*, as_json: bool, debug: bool, progress: bool | None = None, **options: Any) -> None:
        output = Output(as_json=as_json, progress=progress)
        code = run(lambda: function(output, **options), output, debug=debug)
        if code:
            raise typer.Exit(code)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + flags
    command.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = function.__doc__
    app.command(name, rich_help_panel=panel)(command)


def _flag(name: str, annotation: Any, *, default: bool | None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def run(action: Callable[[], int | None], output: Output, *, debug: bool = False) -> int:
    """Do something and give its exit code; errors end here, as one line of text or as JSON."""
    try:
        try:
            code = action() or OK
            output.out.file.flush()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the process border
            code = report(error, output, debug=debug)
    except BrokenPipeError:
        silence()
        return BROKEN_PIPE
    return code


def report(error: BaseException, output: Output, *, debug: bool = False) -> int:
    """Tell the person at the terminal about an error, and give its exit code."""
    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, typer.Exit | typer.Abort):
        raise error
    if isinstance(error, KeyboardInterrupt):
        output.fail("interrupted", "interrupted; run the same command to continue")
        return INTERRUPTED
    if debug:
        output.err.print_exception(show_locals=False)
    if isinstance(error, OSError) and not isinstance(error, LatefoldError):
        error = StorageError(str(error))
    if isinstance(error, LatefoldError):
        output.fail(error.code, str(error))
        return exit_code(error)
    hint = "" if debug else "; run it again with --debug for the traceback, and please report it"
    output.fail("internal", f"{type(error).__name__}: {error}{hint}")
    return FAILURE


def silence() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain about a closed pipe."""
    with contextlib.suppress(OSError, ValueError):  # stdout may have no file descriptor, as under a test runner
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
