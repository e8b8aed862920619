from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from latefold.encoders.errors import InvalidInputError
from latefold.encoders.pages import Pixels
from latefold.ingest.ocr import Recognized
from latefold.ingest.page_reading import Patience, read_pages
from latefold.ingest.pages import ExtractedPage

PATIENCE = Patience(0.05, 0.05)


def page(number: int) -> ExtractedPage:
    return ExtractedPage(number, "", 10.0, 10.0, needs_ocr=True)


def draw(number: int) -> Pixels:
    return np.full((4, 4, 3), number, np.uint8)


class Reader:
    """Reads a page's number off its colour; slowly where it is even."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self._lock = threading.Lock()

    def __call__(self, image: Pixels) -> Recognized:
        number = int(image[0, 0, 0])
        with self._lock:
            self.reads.append(number)
        time.sleep(0.02 * (number % 2 == 0))
        return Recognized(str(number), np.zeros((0, 2), np.int32), np.zeros((0, 4), np.float32), 1.0)


def test_pages_come_in_order_whatever_takes_longer() -> None:
    found = list(read_pages([page(n) for n in range(1, 20)], draw, Reader(), 4, PATIENCE))
    assert [reading.found and reading.found.text for reading in found] == [str(n) for n in range(1, 20)]


def test_a_page_that_looks_like_another_is_read_once() -> None:
    reader = Reader()
    found = list(read_pages([page(n) for n in range(1, 101)], lambda n: draw(n % 3), reader, 2, PATIENCE))
    assert sorted(reader.reads) == [0, 1, 2]
    assert [reading.repeated for reading in found] == [False] * 3 + [True] * 97
    assert [reading.found and reading.found.text for reading in found] == [str(n % 3) for n in range(1, 101)]


def test_a_failure_is_of_its_page_alone() -> None:
    def drawn(number: int) -> Pixels:
        if number == 2:
            raise InvalidInputError("cannot be drawn")
        return draw(number)

    def read(image: Pixels) -> Recognized:
        if image[0, 0, 0] == 4:
            raise InvalidInputError("cannot be read")
        return Reader()(image)

    found = list(read_pages([page(n) for n in range(1, 7)], drawn, read, 2, Patience(60, 60)))
    assert [reading.reason for reading in found] == ["", "cannot be drawn", "", "cannot be read", "", ""]


@pytest.mark.parametrize("where", ["drawing", "reading"])
def test_a_file_whose_pages_take_all_their_time_is_given_up(where: str) -> None:
    tried: list[int] = []

    def slow(number: int) -> None:
        tried.append(number)
        time.sleep(PATIENCE.reading)
        raise InvalidInputError("took too long")

    def drawn(number: int) -> Pixels:
        if where == "drawing":
            slow(number)
        return draw(number % 250)

    def read(image: Pixels) -> Recognized:
        slow(int(image[0, 0, 0]))
        raise AssertionError

    with pytest.raises(InvalidInputError, match=r"given up at page \d+"):
        list(read_pages([page(n) for n in range(1, 10_000)], drawn, read, 2, PATIENCE))
    assert len(tried) < 12


def test_who_stops_waits_only_for_what_has_begun() -> None:
    reader = Reader()
    readings = read_pages([page(n) for n in range(1, 100)], draw, reader, 2, PATIENCE)
    next(readings)
    readings.close()  # type: ignore[attr-defined]
    count = len(reader.reads)
    time.sleep(0.1)
    assert len(reader.reads) == count < 8
