"""Pixels of pages: how many there may be, and the small pictures that are kept of them."""

from __future__ import annotations

import io
import math

import numpy as np

from ..encoders.errors import InvalidInputError
from ..encoders.pages import Pixels

MAX_RENDERED = 40_000_000
"""Pixels of a page that is handed out."""
MAX_PICTURE = 50_000_000
"""Pixels that an image file may have: more would not fit the memory that the reader is given."""
THUMBNAIL_SIDE = 320
_THUMBNAIL_QUALITY = 50
_MIN_SIDE = 8
_ROUNDED_UP = 1 - 1e-6
"""A little smaller, so that rounding up adds no pixel to a side that is meant to be whole."""
_MAX_ASPECT = 200
"""Longer side by shorter side; no page encoder takes more."""


def check_picture(width: int, height: int) -> None:
    """Refuse an image by the size that it declares, before it is decoded. Raises `InvalidInputError`."""
    if width * height > MAX_PICTURE:
        raise InvalidInputError(
            f"the image has {width} x {height} pixels, more than {MAX_PICTURE // 1_000_000} million: make it smaller"
        )
    if min(width, height) < _MIN_SIDE or is_thin(width, height):
        raise InvalidInputError(f"the image has {width} x {height} pixels: too small or too thin to hold text")


def is_thin(width: float, height: float) -> bool:
    """Whether a page is a line, or not a page at all: a side of zero, or not a number."""
    short, long = sorted((width, height))
    return not (short > 0 and long < math.inf and long <= _MAX_ASPECT * short)


def rendered_scale(width: float, height: float, longest: int | None, dpi: float | None) -> float:
    """Pixels a point, for a page of so many points; the page is then as many pixels, rounded up.

    Raises `InvalidInputError` for a page that is too thin, and where the resolution that was asked for makes too many
    pixels; a longest side gives way to the limit instead.
    """
    if is_thin(width, height):
        raise InvalidInputError(f"the page has {width:g} x {height:g} points: too thin to be shown")
    scale = (150.0 if dpi is None else dpi) / 72
    if longest is not None:
        fitting = longest / max(width, height)
        scale = fitting if dpi is None else min(scale, fitting)
        scale = min(scale, math.sqrt(MAX_RENDERED / (width * height)))
    if width * height * scale * scale > MAX_RENDERED * 1.001:
        raise InvalidInputError(
            f"the page has {width:g} x {height:g} points, at {scale * 72:g} dpi more than"
            f" {MAX_RENDERED // 1_000_000} million pixels: render it with a longest side"
        )
    return scale * _ROUNDED_UP


def picture_size(width: int, height: int, longest: int | None) -> tuple[int, int]:
    """The size at which an image of this size is handed out: its own, or smaller."""
    scale = min(1.0, math.sqrt(MAX_RENDERED / (width * height)))
    if longest is not None:
        scale = min(scale, longest / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def webp(pixels: Pixels) -> bytes:
    """A thumbnail's file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "WEBP", quality=_THUMBNAIL_QUALITY, method=2)
    return out.getvalue()
