"""The collections of the page benchmark: folders of PDFs, and queries whose pages are known."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...encoders.errors import InvalidInputError, StorageError
from ...ingest.page_text import PageText
from ..beir import Dataset, load_beir
from ..corpora import Place
from .known_items import NAME, build
from .pdfs import head, read_pages
from .scans import rasterise

KNOWN: Final = NAME
FINANCE: Final = "financebench-mini"
SCANS: Final = f"{KNOWN}-scans"
COLLECTIONS: Final = (FINANCE, KNOWN, SCANS)
_QUICK: Final[Mapping[bool, tuple[int, int]]] = {False: (3, 40), True: (1, 3)}
"""PDFs, and pages of each, of a quick run; by whether they are scans, which take seconds a page."""


@dataclass(frozen=True, eq=False)
class PageCollection:
    """PDFs, and a dataset whose documents are their pages.

    A page is `FILE#pN`, where FILE is the name of a PDF without its ending and N counts from 0; documents are in the
    order of files and pages. pdfs: the folder of the PDFs. scanned: whether they are pictures; the texts of the
    dataset are those of the PDFs they were made from.
    """

    name: str
    dataset: Dataset
    pdfs: Path
    scanned: bool
    digest: str

    @property
    def summary(self) -> str:
        """Sizes in a sentence."""
        files = len({document.id.rpartition("#p")[0] for document in self.dataset.documents})
        return (
            f"{self.name}: {files} PDFs, {len(self.dataset.documents):,} pages, {len(self.dataset.queries):,} queries"
        )

    def pages(self) -> list[PageText]:
        """The text layer of each page, with its words, in the order of the dataset."""
        found: dict[str, PageText] = {}
        for path in sorted(self.pdfs.glob("*.pdf")):
            found |= {page_id(path.stem, number): page for number, page in enumerate(read_pages(path))}
        return [found[document.id] for document in self.dataset.documents]


def page_id(file: str, number: int) -> str:
    """Id of a page; number: from 0."""
    return f"{file}#p{number}"


def open_pages(name: str, place: Place) -> PageCollection:
    """A collection by name, from `place.data`, or made in `place.cache` on the first call.

    Raises `InvalidInputError`, saying why, where it cannot be had.
    """
    if name not in COLLECTIONS:
        raise InvalidInputError(f"no page collection {name!r:.40}; there are {', '.join(COLLECTIONS)}")
    scanned = name == SCANS
    home = _home(KNOWN if scanned else name, place)
    pdfs = home / "pdfs"
    dataset = load_beir(home)
    if place.quick:
        dataset, pdfs = _beginning(dataset, pdfs, place.cache / "pages" / f"{name}-quick", *_QUICK[scanned])
    if scanned:
        pdfs = _scans(home, pdfs, place)
    return PageCollection(name, dataset, pdfs, scanned, _digest(dataset, pdfs))


def _home(name: str, place: Place) -> Path:
    """Folder of a collection that is not scanned."""
    home = place.data / name
    if name == KNOWN and not (home / "manifest.json").is_file():
        home = place.cache / "pages" / name
        if not (home / "manifest.json").is_file():
            build(home, place.cache / "debs")
    if not (home / "pdfs").is_dir():
        raise InvalidInputError(f"the data folder holds no collection {name!r} with PDFs")
    return home


def _scans(home: Path, pdfs: Path, place: Place) -> Path:
    """Pictures of PDFs: beside them where they were made there, else in the cache."""
    beside = home / "scans"
    if not place.quick and len(list(beside.glob("*.pdf"))) == len(list(pdfs.glob("*.pdf"))):
        return beside
    out = pdfs.parent / "scans" if place.quick else place.cache / "pages" / KNOWN / "scans"
    rasterise(pdfs, out)
    return out


def _beginning(dataset: Dataset, pdfs: Path, out: Path, files: int, pages: int) -> tuple[Dataset, Path]:
    """The first pages of the few PDFs with the most queries about these, with the queries that they answer."""
    import pypdfium2

    answers = {id_ for found in dataset.qrels.values() for id_, grade in found.items() if grade > 0}
    names = Counter(_file(id_) for id_ in answers if _number(id_) < pages)
    chosen = {name for name, _ in sorted(names.items(), key=lambda item: (-item[1], item[0]))[:files]}
    documents = [d for d in dataset.documents if _file(d.id) in chosen and _number(d.id) < pages]
    kept = {document.id for document in documents}
    qrels = {query: found for query, found in dataset.qrels.items() if set(found) <= kept}
    queries = {query: dataset.queries[query] for query in qrels}
    try:
        (out / "pdfs").mkdir(parents=True, exist_ok=True)
        for name in chosen:
            with pypdfium2.PdfDocument(pdfs / f"{name}.pdf") as document:
                (out / "pdfs" / f"{name}.pdf").write_bytes(head(document, pages))
    except OSError as error:
        raise StorageError(f"the beginnings of PDFs cannot be written to {out}: {error.strerror or error}") from error
    return Dataset(dataset.name, documents, queries, qrels), out / "pdfs"


def _digest(dataset: Dataset, pdfs: Path) -> str:
    whole = hashlib.sha256(json.dumps([dataset.queries, dataset.qrels], sort_keys=True).encode())
    for path in _existing(sorted(pdfs.glob("*.pdf"))):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    for document in dataset.documents:
        whole.update(hashlib.sha256(f"{document.id}\n{document.title}\n{document.text}".encode()).digest())
    return whole.hexdigest()[:16]


def _existing(paths: Sequence[Path]) -> Sequence[Path]:
    if not paths:
        raise InvalidInputError("the collection has no PDFs")
    return paths


def _file(id_: str) -> str:
    return id_.rpartition("#p")[0]


def _number(id_: str) -> int:
    return int(id_.rpartition("#p")[2])
