"""`python -m latefold.eval.pages.gallery --data DATA`: pages that answer questions, with their heat; written as a page.

The questions were written after looking at the pages and before any search; none was exchanged for what it found.
All documents are under licences that let changed pages be passed on without the GPL; their notices are in
`pages-gallery-licences.txt`, beside the page, which is kept by hand: a new example needs its notice there.
The PDFs are those of the known-item collection, and the indexes those that `python -m latefold.eval.pages` makes in the
cache; where they are not there yet, that takes minutes, and a second a page and processor for scans. The same versions
of everything on the same machine write the same bytes.
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
import numpy.typing as npt

from ... import __version__
from ...encoders.errors import InvalidInputError, StorageError
from ...encoders.pages import Boxes, Pixels
from ...ingest.extractor import Extractor
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
from .routes import indexed

PROGRAM: Final = "python -m latefold.eval.pages.gallery"
NAME: Final = "pages-gallery"
WIDTH: Final = 700
"""Pixels of a picture, across."""
MAX_BYTES: Final = 80_000
"""Of a picture, if that is possible."""
_QUALITIES: Final = (80, 70, 60, 50, 40, 30)
_TOP: Final = 10

_INTRODUCTION: Final = (
    "What a search shows of a page. Each question was put to an index of all {pages} pages of the known-item "
    "collection (see [pages.md](pages.md)), or of the same pages as pictures, in the usual mode, a hit a page. Colour "
    "is heat: how much of the question the words there match, by the stored vectors of their tokens "
    "(`retrieval/heat.py`). Lines enclose the hottest parts, at most three.\n\n"
    "The questions were written after looking at the pages and before any search; none was exchanged for what it "
    "found. Where the answer stands was marked before any heat was seen. Ranks and shares are computed, "
    "remarks written looking at the pictures. Heat shows where words like those of the question stand side by "
    "side: often that is beside the answer, not on it. So few pages say how it looks and not how good it is; for that "
    "see the tables of pages.md."
)
_RIGHTS: Final = (
    "The pictures show pages of these documents, changed in nothing but size and by the colours and lines on them. "
    "They are under the licences of the documents, not under that of latefold; the notices that go with them are in "
    "[pages-gallery-licences.txt](pages-gallery-licences.txt). The PDFs are in packages of Debian 12, whose sources "
    "`apt-get source PACKAGE` brings."
)


@dataclass(frozen=True)
class Example:
    """A question about a page.

    kind: of the place that answers. file: name of the PDF without its ending; page: from 1. authors: as its title page
    has them. answer: where on the page the answer stands. remark: what the answer is, and what is to be seen in the
    picture. scanned: whether the page is a picture.
    """

    kind: str
    question: str
    file: str
    page: int
    authors: str
    answer: Box
    remark: str
    scanned: bool = False


EXAMPLES: Final = (
    Example(
        "Running text, scanned", "How can I make the PDF files I generate smaller?", "reportlab", 12,
        "ReportLab",
        (0.12, 0.255, 0.88, 0.33),
        "The page is a picture, read by OCR. The answer is the fourth paragraph, on compression. Its *smaller* is hot, "
        "and hottest is *generate*, though there it is about being slow; `pageCompression=1`, which is what to write, "
        "is cold. *Generated*, far below, is outlined and beside the point.",
        scanned=True,
    ),
    Example(
        "A table", "What does minus ten divided by three give if the result is rounded down?", "yosys", 43,
        "Claire Xenia Wolf",
        (0.28, 0.495, 0.8, 0.615),
        "The answer is -4, in the first line of the second table, under *Flooring*. That line is outlined, but only up "
        "to -3, which is the answer for the other way of rounding.",
    ),
    Example(
        "A figure with a caption", "Along which path are the blocks inside a super block visited?", "theora", 25,
        "Xiph.org Foundation",
        (0.22, 0.15, 0.69, 0.49),
        "The answer is the drawing, and its caption names the curve. The caption is outlined, in the words that it "
        "shares with the question; of *Hilbert curve* one word is faintly warm. Arrows are no text: they have no "
        "vectors, hence no heat. The other outlines are in a paragraph on macro blocks, which does not answer.",
    ),
    Example(
        "A slide", "Where do I put commands that add a system user when a package is installed?",
        "packaging-tutorial", 37,
        "Lucas Nussbaum",
        (0.03, 0.17, 0.97, 0.375),
        "The answer is in the third point, maintainer scripts, which serve the second. *System users* in the second "
        "is hot, the answer itself is not.",
    ),
    Example(
        "Code", "How can I fit a straight line to my data and show its equation in the key?", "gle", 37,
        "C. Pugmire, St.M. Mundt, V.P. LaBella, J. Struyf",
        (0.11, 0.08, 0.71, 0.32),
        "The answer is the first listing, which draws the plot beside it. In it single words of the question are hot, "
        "*line* and *key*; `linfit`, which fits, is cold, and what writes the equation hardly warm.",
    ),
    Example(
        "A drawing with labels", "How many volts feed the motor in the speed controller circuit?", "xfig-howto", 14,
        "Peter Hiscocks",
        (0.82, 0.32, 0.88, 0.36),
        "The answer is a label at the right edge of the drawing: 5VDC, the supply. The names of the circuit are hot, "
        "in its box and in the caption; nothing links *volts* with 5VDC.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """An example as it came out.

    rank: of the page, from 1; None where it is not among the first. first: file and page of the first hit. heat,
    vectors: what share of the page's heat, and of its vectors, is where the answer stands. hottest: whether the first
    outlined part is there.
    """

    example: Example
    rank: int | None
    first: tuple[str, int | None] | None
    heat: float
    vectors: float
    hottest: bool
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
        index, _ = indexed(collection, place)
        with index, Extractor(IngestOptions().extract_seconds, IngestOptions().extract_bytes) as extractor:
            for number, example in enumerate(chosen, 1):
                if example.scanned == scanned:
                    command.say(example.question)
                    found[example] = _shown(example, index, collection, extractor, out / f"{NAME}-{number}.webp")
    pages = len(_any(collections).dataset.documents)
    return command.write(out / f"{NAME}.md", lambda: _page([found[example] for example in chosen], sources, pages))


def _any(collections: Mapping[bool, PageCollection]) -> PageCollection:
    return next(iter(collections.values()))


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
    inside = within(boxes, example.answer)
    return Shown(
        example=example,
        rank=rank,
        first=(Path(hits[0].source or "").stem, hits[0].page) if hits else None,
        heat=float(heat[inside].sum() / max(float(heat.sum()), 1e-9)),
        vectors=float(inside.mean()) if len(inside) else 0.0,
        hottest=bool(within(best[:1], example.answer).any()),
        picture=picture.name,
    )


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


def within(boxes: Boxes, place: Box) -> npt.NDArray[np.bool_]:
    """`(n,)`: which of `(n, 4)` boxes have their middle in a place."""
    left, top, right, bottom = place
    across, down = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    inside: npt.NDArray[np.bool_] = (left <= across) & (across <= right) & (top <= down) & (down <= bottom)
    return inside


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
        sections[f"## {number}. {item.example.kind}"] = _section(item, sources)
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
    first = sum(item.rank == 1 for item in shown)
    found = sum(item.rank is not None for item in shown)
    hot = sum(item.hottest for item in shown)
    return (
        f"Of {len(shown)} pages {found} are among the first {_TOP} hits, and {first} the first hit. On {hot} of them "
        "the hottest part is where the answer stands."
    )


def _section(item: Shown, sources: Mapping[str, Mapping[str, Any]]) -> str:
    example = item.example
    source = sources[example.file]
    rank = f"rank {item.rank}" if item.rank else f"not among the first {_TOP}"
    if item.rank != 1 and item.first is not None:
        file, number = item.first
        rank += f" (the first is page {number} of *{sources[file]['title'] if file in sources else file}*)"
    facts = (
        f"*{source['title']}* (`{source['package']}`, {source['licence']}), page {example.page} of the file: {rank}."
    )
    return "\n\n".join(
        [
            f"> {example.question}",
            facts,
            f"{example.remark} {_measured(item)}",
            f"![Page {example.page} of {source['title']}, with heat]({item.picture})",
        ]
    )


def _measured(item: Shown) -> str:
    shares = (
        f"The place of the answer has {item.vectors:.0%} of the vectors of the page and {item.heat:.0%} of its heat"
    )
    return f"{shares}; the hottest part is {'there' if item.hottest else 'elsewhere: **the heat is off**'}."


def _documents(shown: Sequence[Shown], sources: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for number, item in enumerate(shown, 1):
        source = sources[item.example.file]
        package = f"`{source['package']}` {source['version']}, `/{source['path']}`"
        lines.append([str(number), source["title"], item.example.authors, package, source["licence"]])
    return table(["picture", "document", "authors", "package and file", "licence"], lines, left=5)


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
