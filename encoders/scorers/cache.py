"""Scores remembered in a file, so that no pair is paid for twice, by whatever process.

A SQLite database of one row a pair: the fingerprint of the scorer, 128-bit hashes of both texts, the float32 score, and
a checksum of these. It holds no text. Delete the file to empty it.
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import numpy as np
import xxhash

from ..embeddings import FloatArray
from ..errors import InvalidInputError, ScoreCacheError, StorageError
from .base import Pair, ScoreFunction, Scorer, as_scorer, checked_pairs, checked_scores

APPLICATION_ID: Final = 0x6C665343  # "lfSC"
VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE scores (
    scorer BLOB NOT NULL, query BLOB NOT NULL, document BLOB NOT NULL, score BLOB NOT NULL,
    PRIMARY KEY (query, document, scorer)
) WITHOUT ROWID
"""
_WAIT_SECONDS: Final = 30.0
_REMEDY: Final = "delete the file, its scores are computed again"
_ERRNO: Final = {
    sqlite3.SQLITE_BUSY: errno.EAGAIN,
    sqlite3.SQLITE_LOCKED: errno.EAGAIN,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_FULL: errno.ENOSPC,
}
"""Result codes that blame the machine and not the bytes of the file."""
Key = tuple[bytes, bytes, bytes]
"""Hashes of the scorer's fingerprint, the query and the document, 16 bytes each."""


class ScoreCache:
    """The scores in one file, made where there is none. Several threads and processes may use it.

    Raises `ScoreCacheError` naming the file when it is damaged or no file of scores, and `StorageError` when the
    operating system refuses.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        with self._typed_errors():
            self._database = sqlite3.connect(
                self._path, isolation_level=None, timeout=_WAIT_SECONDS, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def find(self, keys: Sequence[Key]) -> dict[Key, float]:
        """The known ones of `keys`, each with its score."""
        known: dict[Key, float] = {}
        select = "SELECT score FROM scores WHERE scorer = ? AND query = ? AND document = ?"
        with self._lock, self._typed_errors():
            for key in keys:
                row = self._database.execute(select, key).fetchone()
                if row is not None:
                    known[key] = self._unpacked(key, row[0])
        return known

    def store(self, keys: Sequence[Key], scores: FloatArray) -> None:
        """Remember `(n,)` float32 scores, all or none; those of known keys are replaced."""
        rows = [(*key, _packed(key, float(score))) for key, score in zip(keys, scores, strict=True)]
        with self._lock, self._typed_errors(), self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file; the cache cannot be used any more."""
        with self._lock:
            self._database.close()

    def __len__(self) -> int:
        with self._lock, self._typed_errors():
            return int(self._database.execute("SELECT count(*) FROM scores").fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        """Make the table of a new file; refuse one that is another program's, or of another version."""
        run = self._database.execute
        run("PRAGMA cell_size_check = ON")
        with self._transaction():
            found, version, tables = (
                run(statement).fetchone()[0]
                for statement in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
            )
            if (found, version, tables) == (0, 0, 0):
                run(_SCHEMA)
                run(f"PRAGMA application_id = {APPLICATION_ID}")
                run(f"PRAGMA user_version = {VERSION}")
            elif (found, version) != (APPLICATION_ID, VERSION):
                raise ScoreCacheError(f"{self._path} is no file of scores of version {VERSION}: name another file")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")

    def _unpacked(self, key: Key, stored: object) -> float:
        if isinstance(stored, bytes) and len(stored) == 12:
            (score,) = struct.unpack("<f", stored[:4])
            if stored == _packed(key, score):
                return float(score)
        raise ScoreCacheError(f"a score in {self._path} differs from its checksum: {_REMEDY}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise InvalidInputError(f"the file of scores {self._path} was closed: open it again to use it") from error
        except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite quotes the damaged bytes in its own message
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            number = _ERRNO.get(code & 0xFF)
            if number is None or code == sqlite3.SQLITE_IOERR_SHORT_READ:
                raise ScoreCacheError(f"{self._path} is damaged ({error!r}): {_REMEDY}") from error
            raise StorageError(number, f"cannot use the file of scores {self._path}: {error}") from error


class CachedScorer:
    """A scorer whose answers are remembered: only pairs that the file does not hold reach it.

    Put a `CountedScorer` inside to count what the model is asked, or around to count what is asked for at all.
    """

    def __init__(self, scorer: Scorer | ScoreFunction, cache: ScoreCache) -> None:
        """Raises `InvalidInputError` for a scorer without a fingerprint: its scores could be taken for another's."""
        self._scorer = as_scorer(scorer)
        self._cache = cache
        if not self._scorer.fingerprint:
            raise InvalidInputError("a scorer without a fingerprint cannot be cached: CallableScorer(function, name)")
        self._identity = _hash(self._scorer.fingerprint)

    @property
    def fingerprint(self) -> str:
        """That of the scorer inside."""
        return self._scorer.fingerprint

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """`(n,)` float32 scores, remembered or made now, and then remembered before they are returned."""
        asked = checked_pairs(pairs)
        hashes = {text: _hash(text) for pair in asked for text in pair}
        keys = {pair: (self._identity, hashes[pair[0]], hashes[pair[1]]) for pair in asked}
        known = self._cache.find(list(keys.values()))
        missing = [pair for pair, key in keys.items() if key not in known]
        if missing:
            made = checked_scores(self._scorer.score(missing), len(missing), "the scorer")
            own = [keys[pair] for pair in missing]
            self._cache.store(own, made)
            known.update(zip(own, made.tolist(), strict=True))
        return np.array([known[keys[pair]] for pair in asked], np.float32)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _packed(key: Key, score: float) -> bytes:
    """The score as float32, little-endian, and a checksum of it and its key, 12 bytes in all."""
    value = struct.pack("<f", score)
    return value + xxhash.xxh3_64_digest(b"".join(key) + value)
