"""Page images and their patch vectors: what an encoder that reads pixels takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .base import Encoder, Progress
from .embeddings import FloatArray, TokenEmbeddings
from .errors import InvalidEmbeddingsError

Boxes = npt.NDArray[np.float32]
"""`(n, 4)`: left, top, right and bottom, as fractions of the page's width and height from its top left corner."""
Pixels = npt.NDArray[np.uint8]
"""`(height, width, 3)` RGB, C-contiguous."""


@dataclass(frozen=True, eq=False)
class PageImage:
    """The pixels of a page, made when they are needed. `load` may raise `InvalidInputError`."""

    load: Callable[[], Pixels]


@dataclass(frozen=True, eq=False)
class PageEmbeddings:
    """Patch vectors of pages, one item a page, with the part of its page that each vector saw.

    boxes: `(total, 4)`; all zero for a vector that stands for no part (special tokens). saliency: `(total,)` float32,
    the attention that each vector received; None where it was not asked for.

    Raises `InvalidEmbeddingsError` when the three do not fit together.
    """

    embeddings: TokenEmbeddings
    boxes: Boxes
    saliency: FloatArray | None = None

    def __post_init__(self) -> None:
        total = len(self.embeddings.vectors)
        if self.boxes.shape != (total, 4):
            raise InvalidEmbeddingsError(f"{total} patch vectors came with boxes of shape {self.boxes.shape}")
        if self.saliency is not None and self.saliency.shape != (total,):
            raise InvalidEmbeddingsError(f"{total} patch vectors came with saliency of shape {self.saliency.shape}")


@runtime_checkable
class PageEncoder(Encoder, Protocol):
    """An encoder that reads page images beside texts, into vectors that can be compared with each other."""

    def encode_images(
        self, images: Sequence[Pixels], progress: Progress | None = None, *, saliency: bool = False
    ) -> PageEmbeddings:
        """Patch vectors of page images, one item an image, in order."""
        ...

    def image_boxes(self, sizes: Sequence[tuple[int, int]]) -> list[Boxes]:
        """For images of `(width, height)` pixels, the boxes of the vectors that `encode_images` gives for them."""
        ...
