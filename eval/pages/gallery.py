"""`python -m latefold.eval.pages.gallery --data DATA`: pages that answer questions, with their heat; written as a page.

The questions were written by looking at the pages, before any search, and none was exchanged afterwards. The PDFs are
those of the known-item collection, whose indexes are made in the cache on the first run: minutes, and a second a page
and processor for scans. The same versions of everything on the same machine write the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from ... import __version__
from ...encoders.errors import InvalidInputError, StorageError
from ...encoders.pages import Boxes, Pixels
from ...ingest.extractor import Extractor
from ...ingest.folder import ingest
from ...ingest.ocr import available_engines
from ...ingest.options import IngestOptions
from ...retrieval.heat import best_regions
from ...retrieval.heatmap import draw_heatmap
from ...retrieval.index import Index
from ...retrieval.types import Box, Explanation, Hit
from .. import command
from ..corpora import Place
from ..markdown import page as joined
from ..markdown import table
from .collection import KNOWN, SCANS, PageCollection, open_pages

PROGRAM: Final = "python -m latefold.eval.pages.gallery"
NAME: Final = "pages-gallery"
WIDTH: Final = 700
"""Pixels of a picture, across."""
MAX_BYTES: Final = 80_000
"""Of a picture, if that is possible."""
_QUALITIES: Final = (80, 70, 60, 50, 40, 30)
_TOP: Final = 10

_INTRODUCTION: Final = (
    "What a search shows of the page it found. Each question was put to an index of all {pages} pages of the "
    "known-item collection ([pages.md](pages.md)), in the usual mode, a hit a page. Colour is heat: how much of the "
    "question the words there answer, by the stored vectors of their tokens (`retrieval/heat.py`); lines enclose the "
    "hottest parts, at most three. Nothing in the index or the encoder is made for these questions. They were written "
    "by looking at the pages, before any search, and none was exchanged afterwards. Where the answer stands was marked "
    "by hand; whether the heat is there is computed: the answer counts as outlined if most of an outline is in it, or "
    "most of it in an outline. Six pages say how it looks, not how good it is: for that see the tables of pages.md."
)
_RIGHTS: Final = (
    "The pictures show pages of these documents, changed in nothing but size and by the colours and lines on them. "
    "They are under the licences of the documents, and not that of latefold. The PDFs are in packages of Debian 12, "
    "whose `/usr/share/doc/PACKAGE/copyright` names the authors and has the licences in full."
)


@dataclass(frozen=True)
class Example:
    """A question about a page.

    kind: of the place that answers. file: name of the PDF without its ending; page: from 1. answer: where on the page
    the answer stands, marked by hand. look: what is to be seen there. scanned: whether the page is a picture.
    """

    kind: str
    question: str
    file: str
    page: int
    answer: Box
    look: str
    scanned: bool = False


EXAMPLES: Final = (
    Example(
        "Running text, scanned", "How close do two runs have to be before I can stop?", "mrbayes", 32,
        (0.17, 0.737, 0.87, 0.79),
        "The answer is a sentence near the end of the last paragraph: below 0.01 is very good. The page is a picture, "
        "read by OCR.",
        scanned=True,
    ),
    Example(
        "A table", "What does minus ten divided by three give if the result is rounded down?", "yosys", 43,
        (0.28, 0.495, 0.8, 0.615),
        "The answer is -4, in the first line of the second table, under *Flooring*.",
    ),
    Example(
        "A figure with a caption", "Along which path are the blocks inside a super block visited?", "theora", 25,
        (0.22, 0.15, 0.69, 0.49),
        "The answer is the drawing, and its caption names the curve. The arrows are no text, so that they have no "
        "vectors and cannot be warm.",
    ),
    Example(
        "A slide", "Where do I put commands that add a system user when a package is installed?",
        "packaging-tutorial", 37,
        (0.03, 0.17, 0.97, 0.375),
        "The answer is in the second and third points: in maintainer scripts.",
    ),
    Example(
        "Code", "How can I read several separate cells of a matrix in one step?", "r-lang", 24,
        (0.15, 0.58, 0.86, 0.86),
        "The answer is the paragraph on a matrix as an index, and the session below it, down to `m[i]`.",
    ),
    Example(
        "A drawing with labels", "How many volts feed the motor in the speed controller circuit?", "xfig-howto", 14,
        (0.82, 0.32, 0.88, 0.36),
        "The answer is a label at the right edge of the drawing: 5VDC, the supply.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """An example as it came out.

    rank: of the page, from 1; None where it is not among the first. first: the page that was, as file and number.
    outlined: number of outlined parts. covering: which of them, from 1, is where the answer stands; None for none.
    """

    example: Example
    rank: int | None
    first: str
    outlined: int
    covering: int | None
    picture: str


def write(place: Place, out: Path, examples: Sequence[Example] = EXAMPLES) -> Path:
    """Write the page and its pictures to `out`; returns the page.

    Scanned examples are left out where no OCR engine is installed. Raises `InvalidInputError` where the collection
    cannot be had or does not hold what an example is about, `StorageError` where something cannot be written.
    """
    able = bool(available_engines())
    chosen = [example for example in examples if able or not example.scanned]
    names = {False: KNOWN, True: SCANS}
    collections = {scanned: open_pages(names[scanned], place) for scanned in {example.scanned for example in chosen}}
    manifest = json.loads((_any(collections).pdfs.parent / "manifest.json").read_text(encoding="utf-8"))
    sources = {Path(source["file"]).stem: source for source in manifest["sources"]}
    unknown = sorted({example.file for example in chosen} - sources.keys())
    if unknown:
        raise InvalidInputError(f"the manifest of the collection names no {', '.join(unknown)}: build it again")
    found: dict[Example, Shown] = {}
    for scanned, collection in sorted(collections.items()):
        command.say(f"the index of {collection.name}")
        with _indexed(collection, place) as index, Extractor(IngestOptions().extract_seconds, _MEMORY) as extractor:
            for number, example in enumerate(chosen, 1):
                if example.scanned == scanned:
                    command.say(example.question)
                    found[example] = _shown(example, index, collection, extractor, out / f"{NAME}-{number}.webp")
    pages = len(_any(collections).dataset.documents)
    return command.write(out / f"{NAME}.md", lambda: _page([found[example] for example in chosen], sources, pages))


_MEMORY: Final = IngestOptions().extract_bytes


def _any(collections: Mapping[bool, PageCollection]) -> PageCollection:
    return next(iter(collections.values()))


def _indexed(collection: PageCollection, place: Place) -> Index:
    """The index of a collection in the cache, made as `latefold index` does; unchanged files are not read again."""
    path = place.cache / "pages" / "gallery" / f"{collection.name}.index"
    index = Index.open(path) if path.is_dir() else Index.create(path, encoder=place.encoder)
    done = ingest(index, [collection.pdfs])
    if index.stats().calibration is None or done.added or done.deleted:
        index.calibrate()
    return index


def _shown(example: Example, index: Index, collection: PageCollection, extractor: Extractor, picture: Path) -> Shown:
    hits = index.search(example.question, _TOP, collapse="page")
    rank = next((place for place, hit in enumerate(hits, 1) if _is_of(example, hit)), None)
    explanation = index.explain(example.question, hits[rank - 1].id if rank else _first_document(example, index))
    boxes = np.array([part.box for part in explanation.boxes], np.float32).reshape(-1, 4)
    heat = np.array([part.score for part in explanation.boxes], np.float32)
    best, _ = best_regions(boxes, heat)
    pixels = extractor.render(
        collection.pdfs / f"{example.file}.pdf", "pdf", example.page, longest=_longest(explanation)
    )
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(webp(draw_heatmap(np.ascontiguousarray(pixels), boxes, heat, best=best)))
    except OSError as error:
        raise StorageError(f"{picture} cannot be written: {error.strerror}") from error
    first = f"page {hits[0].page} of {Path(hits[0].source or '').stem}" if hits else "none"
    return Shown(example, rank, first, len(best), covering(best, example.answer), picture.name)


def _is_of(example: Example, hit: Hit) -> bool:
    return Path(hit.source or "").stem == example.file and hit.page == example.page


def _first_document(example: Example, index: Index) -> str:
    """The first window of the page of an example."""
    found = index.ids(filter={"source": f"{example.file}.pdf", "page": example.page})
    if not found:
        raise InvalidInputError(f"page {example.page} of {example.file}.pdf is not in the index: it holds no text")
    return found[0]


def _longest(explanation: Explanation) -> int:
    """Pixels of the longer side of a page that is `WIDTH` wide."""
    assert explanation.page is not None  # every document here is from a page of a PDF
    return round(WIDTH * max(1.0, explanation.page.height / explanation.page.width))


def covering(parts: Boxes, answer: Box) -> int | None:
    """The first of `(n, 4)` boxes, from 1, of which more than half is in the answer, or the other way round."""
    own = np.asarray(answer, np.float32)
    common = np.minimum(parts[:, 2:], own[2:]) - np.maximum(parts[:, :2], own[:2])
    shared = np.prod(np.maximum(common, 0), axis=1)
    smaller = np.minimum(np.prod(parts[:, 2:] - parts[:, :2], axis=1), np.prod(own[2:] - own[:2]))
    covers = np.flatnonzero(shared > 0.5 * smaller)
    return int(covers[0]) + 1 if len(covers) else None


def webp(pixels: Pixels) -> bytes:
    """The picture as a WebP file, in the best quality that has at most `MAX_BYTES`, or else in the least."""
    from PIL import Image

    data = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=6)
        data = buffer.getvalue()
        if len(data) <= MAX_BYTES:
            break
    return data


def _page(shown: Sequence[Shown], sources: Mapping[str, Mapping[str, Any]], pages: int) -> str:
    sections = {"# Pages and what matched": f"{_INTRODUCTION.format(pages=pages)}\n\n{_overview(shown)}"}
    for number, item in enumerate(shown, 1):
        sections[f"## {number}. {item.example.kind}"] = _section(item, sources[item.example.file])
    versions = ", ".join(f"{name} {version(name)}" for name in ("pypdfium2", "pillow", "onnxruntime"))
    engines = available_engines()
    read = f"scans read by {engines[0]}" if engines else "without scans, since no OCR engine was installed"
    return joined(
        {
            **sections,
            "## Documents and licences": f"{_RIGHTS}\n\n{_documents(shown, sources)}",
            "## How this was made": f"latefold {__version__}, {versions}, {read}. Again: `{PROGRAM} --data DATA`, DATA "
            "being the folder of collections that `make bench-pages` takes.",
        }
    )


def _overview(shown: Sequence[Shown]) -> str:
    right = sum(item.rank == 1 for item in shown)
    hot = sum(item.covering is not None for item in shown)
    return (
        f"The page is the first hit for {right} of {len(shown)} questions, and the answer is outlined on {hot} pages."
    )


def _section(item: Shown, source: Mapping[str, Any]) -> str:
    example = item.example
    rank = f"rank {item.rank}" if item.rank else f"not among the first {_TOP}"
    if item.rank != 1:
        rank += f" (the first is {item.first})"
    facts = f"{source['title']} (`{source['package']}`, {source['licence']}), page {example.page} of the file: {rank}."
    return "\n\n".join(
        [
            f"> {example.question}",
            facts,
            f"{example.look} {_verdict(item)}",
            f"![Page {example.page} of {source['title']}, with heat]({item.picture})",
        ]
    )


def _verdict(item: Shown) -> str:
    if item.covering is None:
        return "**The heat is off: the answer is not outlined.**"
    if item.outlined == 1:
        return "It is outlined, and nothing else."
    return f"It is outlined, as the {('first', 'second', 'third')[item.covering - 1]} of {item.outlined} parts."


def _documents(shown: Sequence[Shown], sources: Mapping[str, Mapping[str, Any]]) -> str:
    numbers: dict[str, list[str]] = {}
    for number, item in enumerate(shown, 1):
        numbers.setdefault(item.example.file, []).append(str(number))
    lines = [
        [", ".join(own), sources[file]["title"], f"`{sources[file]['package']}` {sources[file]['version']}",
         f"`/{sources[file]['path']}`", sources[file]["licence"]]
        for file, own in numbers.items()
    ]  # fmt: skip
    return table(["pictures", "document", "package", "file", "licence"], lines, left=5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the collections of the benchmark")
    parser.add_argument("--out", type=Path, default=Path("eval/reports"), help="where the page goes (%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"), help="indexes to use again (%(default)s)")
    settings = parser.parse_args(arguments)
    return command.finish(lambda: write(Place(settings.data, settings.cache), settings.out))


if __name__ == "__main__":
    sys.exit(main())
