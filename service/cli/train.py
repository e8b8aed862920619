"""`train`: an encoder of one's own from pairs of queries and passages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...encoders.errors import InvalidInputError, StorageError
from .console import Output

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="TOML file with the data and settings of the run.", show_default=False)
]


def train(
    output: Output,
    config: ConfigFile,
    into: Annotated[
        Path, typer.Option("--into", metavar="FOLDER", help="Folder of the run: checkpoints, head, model, curves.")
    ] = Path("training"),
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of cached token vectors, which runs can share; in the run's else."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Start anew where the folder holds checkpoints.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the trained encoder here, to be used as --encoder FOLDER."),
    ] = None,
) -> None:
    """Train an encoder for late interaction on pairs of queries and passages. Needs the extra `models`.

    The same command goes on where an interrupted run stopped. Passages that share a batch are hard for each other:
    neighbours of one query in an index of them all. The folder gets manifest.json, curves.json and curves.svg.

    --json: {"pairs", "held_out", "steps", "before", "after", "model", "head", "manifest", "curves", "exported"}.
    """
    from ...encoders.training.config import read_config
    from ...encoders.training.run import CURVES_FILE, MANIFEST_FILE
    from ...encoders.training.run import train as run
    from ...ingest.neighbours import folded_recall, index_neighbours

    settings = read_config(config)
    if export is not None and export.resolve() == into.resolve():
        raise InvalidInputError(f"--export and --into both name {into}; the encoder needs a folder of its own")
    with output.progress() as report:
        result = run(
            settings,
            into,
            cache=cache,
            neighbours=index_neighbours,
            folded=folded_recall,
            restart=restart,
            progress=report,
        )
    picture = draw(into)
    if export is not None:
        from ...encoders.training.export import export_run

        export_run(into, export)
    facts: dict[str, Any] = result | {
        "model": str(into / result["model"]) if "model" in result else None,
        "head": str(into / "head.safetensors"),
        "manifest": str(into / MANIFEST_FILE),
        "curves": [str(into / CURVES_FILE), str(picture)],
        "exported": None if export is None else str(export),
    }
    if output.as_json:
        output.json(facts)
        return
    from .render import show_facts

    show_facts(output, describe(facts))


def describe(facts: dict[str, Any]) -> dict[str, str]:
    """What a run found and left, in words."""
    words = {"trained": f"{facts['steps']:,} steps on {facts['pairs']:,} pairs, {facts['held_out']:,} held out"}
    before, after = facts.get("before", {}), facts.get("after", {})
    for name, value in after.items():
        if name.startswith(("mrr@10", "mean_cosine", "stable_rank", "folded_recall")):
            words[name] = f"{before.get(name, value):.3f} before, {value:.3f} after"
    for name in ("head", "model", "exported"):
        if facts[name]:
            words[name] = facts[name]
    words["curves"] = facts["curves"][1]
    return words


def draw(folder: Path) -> Path:
    """Draw `curves.json` of a run beside it. Raises `StorageError` where that cannot be written."""
    import json

    from ...encoders.training.run import CURVES_FILE
    from ..training_curves import training_svg

    picture = folder / "curves.svg"
    try:
        picture.write_text(training_svg(json.loads((folder / CURVES_FILE).read_bytes())), encoding="utf-8")
    except OSError as error:
        raise StorageError(error.errno, f"the curves cannot be drawn to {picture}: {error.strerror}") from error
    return picture
