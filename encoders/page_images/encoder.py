"""The encoder of page images: batches, boxes and saliency, around a `Retriever`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..base import Fingerprint, Progress, Spans
from ..batches import length_batches, require_list
from ..checkpoint import find_checkpoint, weights_hash
from ..embeddings import FloatArray, TokenEmbeddings
from ..errors import EncoderError, InvalidInputError
from ..pages import Boxes, PageEmbeddings, Pixels
from ..sentence import CHARACTERS_PER_TOKEN, TOKENS_PER_BATCH, marker_pattern
from .geometry import require_size
from .loading import load_retriever, vet_pages

if TYPE_CHECKING:
    from .rendering import Rendered
    from .retriever import Retriever

VECTORS_PER_BATCH = 2048
"""Image tokens that one forward pass takes, padding included; a page of more is a batch of its own."""


class PageImagesEncoder:
    """A ColPali-family checkpoint: queries, passages and page images as vectors that can be compared.

    Weights come from safetensors files only, as float32; a GPU is used where there is one. Text that spells a special
    token is encoded as text. With `threads`, torch is limited to that many CPU threads in the whole process. Forward
    passes of several threads run one after the other.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int | None = None,
        offline: bool = False,
        trust_remote_code: bool = False,
        attention_of: Literal["last", "all"] = "last",
    ) -> None:
        """Find, vet and load the checkpoint `name`, a folder or a hub name.

        attention_of: whose attention makes saliency: the last token's of a page, or the mean of all its tokens'.

        Raises `EncoderError` when it is missing, unfit or refused, `MissingExtraError` without the extra `models`.
        """
        if threads is not None and threads < 1:
            raise InvalidInputError(f"threads is {threads}; expected at least 1, or None for all cores")
        self._folder = find_checkpoint(name, offline=offline, trust_remote_code=trust_remote_code)
        self._name = str(self._folder.resolve()) if Path(name).expanduser().is_dir() else name
        vet_pages(self._folder, trust_remote_code=trust_remote_code)
        self._model: Retriever = load_retriever(
            name, self._folder, threads=threads, offline=offline, trust_remote_code=trust_remote_code
        )
        self._markers = marker_pattern(self._model.tokenizer)
        self._attention_of = attention_of
        self._layouts: dict[tuple[int, int], npt.NDArray[np.bool_]] = {}
        self._rendering, self._computing = threading.Lock(), threading.Lock()

    @property
    def name(self) -> str:
        """The hub name given at construction, or the absolute path."""
        return self._name

    @property
    def dim(self) -> int:
        """Number of dimensions of each vector."""
        return self._model.dim

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the vectors: weights, tokenizer and processor files, and the prompts."""
        return Fingerprint(self._name, weights_hash(self._folder), self.dim, prompts=self._model.rendering.prompts)

    def encode_queries(self, texts: Sequence[str]) -> TokenEmbeddings:
        """Token vectors of queries, `(total, dim)` float32, the model's prefix and augmentation tokens included."""
        return self._encode_texts(texts, "query", None)

    def encode_documents(self, texts: Sequence[str], progress: Progress | None = None) -> TokenEmbeddings:
        """Token vectors of texts as passages, `(total, dim)` float32, in order; none for a text without tokens."""
        return self._encode_texts(texts, "document", progress)

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Characters of each query vector, `(vectors, 2)` int32 per text; `(0, 0)` for prompts and markers."""
        require_list(texts)
        return [self._spans(text, "query") for text in texts]

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Characters of each passage vector, `(vectors, 2)` int32 per text; `(0, 0)` for prompts and markers."""
        require_list(texts)
        return [self._spans(text, "document") for text in texts]

    def encode_images(
        self, images: Sequence[Pixels], progress: Progress | None = None, *, saliency: bool = False
    ) -> PageEmbeddings:
        """Vectors of pages of any size, in order, with the box that each saw; zero boxes for the words of the prompt.

        Each image is taken from `images` once, a batch at a time. saliency: the attention that each vector received in
        the last layer of the language model, mean over heads: at most 1 in all for a page. It costs memory for one
        `length * length` matrix a head.

        Raises `InvalidInputError` naming an image that is no `(height, width, 3)` array of uint8.
        """
        vectors: list[FloatArray] = []
        boxes: list[Boxes] = []
        weights: list[FloatArray] = []
        for batch in self._page_batches(images):
            for made, box, weight in self._encode_pages(batch, saliency):
                vectors.append(made)
                boxes.append(box)
                weights.append(weight)
            if progress is not None:
                progress("encode", len(vectors), len(images))
        return PageEmbeddings(
            TokenEmbeddings.from_list(vectors, dim=self.dim),
            np.concatenate([np.empty((0, 4), np.float32), *boxes]),
            np.concatenate([np.empty(0, np.float32), *weights]) if saliency else None,
        )

    def image_boxes(self, sizes: Sequence[tuple[int, int]]) -> list[Boxes]:
        """For images of `(width, height)` pixels, the boxes of the vectors that `encode_images` gives for them.

        The order of the tokens is read off a blank page, once for each division of pages that occurs.
        """
        return [self._boxes_of(width, height, i) for i, (width, height) in enumerate(sizes)]

    def _encode_texts(self, texts: Sequence[str], task: str, progress: Progress | None) -> TokenEmbeddings:
        require_list(texts)
        items: list[FloatArray] = [np.empty((0, self.dim), np.float32)] * len(texts)
        estimates = np.array([len(text) // CHARACTERS_PER_TOKEN + 16 for text in texts], np.int64)
        done = 0
        for batch in length_batches(estimates, TOKENS_PER_BATCH):
            asked = [i for i in batch if task == "query" or texts[i]]
            rendered = self._render([texts[i] for i in asked], task) if asked else None
            if rendered is not None and rendered.features["input_ids"].shape[1]:
                made, scored, _ = self._forward(rendered, task, saliency=False)
                for i, row, kept in zip(asked, made, scored, strict=True):
                    items[i] = row[kept]
            done += len(batch)
            if progress is not None:
                progress("encode", done, len(texts))
        return TokenEmbeddings.from_list(items, dim=self.dim)

    def _render(self, texts: Sequence[str], task: str) -> Rendered:
        plain = [self._markers.sub(lambda match: " " + match[0][1:], text) for text in texts]
        rendering = self._model.rendering
        with self._rendering:  # a tokenizer is no thing for two threads
            return rendering.queries(plain) if task == "query" else rendering.passages(plain)

    def _render_pages(self, images: Sequence[Any]) -> Rendered:
        fitted = []
        for image in images:
            size = self._model.grid.fit(*image.size)
            fitted.append(image if size == image.size else image.resize(size))
        with self._rendering:
            return self._model.rendering.pages(fitted)

    def _spans(self, text: str, task: str) -> Spans:
        if not text and task != "query":
            return np.zeros((0, 2), np.int32)
        rendered = self._render([text], task)
        scored = self._model.scored(rendered.features, task)[0].cpu().numpy()
        spans = np.zeros((len(scored), 2), np.int32)
        if rendered.offsets is not None:
            known = np.asarray(rendered.offsets[0], np.int32) - rendered.starts[0]
            inside = (known[:, 0] >= 0) & (known[:, 1] <= len(text))
            spans = np.where(inside[:, None], known, 0).astype(np.int32)
        kept: Spans = spans[scored]
        return kept

    def _page_batches(self, images: Sequence[Pixels]) -> Iterator[list[Any]]:
        """Pillow images in the order given, so many at a time that a batch stays within `VECTORS_PER_BATCH`."""
        batch: list[Any] = []
        longest = 0
        for i in range(len(images)):
            image = _as_image(images[i], i)
            count = len(self._model.grid.boxes(*image.size))
            longest = max(longest, count)
            if batch and longest * (len(batch) + 1) > VECTORS_PER_BATCH:
                yield batch
                batch, longest = [], count
            batch.append(image)
        if batch:
            yield batch

    def _encode_pages(self, batch: list[Any], saliency: bool) -> Iterator[tuple[FloatArray, Boxes, FloatArray]]:
        rendered = self._render_pages(batch)
        places = (rendered.features["input_ids"] == self._model.image_token).cpu().numpy()
        made, scored, weights = self._forward(rendered, "document", saliency=saliency)
        for image, row, kept, place, weight in zip(batch, made, scored, places, weights, strict=True):
            yield row[kept], self._place(image.size, place)[kept], weight[kept]

    def _place(self, size: tuple[int, int], place: npt.NDArray[np.bool_]) -> Boxes:
        """`(length, 4)` boxes of a sequence; place: `(length,)` which of its tokens stand for a part of the page."""
        seen = self._model.grid.boxes(*size)
        if int(place.sum()) != len(seen):
            raise EncoderError(
                f"{self._name} made {int(place.sum())} tokens of a page of {size[0]} by {size[1]} pixels where"
                f" {len(seen)} were expected; its image processor is of a kind that latefold does not know"
            )
        boxes = np.zeros((len(place), 4), np.float32)
        boxes[place] = seen
        return boxes

    def _boxes_of(self, width: int, height: int, item: int) -> Boxes:
        require_size(width, height, item)
        shape = self._model.grid.shape(width, height)
        if shape not in self._layouts:
            from PIL import Image

            rendered = self._render_pages([Image.new("RGB", (width, height))])
            scored = self._model.scored(rendered.features, "document")[0]
            place = rendered.features["input_ids"][0] == self._model.image_token
            self._layouts[shape] = place[scored].cpu().numpy()
        return self._place((width, height), self._layouts[shape])

    def _forward(
        self, rendered: Rendered, task: str, *, saliency: bool
    ) -> tuple[FloatArray, npt.NDArray[np.bool_], FloatArray]:
        """Vectors `(batch, length, dim)`, which of them count `(batch, length)`, and their saliency or zeros."""
        import torch

        from .retriever import attention_weights

        device = next(self._model.network.parameters()).device
        features = {
            key: value.to(device) if isinstance(value, torch.Tensor) else value
            for key, value in rendered.features.items()
        }
        attended = features["attention_mask"].bool()
        with self._computing, torch.inference_mode():
            scored = self._model.scored(features, task)
            received = torch.zeros(scored.shape)
            if not saliency:
                made = self._model.embed(features, task)
            else:
                with attention_weights(self._model.network) as seen:
                    made = self._model.embed(features, task)
                received = self._received(seen[-1], attended)
        return made.float().cpu().numpy(), scored.cpu().numpy(), received.float().cpu().numpy()

    def _received(self, attention: Any, attended: Any) -> Any:
        """`(batch, length)`: the attention each token received; attention: `(batch, heads, from, to)`."""
        import torch

        mean = attention.float().mean(dim=1)
        if self._attention_of == "all":
            asking = attended / attended.sum(dim=1, keepdim=True)
        else:
            places = torch.arange(attended.shape[1], device=attended.device)
            last = (attended * places).argmax(dim=1)
            asking = (places == last[:, None]).float()
        return torch.einsum("bf,bft->bt", asking.float(), mean) * attended


def _as_image(pixels: Pixels, item: int) -> Any:
    """A Pillow image of an array; no array that Pillow or a processor could take for something else gets through."""
    from PIL import Image

    array = np.asarray(pixels)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise InvalidInputError(
            f"image {item} has shape {array.shape} and dtype {array.dtype}; expected (height, width, 3) of uint8"
        )
    require_size(array.shape[1], array.shape[0], item)
    return Image.fromarray(np.ascontiguousarray(array))
