"""How building and searching grow with the collection: from its first documents to many copies of it with noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import FloatArray, IntArray, TokenEmbeddings
from ...encoders.errors import StorageError
from ...index.encodings.learned import Learned, LearnedConfig
from ...index.graph import Graph, build_graph, search_graph
from ...index.kernels.rows import Bytes
from ...index.kernels.warmup import warm_up
from ...index.leanvec import LeanVec, sphering
from ...index.lvq import LVQ
from ...index.moments import Moments
from ..corpora import Corpus
from ..machine import peak_memory
from ..vectors import BLOCK
from .encodings import sample
from .measure import ASKED
from .reductions import SEED

DIM: Final = 128
BITS: Final = 4
BEAMS: Final = (256, 512, 1024)
NOISE: Final = 0.15
"""Length of the noise added to token vectors of length 1 in copies of documents, before they are scaled back to 1."""
_QUERIES, _ROUNDS = 100, 3
_POOL = 1 << 20
_DECODED = 1 << 14


@dataclass(frozen=True)
class Built:
    """The cost of folding a collection of some size into codes, from its start: wall and CPU seconds, peak memory."""

    documents: int
    copied: bool
    wall_seconds: float
    cpu_seconds: float
    peak: int
    bytes: float


@dataclass(frozen=True)
class Beam:
    """A graph search. recall: share of the scan's first `ASKED` rows that it finds."""

    beam: int
    query_ms: float
    recall: float


@dataclass(frozen=True)
class Searched:
    """Milliseconds of CPU a query on one thread, from a folded query to `ASKED` rows.

    read_rate: bytes a second that one thread reads in long dot products; scan_rate: of codes in the scan. graph:
    None for sizes without one. graph_seconds: of CPU to build it. graph_bytes: a document.
    """

    documents: int
    scan_ms: float
    scan_rate: float
    read_rate: float
    graph: Sequence[Beam] | None
    graph_seconds: float
    graph_bytes: float


