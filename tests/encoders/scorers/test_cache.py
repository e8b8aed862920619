"""The file of scores: nothing is asked twice, nothing damaged is believed, and it holds no text."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidInputError, ScoreCacheError, StorageError
from latefold.encoders.scorers.base import CallableScorer
from latefold.encoders.scorers.cache import CachedScorer, ScoreCache
from latefold.encoders.scorers.counted import CountedScorer

TEXT = st.text(max_size=6)


def counted(name: str = "sum", factor: float = 1.0) -> CountedScorer:
    return CountedScorer(CallableScorer(lambda pairs: [factor * (len(a) + 10 * len(b)) for a, b in pairs], name))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.sqlite"


@given(st.lists(st.lists(st.tuples(TEXT, TEXT), max_size=8), max_size=6))
def test_no_pair_is_asked_twice_over_any_number_of_sessions(tmp_path_factory, requests) -> None:
    path, model = tmp_path_factory.mktemp("scores") / "scores.sqlite", counted()
    for pairs in requests:
        with ScoreCache(path) as cache:
            scores = CachedScorer(model, cache).score(pairs)
            assert scores.dtype == np.float32
            assert scores.tolist() == [len(a) + 10 * len(b) for a, b in pairs]
    asked = {pair for pairs in requests for pair in pairs}
    assert model.calls == len(asked)
    with ScoreCache(path) as cache:
        assert len(cache) == len(asked)


def test_scores_come_back_to_the_last_bit(path: Path, rng) -> None:
    values = rng.standard_normal(50).astype(np.float32)
    scorer = CallableScorer(lambda pairs: [values[int(b)] for _, b in pairs], "values")
    pairs = [("q", str(i)) for i in range(50)]
    with ScoreCache(path) as cache:
        CachedScorer(scorer, cache).score(pairs)
        nothing = CallableScorer(lambda _: 1 / 0, "values")
        np.testing.assert_array_equal(CachedScorer(nothing, cache).score(pairs), values)


def test_scorers_queries_and_documents_are_told_apart(path: Path) -> None:
    with ScoreCache(path) as cache:
        assert CachedScorer(counted("one"), cache).score([("a", "bb")]).tolist() == [21]
        assert CachedScorer(counted("two", 2.0), cache).score([("a", "bb")]).tolist() == [42]
        assert CachedScorer(counted("one"), cache).score([("bb", "a"), ("a", "bb")]).tolist() == [12, 21]
        assert len(cache) == 3


def test_scores_paid_for_before_a_failure_are_kept(path: Path) -> None:
    def fails_on_c(pairs: list) -> list:
        if ("q", "c") in pairs:
            raise OSError("gone")
        return [1.0] * len(pairs)

    with ScoreCache(path) as cache:
        scorer = CountedScorer(CachedScorer(CallableScorer(fails_on_c, "frail"), cache), batch=2)
        with pytest.raises(OSError, match="gone"):
            scorer.score([("q", text) for text in "abcd"])
        assert len(cache) == 2


def test_two_processes_may_use_one_file(path: Path) -> None:
    code = (
        "import sys; from latefold.encoders.scorers.cache import *; from latefold.encoders.scorers.base import *\n"
        "cache = ScoreCache(sys.argv[1]); scorer = CachedScorer(CallableScorer(lambda p: [2.5] * len(p), 'x'), cache)\n"
        "for i in range(40): scorer.score([(sys.argv[2], str(i)), ('both', str(i))])\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("one", "two")]
    assert [process.wait(120) for process in running] == [0, 0]
    with ScoreCache(path) as cache:
        assert len(cache) == 120


def test_the_file_holds_no_text(path: Path) -> None:
    with ScoreCache(path) as cache:
        CachedScorer(counted("secretscorer"), cache).score([("secretquestion", "secretanswer")])
    assert b"secret" not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_a_scorer_that_says_not_what_it_is_is_not_cached(path: Path) -> None:
    with ScoreCache(path) as cache, pytest.raises(InvalidInputError, match="without a fingerprint"):
        CachedScorer(lambda pairs: [0.0] * len(pairs), cache)


def test_any_damage_is_refused_by_name_or_changes_nothing(path: Path, rng) -> None:
    pairs = [(str(i), "x" * (i % 9)) for i in range(300)]
    with ScoreCache(path) as cache:
        wanted = CachedScorer(counted(), cache).score(pairs)
    whole, messages = path.read_bytes(), []
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            with ScoreCache(path) as cache:
                np.testing.assert_array_equal(CachedScorer(counted(), cache).score(pairs), wanted)
        except ScoreCacheError as error:
            messages.append(str(error))
        for log in path.parent.glob("*-*"):
            log.unlink()
    assert len(messages) > 10
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize("content", [b"not a database at all" * 50, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_of_something_else_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ScoreCacheError, match=r"scores\.sqlite"):
        ScoreCache(path)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE scores (name TEXT)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(ScoreCacheError, match="no file of scores of version 1"):
        ScoreCache(path)
    assert path.read_bytes() == before


def test_a_later_version_is_refused(path: Path) -> None:
    ScoreCache(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 2")
    with pytest.raises(ScoreCacheError, match="version 1"):
        ScoreCache(path)


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot use the file of scores"):
        ScoreCache(tmp_path / "missing" / "scores.sqlite")


def test_a_closed_cache_says_so(path: Path) -> None:
    cache = ScoreCache(path)
    cache.close()
    with pytest.raises(InvalidInputError, match="was closed"):
        CachedScorer(counted(), cache).score([("a", "b")])
