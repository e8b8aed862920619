"""Which texts share words with judged collections: what a model is judged on must not be what it learnt from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from pathlib import Path

from ..errors import InvalidInputError

SHARED_WORDS = 9
"""Words in a row that two texts have in common by copying rather than by chance."""
SHORTEST = 4
"""Words of the shortest text that counts as a run by itself; below it, equal texts are chance."""
_WORDS = re.compile(r"\w+")


def seen_runs(data: Path) -> set[int]:
    """Hashes of all runs of words of the BEIR collections in the folder `data`, documents and queries.

    Raises `InvalidInputError` where there is no collection, or one cannot be read.
    """
    found: set[int] = set()
    paths = sorted([*data.glob("*/corpus.jsonl"), *data.glob("*/queries.jsonl")])
    if not paths:
        raise InvalidInputError(f"{data} holds no folder with corpus.jsonl or queries.jsonl")
    for path in paths:
        try:
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    record = json.loads(line)
                    found.update(runs(f"{record.get('title', '')} {record['text']}"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(f"{path} is no file of a BEIR collection: {error!r}") from error
    return found


def overlaps(text: str, seen: AbstractSet[int]) -> bool:
    """Whether a text has a run of words among the `seen` ones."""
    return any(run in seen for run in runs(text))


def runs(text: str) -> Iterator[int]:
    """Hashes of all runs of `SHARED_WORDS` words of a text; a shorter one of some words is one run by itself."""
    words = _WORDS.findall(text.lower())
    if SHORTEST <= len(words) < SHARED_WORDS:
        yield _hash(words)
    for start in range(len(words) - SHARED_WORDS + 1):
        yield _hash(words[start : start + SHARED_WORDS])


def _hash(words: Sequence[str]) -> int:
    """64 bits that equal words have in common, in every process."""
    return int.from_bytes(sha256(" ".join(words).encode("utf-8", "replace")).digest()[:8], "big")
