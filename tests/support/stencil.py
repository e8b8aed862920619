"""An OCR engine for tests that reads dark bars, and pages for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from latefold.encoders.errors import InvalidInputError
from latefold.encoders.pages import Pixels
from latefold.ingest.ocr import Recognized


class Stencil:
    """Reads how many dark bars a page has, one word each; it counts its pages."""

    name = "stencil 1"

    def __init__(self) -> None:
        self.reads = 0
        self.fails = False

    def read(self, image: Pixels) -> Recognized:
        """A word a bar; raises `InvalidInputError` when `fails`."""
        self.reads += 1
        if self.fails:
            raise InvalidInputError("OCR took longer than 1 seconds")
        dark = image.mean(axis=(1, 2)) < 200
        bars = int(np.count_nonzero(dark[1:] & ~dark[:-1]))
        text = " ".join(["penguin"] * bars)
        spans = np.array([(8 * n, 8 * n + 7) for n in range(bars)], np.int32).reshape(-1, 2)
        boxes = np.tile(np.array([[0.1, 0.2, 0.9, 0.3]], np.float32), (bars, 1))
        return Recognized(text, spans, boxes, 1.0)

    def close(self) -> None:
        """Nothing runs."""


def picture(bars: int) -> Image.Image:
    """A page with so many bars."""
    image = Image.new("RGB", (300, 400), "white")
    draw = ImageDraw.Draw(image)
    for bar in range(bars):
        draw.rectangle((0, 30 * bar + 10, 299, 30 * bar + 25), fill="black")
    return image


def scan(path: Path, *bars: int) -> Path:
    """A file of pages without a text layer, each with so many bars."""
    first, *rest = [picture(count) for count in bars]
    first.save(path, save_all=True, append_images=rest)
    return path
