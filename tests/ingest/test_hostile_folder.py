"""A folder of files that want to hurt, indexed as a whole: each ends as documents or as a reason, in bounded time."""

from __future__ import annotations

import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_pages import write_hostile
from stencil import Stencil, picture

from latefold import Index, TokenEmbeddings
from latefold.encoders.base import Fingerprint, Progress
from latefold.encoders.pages import PageEmbeddings, Pixels
from latefold.ingest import sources
from latefold.ingest.folder import IngestReport, ingest
from latefold.ingest.options import IngestOptions
from latefold.ingest.walk import scan

SECONDS = 30.0
MEMORY = 1536 << 20
QUICK = (
    "box-00.pdf", "box-12.pdf", "rotate-2-34.pdf", "user-unit.pdf", "crop-outside.pdf", "forms-1-5000.pdf",
    "tree-00.pdf", "tree-01.pdf", "tree-06.pdf", "tree-10.pdf", "tree-12.pdf", "tree-deep.pdf", "image-JPXDecode.pdf",
    "image-huge-DCTDecode.pdf", "image-bomb.pdf", "image-negative.pdf", "zero.pdf", "header-only.pdf", "text.pdf",
    "encrypted-4-4.pdf", "cut-0300.pdf", "xref-looped.pdf", "length-lies.pdf", "flipped-03.pdf", "flipped-05.pdf",
    "bomb-restores.pdf", "bomb-double-flate.pdf", "zero.png", "text.jpg", "cut-0.6.png", "cut-0.95.jpg",
    "flipped-1.webp", "flipped-3.tiff", "size-1x12000.png", "zip.png", "jpeg-inside.png", "pdf-inside.png",
    "exif-2.jpg", "exif-turn-9.jpg", "bomb-40000x40000.png", "bomb-13000.webp", "bomb-text.png", "loop-back.tiff",
    "bomb-second.tiff", "compression-50000.tiff", "colour-99.png",
)  # fmt: skip
HEALTHY = ("healthy.txt", "healthy.pdf", "healthy.png")


class Mean:
    """An encoder of page images that gives a page's mean colours, by quarters."""

    name, dim, fingerprint = "mean", 4, Fingerprint("mean", "1", 4)

    def encode_documents(self, texts: Sequence[str], _progress: Progress | None = None) -> TokenEmbeddings:
        return TokenEmbeddings(np.full((len(texts), 4), 0.5, np.float32), np.arange(len(texts) + 1))

    def encode_queries(self, queries: Sequence[str], _progress: Progress | None = None) -> TokenEmbeddings:
        return self.encode_documents(queries)

    def document_spans(self, texts: Sequence[str]) -> list[Any]:
        return [np.zeros((1, 2), np.int32) for _ in texts]

    query_spans = document_spans

    def encode_images(
        self, images: Sequence[Pixels], _progress: Progress | None = None, *, saliency: bool = False
    ) -> PageEmbeddings:
        means = np.array([[*image.mean(axis=(0, 1)), 255.0] for image in images], np.float32) / 255
        vectors = TokenEmbeddings(means, np.arange(len(images) + 1))
        weights = np.ones(len(images), np.float32) if saliency else None
        return PageEmbeddings(vectors, self.image_boxes([(1, 1)] * len(images))[0].repeat(len(images), 0), weights)

    def image_boxes(self, sizes: Sequence[tuple[int, int]]) -> list[Any]:
        return [np.array([[0, 0, 1, 1]], np.float32) for _ in sizes]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_hostile(folder)
    return folder


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Stencil:
    stencil = Stencil()
    monkeypatch.setattr(sources, "find_engine", lambda name, **_: None if name == "off" else stencil)
    return stencil


@pytest.fixture
def healthy(tmp_path: Path, pdf: Any) -> Callable[[Path], Path]:
    """Adds three files to a folder that there is nothing wrong with, one at its beginning."""

    def add(folder: Path) -> Path:
        (folder / "healthy.txt").write_text("Bread is baked in a hot oven.")
        pdf.text(folder / "healthy.pdf", [["Penguins dive for fish."], ["Owls hunt at night."]])
        picture(3).save(folder / "healthy.png")
        return folder

    return add


def run(index: Index, folder: Path, options: IngestOptions) -> tuple[IngestReport, dict[str, float]]:
    """Index a folder; and the seconds that each file took."""
    begun: list[float] = []

    def progress(phase: str, _done: int, _total: int | None) -> None:
        if phase == "files":
            begun.append(time.monotonic())

    report = ingest(index, [folder], options, progress=progress)
    names = [file.relative for file in scan([folder], options).files]
    return report, dict(zip(names, np.diff(begun).tolist(), strict=True))  # each with a commit that was due


