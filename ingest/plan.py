"""What a build will take, estimated from a sample that is read, encoded and stored for real."""

from __future__ import annotations

import math
import sys
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders.base import Encoder, Progress
from ..encoders.embeddings import TokenEmbeddings
from ..encoders.errors import LatefoldError
from ..encoders.onnx_session import cores
from ..encoders.pages import PageEncoder
from ..index.storage.format import CATALOG
from ..index.tokens.base import codec
from ..retrieval.config import AUTO, PRESETS, IndexConfig, resolve, starting
from ..retrieval.encoding import encode_documents
from ..retrieval.index import Index
from ..retrieval.tune import most_bytes
from ..retrieval.types import Document
from ..retrieval.writer import unfitted
from .options import IngestOptions, Kind
from .records import count_records
from .sources import SourceReader
from .walk import FoundFile, Scan, scan

_FILES = 6
"""Files sampled of each kind."""
_DOCUMENTS = 256
"""Documents read of each sampled file."""
_ENCODED = 32
"""Documents encoded."""
_ENCODED_PAGES = 4
"""Documents encoded where they may be page images, which take seconds each."""
_STORED = 512
"""Documents stored in the temporary index."""


@dataclass(frozen=True)
class PlannedPreset:
    """What a preset of token codecs would take: bytes a token, bytes of all tokens on disk.

    kept: share of fp16's nDCG@10 that it keeps at least on the collections it was measured on; see `config.Preset`.
    """

    preset: str
    codec: str
    bytes_per_token: int
    tokens_bytes: int
    kept: float


@dataclass(frozen=True)
class Plan:
    """Estimates for building an index; everything is extrapolated from `sampled` documents that were read.

    kinds: files by kind. tokens: token vectors. disk_bytes: by part (`tokens`, `vectors`, `catalog`, `total`).
    documents_per_second: of one process, reading, encoding and compressing; `seconds` follows from it.
    memory_bytes: peak while building, measured for the sample and extended to full batches; the index itself is
    memory-mapped and need not fit. skipped, unreadable: files left out so far (the latter in the sample only).
    codec: as configured; presets: what others would take for the token codes. ocr_pages: pages that OCR has to read,
    whose time is part of `seconds`.
    """

    files: int
    bytes: int
    kinds: Mapping[str, int]
    skipped: int
    unreadable: int
    documents: int
    tokens: int
    tokens_per_document: float
    documents_per_second: float
    seconds: float
    disk_bytes: Mapping[str, int]
    memory_bytes: int
    sampled: int
    encoder: str
    codec: str
    presets: Sequence[PlannedPreset]
    ocr_pages: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@dataclass
class _Stratum:
    """What was sampled of one kind: documents, how many all its files will give, and how long reading one takes.

    ocr_pages: pages of all its files that OCR has to read, each in `seconds_per_page`.
    """

    documents: list[Document]
    total: float = 0.0
    unreadable: int = 0
    seconds_per_document: float = 0.0
    ocr_pages: float = 0.0
    seconds_per_page: float = 0.0


@dataclass(frozen=True)
class _Cost:
    """What one document takes: token vectors, seconds, bytes on disk by part, bytes of memory while in a batch."""

    tokens: float = 0.0
    seconds: float = 0.0
    disk: Mapping[str, float] = field(default_factory=dict)
    memory: float = 0.0


