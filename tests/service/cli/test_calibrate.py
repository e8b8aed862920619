"""`calibrate`, and what `stats` tells of it."""

from __future__ import annotations

import pytest

from latefold import Document, Index
from latefold.index.encodings.learned import LearnedConfig
from latefold.retrieval.config import IndexConfig

CALIBRATION = {
    "generation",
    "documents",
    "queries",
    "curve",
    "curve_100",
    "candidates",
    "recall",
    "target",
    "single",
    "bytes",
    "real",
    "options",
    "codec",
    "codecs",
    "refined",
    "drift",
    "warning",
}


@pytest.fixture
def vectors_index(tmp_path, make_embeddings):
    """An index of the caller's own vectors, not calibrated."""
    path = tmp_path / "vectors.index"
    config = IndexConfig(learned=LearnedConfig(width=64, learn_tokens=256))
    with Index.create(path, dim=16, config=config) as index:
        index.add([Document(f"d{i}", "x") for i in range(150)], embeddings=make_embeddings(150))
    return path


def test_calibrate_fits_measures_and_draws(cli, vectors_index, tmp_path):
    done = cli("calibrate", vectors_index, "--target-recall", "0.8", "--refit", "--plot", tmp_path / "c.svg", "--json")
    measured = done.json["calibration"]
    assert measured.keys() == CALIBRATION
    assert measured["target"] == 0.8
    keys = {"single", "bytes", "curve", "candidates", "microseconds"}
    assert measured["options"]
    assert all(option.keys() == keys for option in measured["options"])
    assert cli("stats", vectors_index, "--json").json["calibration"] == measured
    assert (tmp_path / "c.svg").read_text().startswith("<svg")
    plain = cli("stats", vectors_index, "--plot", tmp_path / "s.svg").out
    assert (tmp_path / "s.svg").read_text() == (tmp_path / "c.svg").read_text()
    assert f"{measured['recall']:.3f} of the exact top 10 among {measured['candidates']} candidates" in plain
    assert "target 0.8" in plain
    assert "chosen" in plain


def test_calibrate_without_a_refit_keeps_the_vectors(cli, vectors_index):
    measured = cli("calibrate", vectors_index, "--no-refit", "--json").json["calibration"]
    assert measured["single"].startswith("fde")
    assert measured["options"] == []


def test_real_queries_come_from_a_file(cli, shared_index, vectors_index, tmp_path):
    queries = tmp_path / "q.txt"
    queries.write_text("how hot is the oven\n\nwhat keeps for a week\n")
    assert cli("calibrate", shared_index, "--queries", queries, "--json").json == {"calibration": None}
    none = cli("calibrate", vectors_index, "--queries", queries)
    assert none.code == 2
    assert "no encoder" in none.err
    queries.write_text("one\n")
    assert "at least 2" in cli("calibrate", shared_index, "--queries", queries).err
    assert "cannot be read" in cli("calibrate", shared_index, "--queries", tmp_path / "none.txt").err


def test_bad_values_are_refused(cli, shared_index, tmp_path):
    assert cli("calibrate", shared_index, "--target-recall", "1.5").code == 2
    few = cli("calibrate", shared_index, "--plot", tmp_path / "c.svg")
    assert few.code == 2
    assert "too few documents" in few.err
    assert "not measured" in cli("calibrate", shared_index).out


def test_a_plot_that_cannot_be_written_is_a_storage_error(cli, vectors_index, tmp_path):
    done = cli("calibrate", vectors_index, "--plot", tmp_path / "no" / "c.svg")
    assert done.code == 9
    assert "c.svg" in done.err
