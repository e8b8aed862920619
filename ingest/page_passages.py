"""Pages of PDF and image files to passages: by their text layer, by what OCR reads, or by their looks.

Where words stand on each page, thumbnails, and what OCR read go into the index's page store as soon as they are known:
a run that is interrupted finds them there.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders.base import Progress
from ..encoders.errors import InvalidInputError
from ..encoders.pages import PageImage, Pixels
from ..index.storage.pages import Origin, PageStore, StoredPage
from .extractor import Extractor
from .ledger import Ledger
from .ocr import OCR_DPI, OcrEngine, Recognized
from .options import IngestOptions, Kind, Passage
from .page_reading import Patience, read_pages
from .page_titles import file_title, page_title
from .pages import ExtractedPage
from .raster import picture_size, rendered_scale

OCR_PIXELS = 3500
"""Longest side of an image that is read."""
OCR_SHEET = 5000
"""The same of a page of a PDF: larger sheets than A2 are read at a lower resolution."""
_LISTED_PAGES = 5
"""Pages that are named with the reason why they cannot be read."""
NO_ENGINE = "to read it, pip install 'latefold[ocr]', or install the program tesseract"


@dataclass
class OcrCount:
    """Pages read by OCR so far in a run, those known to need it, and the seconds that one takes, where it was tried."""

    done: int = 0
    total: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class PageReader:
    """Reads files that have pages. engine: for pages without a text layer.

    dry: run no OCR, and write to no store. sample: read the first page of a file that needs it, and take the others to
    be like it, to tell what reading them all will take.
    """

    options: IngestOptions
    extractor: Extractor
    ledger: Ledger
    engine: OcrEngine | None
    workers: int
    store: PageStore | None = None
    dry: bool = False
    sample: bool = False
    progress: Progress | None = None
    count: OcrCount = field(default_factory=OcrCount)

    def passages(self, path: Path, kind: Kind, source: str, file: str) -> Iterator[Passage]:
        """A passage a page that there is something on.

        file: the hash of its bytes. Raises `InvalidInputError` when the file cannot be read.
        """
        thumbnails = self.options.thumbnails and self._writes
        extracted = self.extractor.read(path, kind.value, thumbnails=thumbnails)
        if extracted.unreadable:
            self.ledger.fail(
                source, f"{len(extracted.unreadable)} pages cannot be read: {_listed(extracted.unreadable)}"
            )
        if self.store is not None and self._writes:
            self.store.remember(file, path, kind.value)
        title = file_title(extracted.title, source)
        found = 0
        for page, recognized in self._read(path, kind, source, file, extracted.pages):
            passage = self._passage(path, kind, source, file, page, recognized, title)
            if passage.image is not None or passage.text.strip():
                found += 1
                yield passage
        if not found and not extracted.unreadable:
            self.ledger.skip(source, self._nothing(kind, extracted.pages))

    def _passage(
        self,
        path: Path,
        kind: Kind,
        source: str,
        file: str,
        page: ExtractedPage,
        recognized: Recognized | None,
        title: str,
    ) -> Passage:
        text = page.text if recognized is None else recognized.text
        number = page.number or 1
        metadata: dict[str, Any] = {"file": file}
        title = page_title(title, text)
        if not self.options.page_images:
            return Passage(text, title, page=number, metadata=metadata)
        longest = self.options.image_pixels
        width, height = _image_size(page, kind, longest)
        metadata["page_image"] = [width, height]

        def draw() -> Pixels:
            try:
                return self.extractor.render(path, kind.value, number, longest=longest)
            except InvalidInputError as error:  # the file could be read, and others wait in the same batch
                self.ledger.fail(source, f"page {number} is indexed as an empty one, since it cannot be drawn: {error}")
                return np.full((height, width, 3), 255, np.uint8)

        return Passage(text, title, page=number, whole=True, metadata=metadata, image=PageImage(draw))

    def _nothing(self, kind: Kind, pages: Sequence[ExtractedPage]) -> str:
        if any(page.needs_ocr for page in pages):
            if self._reads:
                return "OCR finds no text on it"
            return ("an image" if kind is Kind.IMAGE else "no text layer (scanned?)") + self._why_not()
        return "no text on its pages"

    @property
    def _writes(self) -> bool:
        return self.store is not None and not self.dry

    @property
    def _reads(self) -> bool:
        """Whether OCR is run."""
        return self.engine is not None and not self.dry

    def _why_not(self) -> str:
        if self.options.ocr == "off":
            return ""
        return ": a dry run runs no OCR" if self.engine is not None else f": {NO_ENGINE}"

    def _read(
        self, path: Path, kind: Kind, source: str, file: str, pages: Sequence[ExtractedPage]
    ) -> Iterator[tuple[ExtractedPage, Recognized | None]]:
        """Each page in order, with what OCR read on it where it has no text of its own."""
        layered = {page.number or 1: page for page in pages if not page.needs_ocr}
        self._keep(file, {number: _stored(page) for number, page in layered.items()})
        wanted = [page for page in pages if page.needs_ocr]
        known = {page.number: found for page in wanted if (found := self._known(file, page.number or 1)) is not None}
        missing = [page for page in wanted if page.number not in known]
        reads_now = self._reads
        if missing and not reads_now and len(missing) < len(pages) and not self.options.page_images:
            numbers = [page.number or 1 for page in missing]
            self.ledger.skip(source, f"{len(missing)} pages have no text layer ({_listed(numbers)}){self._why_not()}")
        if not reads_now:
            self._keep(file, {page.number or 1: _stored(page) for page in missing})
        with closing(self._recognize(path, kind, source, file, missing if reads_now else [])) as fresh:
            for page in pages:
                if not page.needs_ocr:
                    yield page, None
                elif page.number in known:
                    yield page, known[page.number]
                else:
                    yield page, next(fresh, None)

    def _known(self, file: str, number: int) -> Recognized | None:
        page = None if self.store is None else self.store.get(file, number)
        if page is None or page.text is None:
            return None
        if self.engine is not None and page.engine and self.engine.name.split()[:1] != page.engine.split()[:1]:
            return None  # by another engine; another version of the same one is not worth the hours
        return Recognized(page.text, page.spans, page.boxes, 1.0)

    def _recognize(
        self, path: Path, kind: Kind, source: str, file: str, pages: Sequence[ExtractedPage]
    ) -> Generator[Recognized | None]:
        """What OCR reads on each page, in order."""
        if not pages:
            return
        self.count.total += len(pages)
        if self.sample:
            yield from self._like_the_first(path, kind, pages)
            return
        self._tell()
        read: dict[int, StoredPage] = {}
        failures: list[int] = []
        patience = Patience(self.options.extract_seconds, self.options.ocr_seconds)
        try:
            for reading in read_pages(
                pages, partial(self._drawn, path, kind), self._recognized, self.workers, patience
            ):
                self.count.done += 1
                self._tell()
                number = reading.page.number or 1
                if reading.reason and len(failures) < _LISTED_PAGES:
                    self.ledger.fail(source, f"page {number}: {reading.reason}")
                failures += [number] if reading.reason else []
                read[number] = _stored(reading.page, reading.found, self.engine)
                if not reading.repeated:
                    self._keep(file, read)
                yield reading.found
        finally:
            self._keep(file, read)
            if len(failures) > _LISTED_PAGES:
                self.ledger.fail(source, f"{len(failures) - _LISTED_PAGES} more pages cannot be read")

    def _like_the_first(self, path: Path, kind: Kind, pages: Sequence[ExtractedPage]) -> Iterator[Recognized | None]:
        started = time.perf_counter()
        try:
            found = self._recognized(self._drawn(path, kind, pages[0].number or 1))
        except InvalidInputError:
            found = None
        self.count.seconds = max(self.count.seconds, time.perf_counter() - started)
        yield from [found] * len(pages)

    def _drawn(self, path: Path, kind: Kind, number: int) -> Pixels:
        if kind is Kind.PDF:
            return self.extractor.render(path, kind.value, number, dpi=OCR_DPI, longest=OCR_SHEET)
        return self.extractor.render(path, kind.value, number, longest=OCR_PIXELS)

    def _recognized(self, image: Pixels) -> Recognized:
        assert self.engine is not None
        return self.engine.read(image)

    def _keep(self, file: str, pages: dict[int, StoredPage]) -> None:
        """Store pages, and forget them here."""
        if self.store is not None and self._writes and pages:
            self.store.put_all(file, pages)
        pages.clear()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress("ocr", self.count.done, self.count.total)


def _stored(page: ExtractedPage, found: Recognized | None = None, engine: OcrEngine | None = None) -> StoredPage:
    if found is not None and engine is not None:
        return StoredPage(
            *(page.width, page.height, "ocr", found.text, found.spans, found.boxes, page.thumbnail, engine.name)
        )
    origin: Origin = "text" if len(page.spans) else "none"
    return StoredPage(page.width, page.height, origin, None, page.spans, page.boxes, page.thumbnail)


def _image_size(page: ExtractedPage, kind: Kind, longest: int) -> tuple[int, int]:
    """Width and height of the pixels that `Extractor.render` gives for a page."""
    if kind is Kind.IMAGE:
        return picture_size(round(page.width), round(page.height), longest)
    scale = rendered_scale(page.width, page.height, longest, None)
    return int(np.ceil(page.width * scale)), int(np.ceil(page.height * scale))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:_LISTED_PAGES])) + (" ..." if len(numbers) > _LISTED_PAGES else "")
