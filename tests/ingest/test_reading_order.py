from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latefold.ingest.reading_order import Line, Word, in_reading_order

PROSE = ["some words of prose go here", "and here the sentence goes on", "until it comes to its very end"]


def line(text: str, x: float, y: float, slope: float = 0.0) -> Line:
    """A line of letters that are ten pixels wide and twenty high, which falls by `slope`."""
    words = []
    for word in text.split():
        top = y + slope * (x + 5 * len(word))
        words.append(Word(word, x, top, x + 10 * len(word), top + 20, 1.0))
        x += 10 * len(word) + 10
    return Line(words)


def column(name: str, x: float, y: float = 100, slope: float = 0.0) -> list[Line]:
    return [line(f"{name} {text}", x, y + 30 * row, slope) for row, text in enumerate(PROSE * 2)]


def text_of(lines: list[Line]) -> str:
    return "\n\n".join(
        "\n".join(" ".join(word.text for word in row) for row in block) for block in in_reading_order(lines)
    )


def expected(*names: str) -> str:
    return "\n\n".join("\n".join(f"{name} {text}" for text in PROSE * 2) for name in names)


@pytest.mark.parametrize("slope", [0.0, 0.02, -0.02])
@pytest.mark.parametrize("shift", [0, 11])
def test_columns_of_prose_one_by_one_whatever_the_order_they_come_in(slope: float, shift: float) -> None:
    lines = column("a", 0, slope=slope) + column("b", 400, 100 + shift, slope) + column("c", 800, slope=slope)
    title = line("a title that runs over all of the columns " * 2, 100, 20, slope)
    foot = line("9", 1100, 400, slope)
    found = text_of(random.Random(1).sample([*lines, title, foot], len(lines) + 2))
    assert found == f"{' '.join(['a title that runs over all of the columns'] * 2)}\n\n{expected('a', 'b', 'c')}\n\n9"


@pytest.mark.parametrize("slope", [0.0, 0.02, -0.02])
def test_tables_row_by_row(slope: float) -> None:
    rows = [("net income of the year", "1,048", "805"), ("tax expense of the year", "193", "300")] * 3
    lines = [
        line(cell, x, 40 * y, slope) for y, row in enumerate(rows) for x, cell in zip((0, 500, 700), row, strict=True)
    ]
    assert text_of(lines) == "\n".join(" ".join(row) for row in rows)


def test_paragraphs_are_apart() -> None:
    lines = [line(text, 0, y) for text, y in zip("abcdef", (0, 30, 60, 120, 150, 180), strict=True)]
    assert text_of(lines) == "a\nb\nc\n\nd\ne\nf"


@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 2, *[st.floats(0, 1e3)] * 2, st.integers(1, 4)), max_size=40))
def test_every_word_is_read_once(places: list[tuple[float, float, float, float, int]]) -> None:
    lines = [
        Line([Word(f"{number}-{i}", x + i, y, x + i + width, y + height, 1.0) for i in range(count)])
        for number, (x, y, width, height, count) in enumerate(places)
    ]
    read = [word for block in in_reading_order(lines) for row in block for word in row]
    assert sorted(word.text for word in read) == sorted(word.text for line in lines for word in line.words)
    assert all(in_reading_order(lines))
