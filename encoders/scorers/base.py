"""The contract of a scorer of pairs, any Python callable as one, and the check of what a scorer answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..embeddings import FloatArray
from ..errors import InvalidInputError, ScorerError

Pair = tuple[str, str]
"""`(query, document)`, both as text."""
ScoreFunction = Callable[[Sequence[Pair]], npt.ArrayLike]


@runtime_checkable
class Scorer(Protocol):
    """Something that says how well documents answer queries, such as a cross-encoder."""

    @property
    def fingerprint(self) -> str:
        """What must be equal for two scorers to give equal scores; empty where that is not known."""
        ...

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """`(n,)` float32, one finite number a pair in the order of `pairs`; more is better, the scale is its own."""
        ...


class CallableScorer:
    """A Python function as a scorer.

    name: identity of the scores for a cache; a function without one is not cached, since nothing says what it computes.
    """

    def __init__(self, function: ScoreFunction, name: str = "") -> None:
        self._function = function
        self._name = name

    @property
    def fingerprint(self) -> str:
        """`callable:` and the name; empty without a name."""
        return f"callable:{self._name}" if self._name else ""

    def score(self, pairs: Sequence[Pair]) -> FloatArray:
        """What the function returns for `pairs`, as `(n,)` float32. Raises `ScorerError` as `checked_scores` does."""
        return checked_scores(self._function(pairs), len(pairs), self._name or "the scorer")


def as_scorer(scorer: Scorer | ScoreFunction) -> Scorer:
    """`scorer` itself, or a nameless `CallableScorer` of a function. Raises `InvalidInputError` for anything else."""
    if callable(getattr(scorer, "score", None)):  # isinstance would ask for the fingerprint, which may read all weights
        return cast("Scorer", scorer)
    if not callable(scorer):
        raise InvalidInputError(f"a scorer has a method score(pairs) or is a function of pairs; got {type(scorer)}")
    return CallableScorer(scorer)


def checked_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """`pairs` as a list of tuples. Raises `InvalidInputError` where one is not two strings."""
    if isinstance(pairs, str):
        raise InvalidInputError("expected a list of (query, document) pairs, got one text")
    checked: list[Pair] = []
    for number, pair in enumerate(pairs):
        texts = tuple(pair)
        if isinstance(pair, str) or len(texts) != 2 or not all(isinstance(text, str) for text in texts):
            raise InvalidInputError(f"pair {number} is no (query, document) of two texts")
        checked.append((texts[0], texts[1]))
    return checked


def checked_scores(answer: npt.ArrayLike, count: int, name: str) -> FloatArray:
    """What a scorer answered for `count` pairs, as `(count,)` float32; a trailing axis of one is dropped.

    Raises `ScorerError` naming the scorer on another shape, on what are no numbers, and on NaN and infinite values,
    which no ranking by score survives; a value that float32 cannot hold is infinite.
    """
    try:
        with np.errstate(over="ignore"):
            scores = np.array(answer, np.float32)
    except (TypeError, ValueError) as error:
        raise ScorerError(f"{name} answered something other than numbers: {error}") from error
    if scores.shape == (count, 1):
        scores = scores[:, 0]
    if scores.shape != (count,):
        raise ScorerError(f"{name} answered scores of shape {scores.shape} for {count} pairs; expected ({count},)")
    finite = np.isfinite(scores)
    if not finite.all():
        raise ScorerError(f"{name} answered {scores[~finite][0]} for pair {int(np.argmin(finite))}; expected a number")
    return scores
