"""Every command and example of the README runs as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from page_files import write_pdf

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SHELL = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
TRAINING = [line for kind, text in BLOCKS if kind == "sh" and "latefold train" in text for line in text.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith("latefold ") and " serve " not in line and line not in TRAINING]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder as a user has it: a `docs` folder, and `latefold` on the path."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "docs").mkdir()
    for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder / "docs")
    write_pdf(folder / "docs" / "guide.pdf")
    queries = re.findall(
        r"^#+ (.+)$", "\n".join(path.read_text() for path in (folder / "docs").iterdir()), re.MULTILINE
    )
    (folder / "queries.txt").write_text("\n".join(queries))
    return folder


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_the_readme_opens_with_its_two_commands():
    assert SHELL[:2] == ["pip install -e . && latefold demo", "pip install -e '.[dev]' && pytest"]


def test_the_commands_run_in_their_order(workplace, environment):
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        done = subprocess.run(
            ["bash", "-c", command], cwd=workplace, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if " search " in command:
            assert "ARCHITECTURE" in done.stdout, done.stdout


def test_an_encoder_is_trained_and_used(workplace, environment):
    pytest.importorskip("sentence_transformers", reason="the extra 'models' is not installed")
    pytest.importorskip("datasets", reason="the extra 'models' is not installed")
    (settings,) = (text for kind, text in BLOCKS if kind == "toml")
    (workplace / "train.toml").write_text(settings)
    paragraphs = [text for path in sorted((workplace / "docs").iterdir()) for text in path.read_text().split("\n\n")]
    pairs = [{"query": text[:60], "passage": text} for text in paragraphs if len(text) > 200]
    (workplace / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    commands = [line for line in TRAINING if line.startswith("latefold ")]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=workplace, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("code", PYTHON)
def test_the_examples_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    if "prompt" in names:
        assert names["prompt"].startswith("Green tea")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's request uses curl, which is not installed")
def test_the_served_index_answers_the_request(workplace, environment):
    serve = next(line for line in SHELL if " serve " in line)
    request = next(line for line in SHELL if line.startswith("curl "))
    if not (workplace / "my.index").is_dir():
        subprocess.run(["bash", "-c", COMMANDS[0]], cwd=workplace, env=environment, check=True, capture_output=True)
    with subprocess.Popen(
        ["bash", "-c", f"exec {serve}"], cwd=workplace, env=environment, stderr=subprocess.DEVNULL
    ) as server:
        try:
            for _ in range(150):
                done = subprocess.run(["bash", "-c", request], capture_output=True, text=True, check=False)
                if done.returncode == 0 and done.stdout:
                    break
                time.sleep(0.2)
            assert '"hits"' in done.stdout, done.stdout
        finally:
            server.terminate()
            server.wait(timeout=20)