def build(corpus: Corpus, sizes: Sequence[int], folder: Path) -> dict[str, Any]:
    """Fit on a sample, fold documents one block after another into a file of codes, and note each size in passing.

    Beyond the collection's own documents come copies of them with noise: never more than a block is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    warm_up()
    wall, cpu = perf_counter(), process_time()
    fitted = _fit(corpus)
    points: list[Built] = []
    done = 0
    try:
        with (folder / "rows.bin").open("wb") as file:
            for block in stream(corpus, max(sizes)):
                rows = fitted.rows(block)
                for stop in [size - done for size in sizes if done < size <= done + len(rows)]:
                    copied = done + stop > len(corpus.documents)
                    spent = perf_counter() - wall, process_time() - cpu
                    points.append(Built(done + stop, copied, *spent, peak_memory(), fitted.codes.width))
                file.write(rows.tobytes())
                done += len(rows)
    except OSError as error:
        raise StorageError(f"codes cannot be written to {folder}: {error.strerror}") from error
    np.save(folder / "queries.npy", fitted.queries(corpus.queries.read()), allow_pickle=False)
    np.save(folder / "mean.npy", fitted.codes.mean, allow_pickle=False)
    return {"points": [asdict(point) for point in points]}


def search(sizes: Sequence[int], graphs: Sequence[int], folder: Path) -> dict[str, Any]:
    """Scan and search heads of the codes that `build` left; a graph for those sizes that are in `graphs`."""
    codes = LVQ(np.load(folder / "mean.npy", allow_pickle=False), bits=BITS)
    queries = np.load(folder / "queries.npy", allow_pickle=False)[:_QUERIES]
    whole = np.fromfile(folder / "rows.bin", np.uint8).reshape(-1, codes.width)
    rate = read_rate()
    points = [_searched(codes, queries, whole[:size], rate, linked=size in graphs) for size in sizes]
    return {"points": [asdict(point) for point in points]}


def stream(corpus: Corpus, documents: int) -> Iterator[TokenEmbeddings]:
    """Blocks of the collection's documents and then, round after round, of copies whose tokens carry fresh noise."""
    rng = np.random.default_rng(0)
    pool = rng.normal(0, NOISE / corpus.documents.dim**0.5, _POOL).astype(np.float32)
    own = len(corpus.documents)
    for copy in range(0, documents, own):
        wanted = min(own, documents - copy)
        for start in range(0, wanted, BLOCK):
            block = corpus.documents.read(start, min(start + BLOCK, wanted))
            yield TokenEmbeddings(_noisy(block.vectors, pool, rng), block.offsets) if copy else block


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The chain that documents and queries go through."""

    encoding: Learned
    reduction: LeanVec
    tokens: LVQ
    codes: LVQ

    def rows(self, tokens: TokenEmbeddings) -> Bytes:
        """Codes of documents, whose token vectors are made codes first, as an index keeps them."""
        stored = self.tokens.encode(tokens.vectors)
        return self.codes.encode(self.encoding.encode_codes(stored, tokens.offsets, self.reduction.documents))

    def queries(self, tokens: TokenEmbeddings) -> FloatArray:
        """What codes are scored with."""
        return self.reduction.reduce_queries(self.encoding.encode_queries(tokens))


def _fit(corpus: Corpus) -> _Fitted:
    """Everything that is learned, from a sample of the collection and pseudo-queries."""
    documents = sample(corpus)
    encoding = Learned.fit(LearnedConfig(), documents)
    moments = [Moments(encoding.output_dim) for _ in range(2)]
    vectors = encoding.encode_documents(documents)
    queries = encoding.encode_queries(corpus.pseudo.read())
    for gathered, part in zip(moments, (queries, vectors), strict=True):
        gathered.add(part)
    dim = min(DIM, encoding.output_dim)
    fit = sphering(moments[0].matrix, moments[1].centred, dim, samples=len(queries)).rotated(SEED)
    tokens = LVQ(np.zeros(documents.dim, np.float32))
    return _Fitted(encoding, fit, tokens, LVQ.fit(fit.reduce_documents(vectors), BITS))


def _searched(codes: LVQ, queries: FloatArray, rows: Bytes, rate: float, *, linked: bool) -> Searched:
    """One size: the scan of all rows, and a graph over them where one is wanted."""
    k = min(ASKED, len(rows))
    exact = [codes.top(query, rows, k)[0][0] for query in _singles(queries)]
    scan = _milliseconds(lambda query: codes.top(query, rows, k), queries)
    beams, seconds, degree = None, 0.0, 0
    if linked:
        before = process_time()
        starts = range(0, len(rows), _DECODED)
        graph = build_graph(codes.decode(rows[start : start + _DECODED]) - codes.mean for start in starts)
        seconds, degree = process_time() - before, graph.degree
        beams = [_beam(graph, codes, rows, queries, exact, beam) for beam in BEAMS]
    scanned = rows.size / (scan / 1000)
    return Searched(len(rows), scan, scanned, rate, beams, seconds, 4.0 * degree)


def _beam(graph: Graph, codes: LVQ, rows: Bytes, queries: FloatArray, exact: Sequence[IntArray], beam: int) -> Beam:
    k = len(exact[0])

    def answer(query: FloatArray) -> IntArray:
        return search_graph(graph, codes, query, rows, k, beam)[0]

    found = [answer(query)[0] for query in _singles(queries)]
    recall = np.mean([np.isin(want, have).mean() for want, have in zip(exact, found, strict=True)])
    return Beam(beam, _milliseconds(answer, queries), float(recall))


def _milliseconds(answer: Callable[[FloatArray], object], queries: FloatArray) -> float:
    """CPU milliseconds a query, one at a time; the median of rounds over all."""
    spent = []
    for _ in range(_ROUNDS):
        before = process_time()
        for query in _singles(queries):
            answer(query)
        spent.append((process_time() - before) * 1000 / len(queries))
    return float(np.median(spent))


def _singles(queries: FloatArray) -> list[FloatArray]:
    return [queries[row : row + 1] for row in range(len(queries))]


def read_rate(size: int = 1 << 28) -> float:
    """Bytes a second that one thread reads from memory: in the best of some long products of a vector with itself."""
    numbers = np.ones(size // 4, np.float32)
    spent = []
    for _ in range(_ROUNDS):
        before = perf_counter()
        np.dot(numbers, numbers)
        spent.append(perf_counter() - before)
    return numbers.nbytes / min(spent)


def _noisy(vectors: FloatArray, pool: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Noise is read from a pool at a random place for each thousand vectors: drawing it afresh would cost the most."""
    noisy = vectors.copy()
    for start in range(0, len(noisy), 1000):
        part = noisy[start : start + 1000]
        place = int(rng.integers(0, len(pool) - part.size))
        part += pool[place : place + part.size].reshape(part.shape)
    lengths = np.sqrt(np.einsum("ij,ij->i", noisy, noisy))
    noisy /= np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return noisy
