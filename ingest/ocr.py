"""Optical character recognition: scanned pages become text with a box for every word, offline.

Two engines answer to one contract. `tesseract` is the program of this name, run once a page; `rapidocr` is the package,
which brings its models, run in processes of its own. Both are kept from the indexer by a process border and limits on
time and memory, and what both find is put into words and reading order in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, Self, get_args

import numpy as np

from ..encoders.errors import InvalidInputError
from ..encoders.onnx_session import cores
from ..encoders.pages import Boxes, Pixels
from .charset import extracted
from .pages import Spans
from .reading_order import Line, Word, in_reading_order

EngineName = Literal["auto", "off", "tesseract", "rapidocr"]
OCR_DPI: Final = 200
"""The resolution that pages are rendered at for OCR. At 150 tesseract misses three times as many words, at 300 half as
many in a third more time."""
OCR_SECONDS: Final = 60.0
_MAX_LINES: Final = 20_000
_SURE: Final = 0.2
"""Confidence below which a word is noise."""
_SURE_PAGE: Final = 0.8
"""Confidence in a page that is upright and legible; sideways, what is left after dropping noise has 0.6."""
_FEW_WORDS: Final = 5
_LONG_WORD: Final = 3
"""Letters of a word that is wider than it is high, at least."""
_SURE_MARK: Final = 0.6
"""The same for words without a letter or digit: specks, rules and borders look like punctuation."""


@dataclass(frozen=True, eq=False)
class Recognized:
    """What is written on a page.

    text: words with single spaces between, a line a row, blank lines between paragraphs and columns. spans: `(n, 2)`
    int32, characters of each word in the text. boxes: `(n, 4)` float32, see `Boxes`. confidence: the engine's own, 0 to
    1, mean over the characters; 0 for a page without words. Confidences of two engines cannot be compared.
    """

    text: str
    spans: Spans
    boxes: Boxes
    confidence: float


class OcrEngine(Protocol):
    """Reads pages; several threads may do so at a time. A context manager; closing it ends its processes."""

    name: str
    """`tesseract` or `rapidocr`, and its version: pages that another engine has read may differ."""

    def read(self, image: Pixels) -> Recognized:
        """The text of a page. Raises `InvalidInputError` when it takes too long or the engine fails on it."""
        ...

    def close(self) -> None:
        """End what is running."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def available_engines() -> list[str]:
    """Names of the engines that are installed here, the better one first."""
    from . import ocr_rapid, ocr_tesseract

    return [*ocr_tesseract.installed(), *ocr_rapid.installed()]


def find_engine(name: EngineName, threads: int | None = None, seconds: float = OCR_SECONDS) -> OcrEngine | None:
    """An engine by name; `auto` is the best one that is installed, or None; `off` is None.

    threads: pages read at a time, by default one for each processor. seconds: wall time a page.

    Raises `InvalidInputError` or `MissingExtraError` for an engine that is unknown or absent.
    """
    from .ocr_rapid import RapidOcr
    from .ocr_tesseract import Tesseract

    if name not in get_args(EngineName):
        raise InvalidInputError(f"no OCR engine {name!r}: choose one of {', '.join(get_args(EngineName))}")
    if not seconds > 0 or (threads is not None and threads < 1):
        raise InvalidInputError(f"OCR needs time and at least one thread, got {seconds} seconds and {threads} threads")
    engines: dict[str, type[Tesseract | RapidOcr]] = {"tesseract": Tesseract, "rapidocr": RapidOcr}
    chosen = next(iter(available_engines()), "off") if name == "auto" else name
    return engines[chosen](threads or cores(), seconds) if chosen != "off" else None


def recognized(lines: Sequence[Line], width: int, height: int) -> Recognized:
    """The page of so many pixels that an engine found these lines on, without what is noise."""
    kept = [Line(words) for line in lines[:_MAX_LINES] if (words := [word for word in line.words if _is_text(word)])]
    text, spans, words = "", [], []
    for block in in_reading_order(kept):
        text += "\n\n" if text else ""
        for number, row in enumerate(block):
            text += "\n" if number else ""
            for position, word in enumerate(row):
                text += " " if position else ""
                spans.append((len(text), len(text) + len(word.text)))
                text += word.text
                words.append(word)
    corners = np.array([(word.left, word.top, word.right, word.bottom) for word in words], np.float64).reshape(-1, 4)
    boxes = (corners / [width, height, width, height]).clip(0, 1).astype(np.float32)
    weights = [len(word.text) for word in words]
    sure = float(np.average([word.confidence for word in words], weights=weights)) if words else 0.0
    return Recognized(text, np.array(spans, np.int32).reshape(-1, 2), boxes, sure)


def is_upright(page: Recognized, image: Pixels) -> bool:
    """Whether the page looks like one that was not read sideways or upside down."""
    if len(page.spans) < _FEW_WORDS:
        return True
    return page.confidence >= _SURE_PAGE and not lies(page, image)


def lies(page: Recognized, image: Pixels) -> bool:
    """Whether most of the words stand on end."""
    boxes = page.boxes[page.spans[:, 1] - page.spans[:, 0] >= _LONG_WORD]
    left, top, right, bottom = boxes.T
    height, width = image.shape[:2]
    return int(((right - left) * width < (bottom - top) * height).sum()) * 2 > len(boxes)


def best_turn(
    page: Recognized, image: Pixels, read: Callable[[Pixels], Recognized], turns: Iterable[int]
) -> Recognized:
    """What is read from the image after so many quarter turns to the left, unless `page` is better.

    Boxes are those on the image as it is. Turns are tried until one is good.
    """
    surest = page.confidence - lies(page, image)
    for turn in turns:
        turned_image = np.ascontiguousarray(np.rot90(image, turn))
        turned = read(turned_image)
        sure = turned.confidence - lies(turned, turned_image)
        if sure > surest:
            page, surest = replace(turned, boxes=_turned_back(turned.boxes, turn)), sure
        if is_upright(turned, turned_image):
            break
    return page


def _turned_back(boxes: Boxes, turns: int) -> Boxes:
    """Boxes on a page before it was turned to the left by so many quarters."""
    for _ in range(turns):
        left, top, right, bottom = boxes.T
        boxes = np.stack([1 - bottom, left, 1 - top, right], axis=1)
    return boxes


def split_words(text: str) -> list[str]:
    """The words of a line as documents hold them: without control characters, and without spaces inside."""
    return extracted(text).split()


def _is_text(word: Word) -> bool:
    return word.confidence >= (_SURE if any(map(str.isalnum, word.text)) else _SURE_MARK)