def plan(
    paths: Iterable[str | Path],
    options: IngestOptions | None = None,
    *,
    encoder: Encoder,
    config: IndexConfig | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Estimate documents, tokens, time, memory and disk for indexing `paths`, in seconds and without an index.

    Up to six files of each kind are read, evenly spread over the bytes; up to 32 of their documents are encoded and
    compressed, and the sample is stored in a temporary index to weigh the catalog. Records are counted by lines.

    Raises `InvalidInputError` when a path does not exist, and what the encoder raises.
    """
    config = config or IndexConfig()
    options = replace(options or IngestOptions(), page_images=isinstance(encoder, PageEncoder))
    found = scan(paths, options)
    with SourceReader(options, sample=True) as reader:
        strata = _read_sample(reader, found, progress)
        total = round(sum(stratum.total for stratum in strata))
        if progress is not None:
            progress("encode", 0, None)
        cost = _measure(strata, encoder, config)  # page images are drawn by the reader
    seconds = total * cost.seconds + sum(stratum.total * stratum.seconds_per_document for stratum in strata)
    seconds += sum(stratum.ocr_pages * stratum.seconds_per_page for stratum in strata) / cores()
    parts = {name: round(total * size) for name, size in cost.disk.items()}
    if config.encoding != "fde" and total * cost.tokens > config.exact_below:
        parts["vectors"] = total * most_bytes(config)  # after calibration, which nearly always finds these better
    return Plan(
        files=len(found.files),
        bytes=found.bytes,
        kinds=found.to_dict()["kinds"],
        skipped=len(found.skipped) + len(found.failed),
        unreadable=sum(stratum.unreadable for stratum in strata),
        documents=total,
        tokens=round(total * cost.tokens),
        tokens_per_document=round(cost.tokens, 1),
        documents_per_second=round(total / seconds, 1) if seconds else 0.0,
        seconds=round(seconds, 1),
        disk_bytes={**parts, "total": sum(parts.values())},
        memory_bytes=_peak_memory() + round(min(total, config.batch_documents) * cost.memory),
        sampled=sum(len(stratum.documents) for stratum in strata),
        encoder=str(encoder.fingerprint),
        codec=config.codec,
        presets=_presets(round(total * cost.tokens), encoder.dim),
        ocr_pages=round(sum(stratum.ocr_pages for stratum in strata)),
    )


def _presets(tokens: int, dim: int) -> list[PlannedPreset]:
    """What each preset would take."""
    found = []
    for name, preset in PRESETS.items():
        size = codec(preset.codec).planned_bytes(dim)
        found.append(PlannedPreset(name, preset.codec, size, tokens * size, preset.kept))
    return found


def _read_sample(reader: SourceReader, found: Scan, progress: Progress | None) -> list[_Stratum]:
    """Read some files of each kind; the others are taken to give as many documents per byte."""
    by_kind: dict[Kind, list[FoundFile]] = defaultdict(list)
    for file in found.files:
        by_kind[file.kind].append(file)
    strata: list[_Stratum] = []
    for done, files in enumerate(by_kind.values()):
        if progress is not None:
            progress("sample", done, len(by_kind))
        strata.append(_read_stratum(reader, files))
    return strata


def _read_stratum(reader: SourceReader, files: Sequence[FoundFile]) -> _Stratum:
    stratum = _Stratum([])
    chosen = _spread(files, _FILES)
    expected = handled = 0.0
    pages, reader.ocr.seconds = reader.ocr.total, 0.0
    started = time.perf_counter()
    for file in chosen:
        try:
            documents, count = _count(reader, file)
        except (LatefoldError, OSError):
            stratum.unreadable += 1
            continue
        stratum.documents += documents
        expected += count
        handled += len(documents) if file.kind.streamed else count
    stratum.seconds_per_document = (time.perf_counter() - started) / max(1.0, handled)
    share = max(1, sum(file.size for file in chosen)) / sum(file.size for file in files)
    stratum.total = expected / share
    stratum.ocr_pages, stratum.seconds_per_page = (reader.ocr.total - pages) / share, reader.ocr.seconds
    return stratum


def _spread(files: Sequence[FoundFile], count: int) -> list[FoundFile]:
    """Up to `count` files, evenly spread over the bytes of all, so that large ones are likelier."""
    if len(files) <= count:
        return list(files)
    ends = np.cumsum([file.size for file in files])
    marks = (np.arange(count) + 0.5) / count * ends[-1]
    return [files[i] for i in dict.fromkeys(np.searchsorted(ends, marks).tolist())]


def _count(reader: SourceReader, file: FoundFile) -> tuple[list[Document], float]:
    """The first documents of a file, and about how many it gives in all."""
    limit = _DOCUMENTS if file.kind.streamed else None
    passages = list(islice(reader.passages(file, file.relative), limit))
    documents = list(islice(reader.cut(passages, file.relative), _DOCUMENTS))
    characters = sum(len(passage.text) for passage in passages)
    count = float(len(documents))
    if passages and passages[0].whole:
        count = float(len(passages))
    elif len(documents) == _DOCUMENTS:
        count *= characters / max(1, sum(len(document.text) for document in documents))
    if len(passages) == limit:
        lines = 1.0
        if file.kind is Kind.CSV:  # quoted fields hold line ends
            lines += sum(passage.text.count("\n") for passage in passages) / len(passages)
        count *= count_records(file.path, file.kind) / lines / len(passages)
    return documents, count


def _measure(strata: Sequence[_Stratum], encoder: Encoder, config: IndexConfig) -> _Cost:
    """Encode and compress a few documents and store more of them, as a build does, and see what it takes."""
    documents = _stratified(strata, _ENCODED_PAGES if isinstance(encoder, PageEncoder) else _ENCODED)
    if not documents:
        return _Cost()

    def encoded(documents: Sequence[Document]) -> TokenEmbeddings:
        return encode_documents(encoder, documents, None, attention=False).embeddings

    _fold(encoded(documents[:1]), config)  # loads the model, compiles kernels
    started = time.perf_counter()
    embeddings = encoded(documents)
    tokens, vectors = _fold(embeddings, config)
    seconds = (time.perf_counter() - started) / len(documents)
    tracemalloc.start()
    _fold(encoded(documents), config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    disk = {"tokens": tokens / len(documents), "vectors": vectors / len(documents)}
    disk["catalog"] = _catalog_bytes(_stratified(strata, _STORED))
    return _Cost(len(embeddings.vectors) / len(documents), seconds, disk, peak / len(documents))


def _fold(embeddings: TokenEmbeddings, config: IndexConfig) -> tuple[int, int]:
    """Bytes that token codes and single vectors of these documents take, found by making them."""
    levels = resolve(config.codec if config.codec != AUTO else starting(config)).split("+")
    size = config.keep * sum(codec(level).planned_bytes(embeddings.dim) for level in levels)
    codec(starting(config)).fit(embeddings.vectors).encode(embeddings.vectors)  # as a build begins
    return round(size * len(embeddings.vectors)), unfitted(config, embeddings.dim).encode_documents(embeddings).nbytes


def _catalog_bytes(documents: Sequence[Document]) -> float:
    """Bytes per document that texts, metadata, full text and row numbers take in an index."""
    unique = list({document.id: document for document in documents}.values())
    one_each = TokenEmbeddings(np.ones((len(unique), 1), np.float32), np.arange(len(unique) + 1))
    with tempfile.TemporaryDirectory(prefix="latefold-plan-") as folder:
        catalog = Path(folder, CATALOG)
        Index.create(folder, dim=1).close()
        empty = catalog.stat().st_size
        with Index.open(folder) as index:
            index.add(unique, embeddings=one_each)
            parts = index.stats().bytes
        grown = catalog.stat().st_size - empty
    return (grown + parts["offsets"] + parts["rows"]) / len(unique)


def _stratified(strata: Sequence[_Stratum], count: int) -> list[Document]:
    """About `count` documents, of each kind in proportion to how many there will be."""
    total = sum(stratum.total for stratum in strata)
    chosen: list[Document] = []
    for stratum in strata:
        share = min(len(stratum.documents), math.ceil(count * stratum.total / total)) if total else 0
        places = (np.arange(share) * len(stratum.documents)) // max(1, share)
        chosen += [stratum.documents[place] for place in places]
    return chosen


def _peak_memory() -> int:
    """Most memory this process has held so far, in bytes; 0 where the operating system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