def check(index: Index, folder: Path, options: IngestOptions | None = None) -> dict[str, str]:
    """Index a folder with what is healthy in it; how each file ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    report, seconds = run(index, folder, options or IngestOptions())
    assert max(seconds.values()) < SECONDS, max(seconds, key=seconds.__getitem__)
    if before < MEMORY:  # what earlier tests have started counts too
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10 < MEMORY

    names = {path.name for path in folder.iterdir()}
    indexed = {str(index.get(name).metadata["source"]) for name in index.ids()}
    failed = {note.source: note.reason for note in report.failed}
    skipped = {note.source: note.reason for note in report.skipped}
    assert names == indexed | failed.keys() | skipped.keys()
    assert not indexed & skipped.keys()
    assert not failed.keys() & skipped.keys()
    # A file that is in the list of sources was read to its end; one that is not has a reason, and is read next time.
    assert indexed - failed.keys() <= index.sources().keys()
    assert names - index.sources().keys() <= failed.keys() | skipped.keys()
    assert all(reason and len(reason) < 400 for reason in [*failed.values(), *skipped.values()])
    twins = [reason.rpartition(" ")[2] for reason in skipped.values() if reason.startswith("the same content as")]
    assert names.issuperset(twins)
    assert Counter(note.source for note in report.failed).most_common(1)[0][1] <= 6

    assert indexed.issuperset(HEALTHY)
    assert index.get("healthy.pdf#1").metadata["page"] == 2
    index.verify()
    assert index.pages.check() > 0
    return {name: failed.get(name, skipped.get(name, "indexed")) for name in names}


def some(hostile: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in QUICK:
        shutil.copy(hostile / name, folder)
    shutil.copy(hostile / "cut-0300.pdf", folder / "cut-twin.pdf")
    shutil.copy(hostile / "loop-back.tiff", folder / "twin.tiff")
    return folder


def test_what_is_healthy_is_found_among_what_is_not(
    hostile: Path, tmp_path: Path, engine: Stencil, healthy: Callable[[Path], Path]
) -> None:
    folder = healthy(some(hostile, tmp_path / "docs"))
    with Index.create(tmp_path / "index") as index:
        endings = check(index, folder)
        assert index.get("healthy.png#0").text == "penguin penguin penguin"
        assert index.search("who hunts?", k=1)[0].id == "healthy.pdf#1"
        again = ingest(index, [folder])
        assert (again.unchanged_files, again.added) == (len(index.sources()), 0)
    assert engine.reads > 10
    assert endings["twin.tiff"] == "the same content as loop-back.tiff"
    assert endings["encrypted-4-4.pdf"] == "the PDF is encrypted: save it without a password"
    assert endings["bomb-second.tiff"] == "1 pages cannot be read: 2"


def test_what_is_hostile_is_looked_at_too(
    hostile: Path, tmp_path: Path, engine: Stencil, healthy: Callable[[Path], Path]
) -> None:
    folder = healthy(some(hostile, tmp_path / "docs"))
    with Index.create(tmp_path / "index", encoder=Mean()) as index:
        assert index.reads_images
        endings = check(index, folder, IngestOptions(thumbnails=False, image_pixels=200))
        assert index.get("healthy.png#0").metadata["page_image"] == [150, 200]
    assert engine.reads == 0
    assert endings["exif-2.jpg"] == "indexed"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_hostile_file_ends(
    hostile: Path, tmp_path: Path, engine: Stencil, healthy: Callable[[Path], Path]
) -> None:
    folder = healthy(Path(shutil.copytree(hostile, tmp_path / "docs")))
    with Index.create(tmp_path / "index") as index:
        endings = check(index, folder)
    assert len(endings) > 200
    assert endings["frames-10000.tiff"] == "OCR finds no text on it"
    assert engine.reads < 200


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("engine")
def test_every_hostile_file_can_be_looked_at(hostile: Path, tmp_path: Path, healthy: Callable[[Path], Path]) -> None:
    folder = healthy(Path(shutil.copytree(hostile, tmp_path / "docs")))
    (folder / "frames-10000.tiff").unlink()  # it gets what it asks for: ten thousand pages to encode
    with Index.create(tmp_path / "index", encoder=Mean()) as index:
        check(index, folder, IngestOptions(image_pixels=200))
