"""Texts on their way into a model: checked, and grouped by length so that batches waste little on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .embeddings import IntArray
from .errors import InvalidInputError


def length_batches(lengths: IntArray, budget: int) -> Iterator[IntArray]:
    """Positions of the items in batches of near-equal length, longest first, of at most `budget` tokens each.

    lengths: `(n,)` int64 tokens of each item. An item longer than the budget is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    start = total = 0
    for place, item in enumerate(order):
        if place > start and total + int(lengths[item]) > budget:
            yield order[start:place]
            start, total = place, 0
        total += int(lengths[item])
    if start < len(order):
        yield order[start:]


def require_list(texts: Sequence[str]) -> None:
    """Refuse one string where a list of strings is meant, with `InvalidInputError`."""
    if isinstance(texts, str):
        raise InvalidInputError("expected a list of texts, got one text; put it in a list")
