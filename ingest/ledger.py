"""What a run of ingestion found out while reading: what was left out and why, and which source each record id is of."""

from __future__ import annotations

from collections.abc import Callable, Container

from ..encoders.errors import InvalidInputError
from .options import Note


class Ledger:
    """Notes of one run, and the record ids it has met.

    owner_of: the source that an index has a document id from, or None. living: sources of the index that still
    exist; the ids of others may be taken over, as happens when a file is renamed.
    """

    def __init__(self, owner_of: Callable[[str], str | None], living: Container[str]) -> None:
        self._owner_of = owner_of
        self._living = living
        self._claims: dict[str, str] = {}
        self.skipped: list[Note] = []
        self.failed: list[Note] = []

    def skip(self, source: str, reason: str) -> None:
        """Note that something holds nothing to index."""
        self.skipped.append(Note(source, reason))

    def fail(self, source: str, reason: str) -> None:
        """Note that something cannot be read."""
        self.failed.append(Note(source, reason))

    def claim(self, name: str, source: str) -> None:
        """Reserve a record's own id. Raises `InvalidInputError` when another record or source has it."""
        owner = self._claims.get(name) or self._owner_of(name)
        if name in self._claims or (owner not in (None, source) and owner in self._living):
            raise InvalidInputError(f"the id {name!r:.80} is taken by a record of {owner}: ids must be unique")
        self._claims[name] = source
