"""Documents that must not get into an index."""

from __future__ import annotations

from pathlib import Path

import pytest
from workload import create, embeddings

from latefold.encoders.errors import InvalidInputError


def test_metadata_too_deep_for_filters_is_refused(ram_path: Path) -> None:
    """SQLite would store it, and then fail on every filter over the whole index."""

    def nested(levels: int) -> dict[str, object]:
        value: dict[str, object] = {}
        for _ in range(levels - 1):
            value = {"a": value}
        return value

    with create(ram_path / "index") as index:
        document_of = {"id": "d1", "text": "text"}
        with pytest.raises(InvalidInputError, match=r"d1.* nested deeper than 100 levels"):
            index.add([{**document_of, "metadata": nested(101)}], embeddings=embeddings([("d1", 1)]))
        index.add([{**document_of, "metadata": nested(100)}], embeddings=embeddings([("d1", 1)]))
        assert index.ids(filter={"a.a": {"$exists": True}}) == ["d1"]
        assert index.search(embeddings=embeddings([("d1", 1)]), filter={"b": 1}) == [[]]
