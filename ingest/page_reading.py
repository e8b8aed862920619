"""Pages read by OCR: drawn one by one, several read at a time, given in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import xxhash

from ..encoders.errors import InvalidInputError
from ..encoders.pages import Pixels
from .ocr import Recognized
from .pages import ExtractedPage

_AHEAD = 2
"""Pages drawn for each that is being read."""
_REMEMBERED = 64
"""Pages that another one is compared with: empty ones come again."""
_FAILURES = 3
"""Pages of a file that may take all their time in vain."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What became of a page: `found`, or the reason why nothing was. repeated: it looks like one before it."""

    page: ExtractedPage
    found: Recognized | None
    reason: str = ""
    repeated: bool = False


@dataclass(frozen=True)
class Patience:
    """Seconds that drawing a page, and reading it, may take."""

    drawing: float
    reading: float


_Timed = tuple[Recognized | InvalidInputError, float]
"""What was found on a page, and for a failure the share of the time that it had."""


def read_pages(
    pages: Sequence[ExtractedPage],
    draw: Callable[[int], Pixels],
    read: Callable[[Pixels], Recognized],
    workers: int,
    patience: Patience,
) -> Iterator[Reading]:
    """Every page in order; a page that looks like an earlier one is not read again.

    draw: a page by its number. Raises `InvalidInputError` when too many pages took all their time in vain: a file of
    ten thousand such pages would keep the run for days.
    """

    def timed(image: Pixels) -> _Timed:
        started = time.monotonic()
        try:
            return read(image), 0.0
        except InvalidInputError as error:
            return error, (time.monotonic() - started) / patience.reading

    seen: dict[bytes, Future[_Timed]] = {}
    waiting: deque[tuple[ExtractedPage, Future[_Timed], bool]] = deque()
    vain = 0.0
    pool = ThreadPoolExecutor(workers, "ocr")
    try:
        for page in pages:
            waiting.append((page, *_begun(page, draw, lambda image: pool.submit(timed, image), seen, patience.drawing)))
            if len(waiting) >= _AHEAD * workers:
                reading, lost = _ended(*waiting.popleft())
                yield reading
                vain += lost
                if vain >= _FAILURES:
                    raise InvalidInputError(f"given up at page {page.number}, since too many took all their time")
        while waiting:
            yield _ended(*waiting.popleft())[0]
    finally:
        pool.shutdown(cancel_futures=True)


def _begun(
    page: ExtractedPage,
    draw: Callable[[int], Pixels],
    submit: Callable[[Pixels], Future[_Timed]],
    seen: dict[bytes, Future[_Timed]],
    seconds: float,
) -> tuple[Future[_Timed], bool]:
    """The reading of a page that is drawn now, and whether that of another page is used for it."""
    started = time.monotonic()
    try:
        image = draw(page.number or 1)
    except InvalidInputError as error:
        failed: Future[_Timed] = Future()
        failed.set_result((error, (time.monotonic() - started) / seconds))
        return failed, False
    looks = xxhash.xxh3_128_digest(image.tobytes() + repr(image.shape).encode())
    if looks in seen:
        return seen[looks], True
    if len(seen) >= _REMEMBERED:
        del seen[next(iter(seen))]
    seen[looks] = submit(image)
    return seen[looks], False


def _ended(page: ExtractedPage, future: Future[_Timed], repeated: bool) -> tuple[Reading, float]:
    found, lost = future.result()
    if isinstance(found, InvalidInputError):
        return Reading(page, None, str(found), repeated), 0.0 if repeated else lost
    return Reading(page, found, repeated=repeated), 0.0
