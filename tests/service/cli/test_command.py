"""The border where errors become exit codes, and what it prints."""

from __future__ import annotations

import errno
import json

import pytest
import typer
from typer.testing import CliRunner

from latefold.encoders.errors import IndexLockedError
from latefold.service.cli.command import register


def run(action, *options):
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.callback()
    def group() -> None:
        """Keep the command a subcommand."""

    def act(output, number: int = 1) -> int | None:
        """Act."""
        return action(output, number)

    register(app, "act", act)
    done = CliRunner().invoke(app, ["act", *options])
    return done.exit_code, done.stdout, done.stderr


def fail_with(error):
    def action(_output, _number):
        raise error

    return action


def test_options_and_the_exit_code_pass_through():
    seen = []
    assert run(lambda output, number: seen.append((number, output.as_json)), "--number", "3", "--json")[0] == 0
    assert seen == [(3, True)]
    assert run(lambda _output, number: number, "--number", "9")[0] == 9


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (IndexLockedError("held by process 7"), 6, "index_locked"),
        (OSError(errno.ENOSPC, "No space left on device"), 9, "storage"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("oops"), 1, "internal"),
        (MemoryError(), 1, "internal"),
    ],
)
def test_errors_become_one_line_or_json(error, code, name):
    got, out, err = run(fail_with(error))
    assert (got, out) == (code, "")
    assert err.startswith(f"error[{name}]: ")
    assert err.count("\n") == 1
    got, out, err = run(fail_with(error), "--json")
    assert (got, err) == (code, "")
    assert json.loads(out)["error"]["code"] == name


def test_interrupted_says_how_to_go_on():
    assert "run the same command to continue" in run(fail_with(KeyboardInterrupt()))[2]


def test_debug_shows_the_traceback():
    _, _, err = run(fail_with(IndexLockedError("held by process 7")), "--debug")
    assert "Traceback" in err
    assert "error[index_locked]: held by process 7" in err
    assert "Traceback" not in run(fail_with(ZeroDivisionError("oops")))[2]


def test_a_broken_pipe_is_quiet():
    assert run(fail_with(BrokenPipeError())) == (141, "", "")


def test_a_message_is_never_read_as_markup():
    assert "[red]files[/nope]" in run(fail_with(IndexLockedError("[red]files[/nope]")))[2]
