"""Image files as pages: one, or the frames of a TIFF."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders.errors import InvalidInputError
from ..encoders.pages import Pixels
from .pages import MAX_PAGES, TOO_MANY, EndOfPages, ExtractedPage, UnreadablePage
from .raster import THUMBNAIL_SIDE, check_picture, picture_size, webp

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
_ORIENTATION = 0x0112
_SWAPPED = (5, 6, 7, 8)
"""Orientations that lie on their side."""
_WHITE = (255, 255, 255)


class ImagePages:
    """An open PNG, JPEG, TIFF or WebP file. Raises `InvalidInputError` when it is none, or its size is out of bounds.

    Animations are their first frame. Sizes are checked before anything is decoded, of every frame.
    """

    title = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._image = _open(path)
        self._at = 0
        self._end = sys.maxsize

    def page(self, number: int, *, thumbnail: bool) -> ExtractedPage:
        """See `OpenFile`. The frame is decoded in any case, for only that tells whether it is whole."""
        image = self._frame(number)
        try:
            check_picture(*image.size)
            width, height = image.size
            turned = _orientation(image)
            image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))  # a JPEG is decoded at a part of its size
            image.load()
            if image.format == "TIFF":
                width, height = image.size  # Pillow turns these itself
            elif turned in _SWAPPED:
                width, height = height, width
            small = webp(_upright(image, THUMBNAIL_SIDE, turned)) if thumbnail else b""
        except InvalidInputError as error:
            raise self._broken(number, str(error)) from None
        except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile files
            raise self._broken(number, f"the image is damaged: {error!s:.200}") from None
        return ExtractedPage(number, "", float(width), float(height), thumbnail=small, needs_ocr=True)

    def render(self, number: int, longest: int | None, dpi: float | None) -> Pixels:  # noqa: ARG002 - has none
        """See `OpenFile`. An image is given at its own resolution, whatever the dpi."""
        image = self._frame(number)
        check_picture(*image.size)
        turned = _orientation(image)
        image.load()
        return _upright(image, longest, turned)

    def close(self) -> None:
        """See `OpenFile`."""
        self._image.close()

    def _frame(self, number: int) -> Any:
        """The image of a page, not decoded yet. Frames are chained, so that going on is cheap and going back is not."""
        if number > self._end or (number > 1 and self._image.format != "TIFF"):
            raise EndOfPages
        if number <= self._at:
            self.close()
            self._image, self._at = _open(self._path), 0
        try:
            while self._image.tell() < number - 1:
                self._image.seek(self._image.tell() + 1)
        except EOFError:
            raise EndOfPages from None
        except Exception:  # noqa: BLE001 - the chain of frames is broken here, and nobody knows how it would go on
            self._end = number
            raise UnreadablePage from None
        if number > MAX_PAGES:
            raise InvalidInputError(TOO_MANY)
        self._at = number
        return self._image

    def _broken(self, number: int, reason: str) -> Exception:
        """What a page that cannot be read means: for a file of several, that the others may be read."""
        if number > 1 or (self._image.format == "TIFF" and getattr(self._image, "n_frames", 1) > 1):
            return UnreadablePage(reason)
        return InvalidInputError(reason)


def _open(path: Path) -> Any:
    """An image, of which only the size and the format are known. Raises `InvalidInputError`."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # `check_picture` bounds every frame, and says by how much it is too large
    warnings.simplefilter("ignore")  # Pillow's, on standard error, where nobody reads them
    with path.open("rb") as stream:
        size = _webp_size(stream.read(30))
    if size is not None:
        check_picture(*size)
    try:
        image = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError:
        raise InvalidInputError("not a readable PNG, JPEG, TIFF or WebP image: damaged, or another kind") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInputError(f"the image is damaged: {error!s:.200}") from None
    if image.format != "TIFF":
        check_picture(*image.size)
    return image


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """The size that the beginning of a WebP file declares: Pillow makes room for it as soon as it opens the file."""
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _orientation(image: Any) -> int:
    """From 1 to 8, by Exif; 1 is upright, and what nonsense counts as."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        turned = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - Exif is parsed by hand, and raises anything
        return 1
    return turned if 1 <= turned <= 8 else 1


def _upright(image: Any, longest: int | None, turned: int) -> Pixels:
    """A decoded image, scaled down and turned, on white, as RGB."""
    from PIL import Image

    width, height = image.size
    size = picture_size(width, height, longest)

    image = _eight_bits(image)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        paper = Image.new("RGB", image.size, _WHITE)
        paper.paste(image, mask=image.getchannel("A"))
        image = paper
    image = image.convert("RGB")
    turns = Image.Transpose
    how = {
        2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
        6: turns.ROTATE_270, 7: turns.TRANSVERSE, 8: turns.ROTATE_90,
    }.get(turned)  # fmt: skip
    return np.array(image if how is None else image.transpose(how), order="C")


def _eight_bits(image: Any) -> Any:
    """The image in a mode that can be scaled: no palette, no single bits, no values beyond 255."""
    from PIL import Image

    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.nan_to_num(np.asarray(image, np.float32))
        low, high = (0.0, 65535.0) if image.mode != "F" else (float(values.min()), float(values.max()))
        if image.mode == "I" and values.max(initial=0) <= 255:
            high = 255.0
        scaled = np.clip((values - low) * (255 / max(high - low, 1e-12)), 0, 255)
        return Image.fromarray(scaled.astype(np.uint8))
    return image
