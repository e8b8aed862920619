"""The OCR engine `tesseract`: the program of this name, one process a page."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ..encoders.errors import InvalidInputError
from ..encoders.pages import Pixels
from .limits import limit_other
from .ocr import Recognized, best_turn, is_upright, recognized, split_words
from .options import MIB
from .reading_order import Line, Word

_PROGRAM: Final = "tesseract"
_FIX: Final = (
    "OCR by tesseract needs the program tesseract and its English model: install them"
    " (Debian: apt install tesseract-ocr; macOS: brew install tesseract), or choose another engine"
)
_LANGUAGE: Final = "eng"
_MEMORY: Final = 2048 * MIB
_MAX_PIXELS: Final = 24_000_000
"""Larger pages are read at a lower resolution: A4 has 8.7 million pixels at 300 dpi."""
_MAX_SIDE: Final = 20_000
_MIN_SIDE: Final = 8
_SAMPLE: Final = 8
"""Pixels a side of the squares in which the colour of the paper is looked for: a few of them hold a letter."""
_PAGE: Final = ("--psm", "3", "-l", _LANGUAGE, "tsv")
_WAY_UP: Final = ("--psm", "0", "-l", "osd")
_ROTATE: Final = re.compile(r"^Rotate: (\d+)", re.M)
_WORD_LEVEL: Final = "5"
_INCHES: Final = 11.3
"""Height of a sheet: A4 has 11.7, Letter 11."""
_SECONDS_TO_ANSWER: Final = 20.0
_Grey = npt.NDArray[np.uint8]


def installed() -> list[str]:
    """`["tesseract"]` if the program and its model are here."""
    return [_PROGRAM] if _version() else []


class Tesseract:
    """See `OcrEngine`. threads: pages at a time; more readers wait. seconds: wall time a page."""

    def __init__(self, threads: int, seconds: float) -> None:
        version = _version()
        if version is None:
            raise InvalidInputError(_FIX)
        self.name = f"{_PROGRAM} {version}"
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(threads)

    def read(self, image: Pixels) -> Recognized:
        """See `OcrEngine.read`."""
        height, width = image.shape[:2]
        if min(height, width) < _MIN_SIDE:
            return recognized([], width, height)
        grey = _grey(image)
        with self._free:
            deadline = time.monotonic() + self._seconds

            def read(turned: _Grey) -> Recognized:
                return recognized(_lines(_run(_PAGE, turned, deadline)), turned.shape[1], turned.shape[0])

            try:
                page = read(grey)
                return page if is_upright(page, grey) else best_turn(page, grey, read, _turns(grey, deadline))
            except TimeoutError:
                raise InvalidInputError(f"OCR took longer than {self._seconds:g} seconds") from None

    def close(self) -> None:
        """Nothing outlives `read`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _version() -> str | None:
    path = shutil.which(_PROGRAM)
    return _asked(path) if path else None


@cache
def _asked(path: str) -> str | None:
    """The version of the program at this path, None when it does not work or has no English model."""
    try:
        answers = [
            subprocess.run(  # noqa: S603 - a fixed question to the program that was found, no shell
                [path, question], capture_output=True, timeout=_SECONDS_TO_ANSWER, check=True, stdin=subprocess.DEVNULL
            )
            for question in ("--version", "--list-langs")
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    said, languages = (answer.stdout.decode(errors="replace").split() for answer in answers)
    return said[1] if len(said) > 1 and _LANGUAGE in languages else None


def _grey(image: Pixels) -> _Grey:
    """Ink on white paper, at a size that the program takes."""
    from PIL import Image

    height, width = image.shape[:2]
    step = max(1.0, (height * width / _MAX_PIXELS) ** 0.5, max(height, width) / _MAX_SIDE)
    picture = Image.fromarray(image).convert("L")
    if step > 1:
        picture = picture.resize((max(1, int(width / step)), max(1, int(height / step))), Image.Resampling.BOX)
    grey = np.asarray(picture)
    darkest, usual, brightest = np.percentile(grey[::_SAMPLE, ::_SAMPLE], [1, 50, 99])
    if brightest - usual > usual - darkest:  # bright letters
        picture = Image.fromarray(255 - grey)
    return _flattened(picture)


def _flattened(picture: Any) -> _Grey:
    """The picture as if its paper were white everywhere: the program tells ink from paper by one threshold a page.

    Shadows and yellowed paper cost half of the words otherwise. Places less than half as bright as the paper are taken
    for print, not for shadow.
    """
    from PIL import Image, ImageFilter

    width, height = picture.size
    small = picture.resize((math.ceil(width / _SAMPLE), math.ceil(height / _SAMPLE)), Image.Resampling.BOX)
    paper = small.filter(ImageFilter.MaxFilter(9)).filter(ImageFilter.GaussianBlur(8))
    darkest = float(np.percentile(np.asarray(paper), 95)) / 2
    paper = np.asarray(paper.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    white = np.asarray(picture, np.float32) * (255 / np.maximum(paper, max(1.0, darkest)))
    flattened: _Grey = np.minimum(white, 255).astype(np.uint8)
    return flattened


def _turns(grey: _Grey, deadline: float) -> list[int]:
    """By how many quarter turns to the left the picture would be upright, as far as the program can tell."""
    try:
        said = _ROTATE.search(_run(_WAY_UP, grey, deadline))
    except InvalidInputError:  # too few letters, or no model for it
        return []
    turns = -int(said[1]) // 90 % 4 if said else 0
    return [turns] if turns else []


def _run(options: Sequence[str], grey: _Grey, deadline: float) -> str:
    """What the program says about a picture. Raises `TimeoutError` at the deadline (monotonic seconds)."""
    seconds = max(0.1, deadline - time.monotonic())
    picture = b"P5 %d %d 255\n" % (grey.shape[1], grey.shape[0]) + grey.tobytes()
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell; the picture comes by standard input
            [_PROGRAM, "stdin", "stdout", "--dpi", str(_dpi(grey)), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            start_new_session=True,  # so that what it starts can be ended with it
        )
    except OSError as error:
        raise InvalidInputError(f"{_FIX} ({error.strerror})") from None
    try:
        limit_other(process.pid, _MEMORY, math.ceil(seconds))
        said, complaint = process.communicate(picture, seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:
        _end(process)
    if process.returncode:
        reason = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        raise InvalidInputError(f"OCR by tesseract failed: {reason[0]:.200}")
    return said.decode(errors="replace")


def _dpi(grey: _Grey) -> int:
    """The resolution, if the picture is that of a sheet of paper. Left to guess it, the program misses whole tables."""
    height, width = grey.shape
    dots = round(max(int(height), int(width)) / _INCHES)
    return min(max(dots, 100), 600)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # unsent bytes for a process that is gone
                pipe.close()


def _lines(table: str) -> list[Line]:
    """Lines of words from tab-separated rows: level, page, block, paragraph, line, word, box, confidence, text."""
    lines: dict[tuple[str, ...], list[Word]] = {}
    for row in table.split("\n"):
        cells = row.split("\t", 11)
        if len(cells) < 12 or cells[0] != _WORD_LEVEL:
            continue
        try:
            left, top, width, height, confidence = map(float, cells[6:11])
        except ValueError:
            raise InvalidInputError("OCR by tesseract failed: the program answers in another form") from None
        for text in split_words(cells[11]):
            word = Word(text, left, top, left + width, top + height, confidence / 100)
            lines.setdefault(tuple(cells[1:5]), []).append(word)
    return [Line(sorted(words, key=lambda word: word.left)) for words in lines.values()]
