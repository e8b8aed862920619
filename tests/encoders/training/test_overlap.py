"""Which texts share words with what a model is judged on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError
from latefold.encoders.training.overlap import SHARED_WORDS, SHORTEST, overlaps, runs, seen_runs

words = st.lists(st.sampled_from("alpha beta gamma delta epsilon".split()), max_size=30)


def shares(first: list[str], second: list[str]) -> bool:
    """The definition, by comparing every run with every other."""

    def pieces(text: list[str]) -> set[tuple[str, ...]]:
        size = len(text) if SHORTEST <= len(text) < SHARED_WORDS else SHARED_WORDS
        return {tuple(text[i : i + size]) for i in range(len(text) - size + 1)}

    return not pieces(first).isdisjoint(pieces(second))


@given(words, words)
def test_texts_overlap_where_they_share_a_run_of_words(first: list[str], second: list[str]) -> None:
    seen = set(runs(" ".join(first)))
    assert overlaps(", ".join(second).upper(), seen) == shares(first, second)


def test_collections_are_read_whole_and_unreadable_ones_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds no folder"):
        seen_runs(tmp_path)
    (tmp_path / "one").mkdir()
    corpus = tmp_path / "one" / "corpus.jsonl"
    corpus.write_text(json.dumps({"_id": "1", "title": "a b c d e", "text": "f g h i j"}) + "\n")
    (tmp_path / "one" / "queries.jsonl").write_text(json.dumps({"_id": "1", "text": "who what when where"}) + "\n")
    seen = seen_runs(tmp_path)
    assert len(seen) == 10 - SHARED_WORDS + 1 + 1
    assert overlaps("Who? What? When? Where?", seen)
    assert not overlaps("a b c d e", seen), "part of a run is none"
    for line in ("[1]", "{}", "no json"):
        corpus.write_text(line + "\n")
        with pytest.raises(InvalidInputError, match=r"corpus\.jsonl is no file of a BEIR collection"):
            seen_runs(tmp_path)
