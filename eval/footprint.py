"""Index the first documents of a BEIR folder and print, as JSON, how much memory this process took."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from ..retrieval.index import Index
from .beir import load_corpus
from .machine import peak_memory


def main(folder: str, encoder: str, count: str) -> None:
    """Run with a process of its own: memory is measured from its start."""
    documents = load_corpus(folder)[: int(count)]
    before = peak_memory()
    with (
        tempfile.TemporaryDirectory(prefix="latefold-eval-") as home,
        Index.create(Path(home) / "collection.index", encoder=encoder) as index,
    ):
        index.add(documents)
    figures = {"documents": len(documents), "before": before, "peak": peak_memory()}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
