"""What the console makes of numbers, progress and values that JSON cannot hold."""

from __future__ import annotations

import json
import math

import pytest

from latefold.service.cli import console
from latefold.service.cli.console import Output, duration, finite, progress_line, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0421, "0.042 s"), (3.21, "3.2 s"), (59.4, "59 s"), (65, "1 min 5 s"), (7380, "2 h 3 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (2 << 40, "2.0 TiB")]
)
def test_size(amount, text):
    assert size(amount) == text


def test_progress_line_tells_the_time_left():
    assert progress_line("encode", 250, 1000, seconds=10.0) == "encode: 250 of 1,000 (25%), 30 s left"
    assert progress_line("encode", 600, 1000, seconds=10.0, before=500) == "encode: 600 of 1,000 (60%), 40 s left"
    assert progress_line("encode", 0, 1000, seconds=0.0) == "encode: 0 of 1,000 (0%)"
    assert progress_line("encode", 250, None, seconds=10.0) == "encode: 250"


def test_values_without_a_json_word_become_null():
    value = {"a": [math.nan, 1.5, (math.inf,)], 2: "x"}
    assert finite(value) == {"a": [None, 1.5, [None]], "2": "x"}


def test_plain_progress_is_a_line_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 1.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with Output().progress() as report:
        for done in range(1, 6):
            report("encode", 10 * done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["encode: 30 of 100 (30%), 21 s left", "encode: 50 of 100 (50%), 15 s left"]


def test_progress_can_be_switched_off(capsys):
    with Output(progress=False).progress() as report:
        assert report is None
    assert capsys.readouterr() == ("", "")


def test_forced_progress_draws_bars_on_stderr_only(capsys):
    with Output(as_json=True, progress=True).progress() as report:
        report("encode", 5, 10)
        report("calibrate", 1, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert "encode" in err
    assert "5/10" in err
    assert "calibrate" in err


def test_an_expected_total_stands_in_until_it_is_exceeded(capsys, monkeypatch):
    monkeypatch.setattr(console, "LOG_SECONDS", 0.0)
    with Output().progress() as report:
        report.expect("encode", 20)
        report("encode", 10, None)
        report("encode", 30, None)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("encode: 10 of 20 (50%)")
    assert second == "encode: 30"


def test_json_goes_to_stdout_on_one_line(capsys):
    Output(as_json=True).json({"score": math.inf, "text": "zwei\nZeilen"})
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert json.loads(out) == {"score": None, "text": "zwei\nZeilen"}
