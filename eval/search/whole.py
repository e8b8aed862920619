"""Whole search of a collection: what engines build, how much memory they take, and how they answer, in turns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import numpy as np

from ...encoders.embeddings import TokenEmbeddings
from ...encoders.errors import InvalidInputError, LatefoldError
from ..corpora import Corpus
from ..machine import peak_memory
from ..vectors import Vectors
from .engines import Engine, Setting

DEPTHS: Final = (10, 100)
BLOCK: Final = 25
"""Queries that a setting answers before the next one has its turn: enough to find its data in the caches again."""
_BRUTE_BLOCK, _WARM, _MEMORY_QUERIES = 3, 2, 50
_FIGURES: Final = "figures.json"


@dataclass(frozen=True)
class Built:
    """An index on disk: seconds it took, bytes of its files, and of token codes alone where they can be told apart."""

    cpu_seconds: float
    wall_seconds: float
    bytes: int
    code_bytes: int | None
    tokens: int


@dataclass(frozen=True)
class Answers:
    """How one setting of an engine answered with its `depth` best.

    recall: share of the exact top `depth` found. cpu_ms: mean milliseconds of CPU a query, of all threads. p50, p95:
    of wall time. blocks_ms: mean CPU milliseconds in each of its turns.
    """

    engine: str
    setting: str
    depth: int
    queries: int
    recall: float
    cpu_ms: float
    p50: float
    p95: float
    blocks_ms: Sequence[float]


def build(engine: Engine, corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Build an index in `folder`, unless it is there, JSON-ready. Raises `LatefoldError` where the engine cannot."""
    figures = folder / _FIGURES
    if figures.is_file():
        known: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
        return known
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wall, cpu = perf_counter(), process_time()
    engine.build(corpus, folder)
    cpu, wall = process_time() - cpu, perf_counter() - wall
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    made = asdict(Built(cpu, wall, size, engine.code_bytes(folder), corpus.documents.tokens))
    figures.write_text(json.dumps(made), encoding="utf-8")
    return made


def memory(engine: Engine, documents: Vectors, queries: Vectors, folder: Path) -> dict[str, Any]:
    """Peak bytes of this process after some searches on one thread, and before the engine was opened, JSON-ready."""
    asked = queries.read(0, min(_MEMORY_QUERIES, len(queries)))
    before = peak_memory()
    _open(engine, documents, folder, threads=1)
    setting = _usual(engine, len(documents))
    for row in range(len(asked) if not engine.brute else 2):
        engine.top(asked.take([row]), DEPTHS[0], setting)
    return {"before": before, "peak": peak_memory()}


def _open(engine: Engine, documents: Vectors, folder: Path, threads: int) -> None:
    if not engine.brute and not (folder / _FIGURES).is_file():
        raise InvalidInputError(f"{engine.name} has built no index")
    engine.open(documents, folder, threads)


def _usual(engine: Engine, documents: int) -> Setting:
    """A setting from the middle."""
    settings = engine.settings(documents)
    return settings[(len(settings) - 1) // 2]


@dataclass(frozen=True)
class _Contestant:
    engine: Engine
    setting: Setting
    depth: int


def contest(
    engines: Sequence[tuple[Engine, Path]], corpus: Corpus, *, threads: int, rounds: int, depths: Sequence[int]
) -> dict[str, Any]:
    """All engines and settings in one process, taking turns at blocks of queries, JSON-ready.

    engines: with the folders that `build` filled. Those that cannot be opened are named with the reason.
    """
    contestants: list[_Contestant] = []
    left_out: dict[str, str] = {}
    documents = len(corpus.documents)
    for engine, folder in engines:
        try:
            _open(engine, corpus.documents, folder, threads)
        except LatefoldError as error:
            left_out[engine.name] = str(error)
            continue
        contestants += [_Contestant(engine, s, depth) for s in engine.settings(documents) for depth in depths]
    queries = [corpus.queries.take([row]) for row in range(len(corpus.queries))]
    records = [_Record(item, min(item.depth, documents)) for item in contestants]
    for record in records:
        record.warm(queries[:_WARM])
    for turn in range(rounds):
        for record in records:
            record.take_turn(queries, turn)
    truth = [row.tolist() for row in corpus.truth]
    return {
        "answers": [asdict(record.answers(truth)) for record in records],
        "left_out": left_out,
        "tokens": corpus.documents.tokens,
        "query_tokens": corpus.queries.tokens / max(1, len(queries)),
        "dim": corpus.documents.dim,
    }


class _Record:
    """What one contestant found, and how long it took."""

    def __init__(self, contestant: _Contestant, depth: int) -> None:
        self._who, self._depth = contestant, depth
        self._found: dict[int, list[int]] = {}
        self._walls: list[float] = []
        self._blocks: list[float] = []

    def warm(self, queries: Sequence[TokenEmbeddings]) -> None:
        """Answer before the clock starts."""
        for query in queries[: 1 if self._who.engine.brute else len(queries)]:
            self._who.engine.top(query, self._depth, self._who.setting)

    def take_turn(self, queries: Sequence[TokenEmbeddings], turn: int) -> None:
        """A block of queries, after the last turn's."""
        size = _BRUTE_BLOCK if self._who.engine.brute else BLOCK
        rows = range(turn * size, min((turn + 1) * size, len(queries)))
        if not rows:
            return
        before = process_time()
        for row in rows:
            start = perf_counter()
            found = self._who.engine.top(queries[row], self._depth, self._who.setting)
            self._walls.append(1000 * (perf_counter() - start))
            self._found[row] = found.tolist()
        self._blocks.append(1000 * (process_time() - before) / len(rows))

    def answers(self, truth: Sequence[Sequence[int]]) -> Answers:
        """The figures."""
        shares = [
            len(set(found) & set(truth[row][: self._depth])) / max(1, min(self._depth, len(truth[row])))
            for row, found in self._found.items()
        ]
        weights = [_BRUTE_BLOCK if self._who.engine.brute else BLOCK] * len(self._blocks)
        if len(self._walls) % weights[0]:
            weights[-1] = len(self._walls) % weights[0]
        return Answers(
            engine=self._who.engine.name,
            setting=self._who.setting.label,
            depth=self._who.depth,
            queries=len(self._found),
            recall=float(np.mean(shares)),
            cpu_ms=float(np.average(self._blocks, weights=weights)),
            p50=float(np.percentile(self._walls, 50)),
            p95=float(np.percentile(self._walls, 95)),
            blocks_ms=self._blocks,
        )
