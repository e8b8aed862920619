"""Runs of the real command line on a small folder, encoded by the bundled model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from latefold.service.cli.app import make_app

TEXTS = {
    "bread.txt": "Bread is baked in a hot oven.\n\nYeast makes the dough rise before it is baked.",
    "notes/oven.md": "# Oven care\n\nClean the oven with soda once a month, and never use bleach on it.",
    "notes/tea.html": "<html><head><title>Tea</title></head><body><p>Green tea is brewed with water at eighty "
    "degrees, black tea with boiling water.</p></body></html>",
}
RECORDS = [
    {"_id": "r1", "title": "Sourdough", "text": "A starter of flour and water ferments for days.", "year": 2020},
    {"_id": "r2", "title": "Rye", "text": "Rye bread is dense and keeps for a week.", "year": 1999},
]


@dataclass(frozen=True)
class Result:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def cli():
    """`cli("search", path, "query", "--json")` runs a command in this process."""
    app = make_app()

    def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    return run


def write_folder(folder: Path) -> Path:
    """A folder with files of several types."""
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return folder


@pytest.fixture
def folder(tmp_path):
    """A fresh folder of readable files."""
    return write_folder(tmp_path / "files")


@pytest.fixture(scope="session")
def shared_index(cli, tmp_path_factory):
    """An index of the folder, for tests that only read it."""
    root = tmp_path_factory.mktemp("shared")
    done = cli("index", write_folder(root / "files"), "--into", root / "kitchen.index", "--no-progress")
    assert done.code == 0, done
    return root / "kitchen.index"


@pytest.fixture
def index_copy(shared_index, tmp_path):
    """A copy of that index, for tests that change it."""
    return Path(shutil.copytree(shared_index, tmp_path / "copy.index"))
