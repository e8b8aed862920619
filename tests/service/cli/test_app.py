"""The tree of commands: what it offers, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from latefold import __version__
from latefold.service.cli.app import LONG

COMMANDS = "demo doctor plan index search explain serve eval stats verify factorize optimize delete".split()
HEAVY = "numba numpy onnxruntime tokenizers fastapi starlette uvicorn pydantic trafilatura sqlite3".split()


def python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **options)


def test_help_lists_every_command(cli):
    done = cli("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert f" {command} " in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_speaks_json(cli, command):
    done = cli(command, "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert "--debug" in done.out
    assert ("--no-progress" in done.out) == (command in LONG)


def test_version(cli):
    assert cli("--version").out == f"latefold {__version__}\n"


def test_an_unknown_command_is_a_usage_error(cli):
    assert cli("fold").code == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom latefold.service.cli import main\nsys.argv = ['latefold', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = python("-c", code)
    assert "Late-interaction" in done.stdout
    assert done.stderr.strip() == "[]"


def test_runs_as_a_module():
    done = python("-m", "latefold.service.cli", "--version")
    assert (done.returncode, done.stdout) == (0, f"latefold {__version__}\n")


def test_a_closed_pipe_is_quiet(shared_index):
    command = [sys.executable, "-m", "latefold.service.cli", "search", str(shared_index), "bread"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 141


def test_json_survives_a_terminal_without_unicode(shared_index, tmp_path):
    arguments = ["-m", "latefold.service.cli", "search", str(shared_index), "brötchen 🥐", "--json"]
    done = python(*arguments, env={"PYTHONIOENCODING": "ascii", "PATH": "", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert r"br\u00f6tchen \ud83e\udd50" in done.stdout
