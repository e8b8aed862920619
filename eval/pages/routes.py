"""Routes from a query to a page: whole pages ranked as one document each, and the product's own index of the PDFs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from ...encoders.base import Encoder, load_encoder
from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import MissingExtraError, StorageError
from ...index.storage.pages import PAGES
from ...index.tokens.fp16 import Fp16Codec
from ...ingest.folder import ingest
from ...ingest.options import IngestOptions
from ...retrieval.documents import encoded_text
from ...retrieval.index import Index
from ...retrieval.types import Mode
from .. import jobs
from ..beir import Dataset
from ..corpora import Place
from ..truth import best
from ..vectors import Source, Vectors, stored
from ..yardsticks import mean_pooled
from .collection import PageCollection
from .ranking import Run, page_quality, pages_of, run_of

TOP: Final = 10
MODES: Final[tuple[Mode, ...]] = ("hybrid", "exact", "ann", "lexical")
PRODUCT: Final = "latefold index"
_TIMED: Final = 100
_INDEX_CODE: Final = ("encoders/*.py", "index/**/*.py", "ingest/*.py", "retrieval/**/*.py")


@dataclass(frozen=True)
class Route:
    """A route on a collection.

    recall_at_1 to ndcg_at_10: see `PageQuality`. p50_ms, p95_ms: of single queries, all but encoding the query. bytes:
    of the index over the number of pages. seconds: to index, over the number of pages.
    """

    name: str
    recall_at_1: float
    recall_at_5: float
    ndcg_at_5: float
    ndcg_at_10: float
    p50_ms: float
    p95_ms: float
    bytes: float
    seconds: float


def whole_pages(collection: PageCollection, place: Place) -> dict[str, Any]:
    """BM25 over pages, and the encoder's mean vector and MaxSim of a page's beginning; JSON-ready.

    An encoder reads as much of a page as it takes in one text.
    """
    encoder = load_encoder(place.encoder)
    documents = _Encoded(collection, place, encoder)
    rows = [_bm25(collection.dataset)]
    means = mean_pooled(documents.pages)
    asked = mean_pooled(documents.queries)
    rows.append(
        _route("one mean vector", collection.dataset, lambda i: means @ asked[i], 4 * means.shape[1], documents)
    )
    codec = Fp16Codec(encoder.dim)
    codes, offsets = codec.encode(documents.pages.vectors), documents.pages.offsets
    size = codes.size / max(1, len(documents.pages))

    def maxsim(i: int) -> FloatArray:
        scores: FloatArray = codec.score(documents.queries.take([i]), codes, offsets)[0]
        return scores

    rows.append(_route("MaxSim of its beginning", collection.dataset, maxsim, size, documents))
    return {"rows": [asdict(row) for row in rows]}


class _Encoded:
    """Pages and queries by an encoder, and the seconds a page that it took."""

    def __init__(self, collection: PageCollection, place: Place, encoder: Encoder) -> None:
        home = place.cache / "pages" / f"{collection.name}-whole" / collection.digest
        texts = [encoded_text(document) for document in collection.dataset.documents]
        start = perf_counter()
        fresh = not (home / "pages" / "offsets.npy").is_file()
        self.pages: TokenEmbeddings = _vectors(home / "pages", texts, encoder).read()
        clock = home / "seconds.json"
        if fresh:
            clock.write_text(json.dumps((perf_counter() - start) / max(1, len(texts))), encoding="utf-8")
        self.seconds = float(json.loads(clock.read_text(encoding="utf-8"))) if clock.is_file() else float("nan")
        asked = list(collection.dataset.queries.values())
        self.queries: TokenEmbeddings = encoder.encode_queries(asked)


def _vectors(folder: Path, texts: Sequence[str], encoder: Encoder) -> Vectors:
    return stored(folder, Source(texts, encoder, encoder.dim))


def _route(name: str, dataset: Dataset, scores: Callable[[int], FloatArray], size: float, encoded: _Encoded) -> Route:
    """A route that scores all pages for query `i`."""

    def top(i: int) -> IntArray:
        return best(scores(i)[None], TOP)

    rows, times = _timed(top, len(dataset.queries))
    return _measured(name, dataset, _run(dataset, rows), times, size, encoded.seconds)


def _bm25(dataset: Dataset) -> Route:
    """BM25 as `bm25_run` has it, a query at a time. Raises `MissingExtraError` without the extra `bench`."""
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise MissingExtraError("the BM25 yardstick", "bench") from error
    stemmer = Stemmer.Stemmer("english")

    def words(texts: Sequence[str]) -> list[list[str]]:
        found: list[list[str]] = bm25s.tokenize(
            list(texts), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )
        return found

    start = perf_counter()
    ranker = bm25s.BM25(k1=1.2, b=0.75)
    ranker.index(words([f"{d.title} {d.text}" for d in dataset.documents]), show_progress=False)
    seconds = (perf_counter() - start) / max(1, len(dataset.documents))
    size = sum(array.nbytes for array in ranker.scores.values() if isinstance(array, np.ndarray))
    texts = list(dataset.queries.values())
    k = min(TOP, len(dataset.documents))

    def top(i: int) -> IntArray:
        rows, scores = ranker.retrieve(words([texts[i]]), k=k, show_progress=False, n_threads=1)
        return np.asarray(rows[scores > 0], np.int64)[None]

    rows, times = _timed(top, len(texts))
    return _measured("BM25", dataset, _run(dataset, rows), times, size / max(1, len(dataset.documents)), seconds)


def product(collection: PageCollection, place: Place) -> dict[str, Any]:
    """`latefold index` over the folder of PDFs, searched in every mode, a hit a page; JSON-ready.

    The index is kept in the cache, and taken up where it was interrupted. Scans go through OCR.
    """
    index, known = indexed(collection, place)
    with index:
        pages = max(1, len(collection.dataset.documents))
        sizes = index.stats().bytes
        seconds = known["seconds"] / pages
        rows = [_searched(index, collection.dataset, mode, sizes["total"] / pages, seconds) for mode in MODES]
    parts = {part: size / pages for part, size in sizes.items()}
    return {"rows": [asdict(row) for row in rows], "bytes": parts, "notes": known["notes"]}


def indexed(collection: PageCollection, place: Place) -> tuple[Index, Mapping[str, Any]]:
    """The index of the code at hand, and how it was made.

    Another index of the same files gives way to it. What OCR read for that one is taken over, with the time it took.
    """
    home = place.cache / "pages" / f"{collection.name}-index" / f"{collection.digest}-{_named(place.encoder)}"
    code = jobs.code_digest(jobs.files(*_INDEX_CODE))
    path, report = home / f"{code}.index", home / f"{code}.json"
    before = [folder for folder in sorted(home.glob("*.index")) if folder != path]
    index = Index.open(path) if path.is_dir() else Index.create(path, encoder=place.encoder)
    try:
        if not report.is_file():
            taken = _taken_over(before, path) if collection.scanned else 0.0
            start = perf_counter()
            done = ingest(index, [collection.pdfs], IngestOptions())
            index.calibrate()
            notes = [f"{note.source}: {note.reason}" for note in (*done.skipped, *done.failed)]
            seconds = max(taken, perf_counter() - start)
            report.write_text(json.dumps({"seconds": seconds, "notes": notes}), encoding="utf-8")
        for folder in before:
            shutil.rmtree(folder)
            folder.with_suffix(".json").unlink(missing_ok=True)
        known: Mapping[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    except OSError as error:
        index.close()
        raise StorageError(f"the index of {collection.name} cannot be kept in {home}: {error.strerror}") from error
    return index, known


def _taken_over(before: Sequence[Path], path: Path) -> float:
    """Copy the page store of an earlier index; the seconds that index took, 0 where it was not finished."""
    for folder in before:
        if (folder / PAGES).is_file() and not (path / PAGES).is_file():
            shutil.copyfile(folder / PAGES, path / PAGES)
            report = folder.with_suffix(".json")
            return float(json.loads(report.read_text(encoding="utf-8"))["seconds"]) if report.is_file() else 0.0
    return 0.0


def _searched(index: Index, dataset: Dataset, mode: Mode, size: float, seconds: float) -> Route:
    times: list[float] = []
    run: dict[str, Sequence[str]] = {}
    for document in dataset.documents[:3]:
        if document.title:  # what is compiled, loaded and mapped once
            index.search(document.title, TOP, mode=mode, collapse="page")
    for query, text in dataset.queries.items():
        start = perf_counter()
        found = index.search_timed(text, TOP, mode=mode, collapse="page")
        times.append(1000 * (perf_counter() - start) - found.timing.get("encode", 0.0))
        run[query] = pages_of(found.hits[0])
    return _measured(f"{PRODUCT}, {mode}", dataset, run, times, size, seconds)


def _timed(top: Callable[[int], IntArray], count: int) -> tuple[list[IntArray], list[float]]:
    """Rows of each query, and milliseconds of the first queries, after one that is not counted."""
    rows, times = [], []
    if count:
        top(0)
    for i in range(count):
        start = perf_counter()
        rows.append(top(i))
        times.append(1000 * (perf_counter() - start))
    return rows, times[:_TIMED]


def _run(dataset: Dataset, rows: Sequence[IntArray]) -> Run:
    pages = [document.id for document in dataset.documents]
    found: dict[str, Sequence[str]] = {}
    for query, own in zip(dataset.queries, rows, strict=True):
        found |= run_of([query], pages, own)
    return found


def _measured(name: str, dataset: Dataset, run: Run, times: Sequence[float], size: float, seconds: float) -> Route:
    p50, p95 = np.percentile(times, [50, 95]) if len(times) else (float("nan"),) * 2
    return Route(
        name=name, **asdict(page_quality(run, dataset.qrels)), p50_ms=float(p50), p95_ms=float(p95),
        bytes=float(size), seconds=seconds,
    )  # fmt: skip


def _named(encoder: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in encoder)[-40:]


def rows_of(result: Mapping[str, Any]) -> list[Route]:
    """Rows of a result that was JSON."""
    return [Route(**row) for row in result["rows"]]
