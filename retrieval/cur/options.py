"""What a caller asks of a search that ends with an expensive scorer, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ...encoders.errors import InvalidInputError
from ...encoders.scorers.base import ScoreFunction, Scorer, as_scorer
from .rounds import Plan

Method = Literal["axn", "adacur", "anncur", "rerank"]
PLAN = Plan(rounds=5)
MAX_BUDGET = 100_000
"""Calls that one query may be given; more are a mistake."""


@dataclass(frozen=True, eq=False)
class CrossEncoderSearch:
    """End a search with a scorer of query and document pairs, within a number of its calls for each query.

    scorer: a cross-encoder (`load_scorer`), or any function of pairs. budget: calls a query, each text counted once;
    all hits are among the documents that were scored. method: how documents to score are chosen:

    - `axn`: in rounds, by a regression of the scores on stored vectors, MaxSim, BM25 and inner product (after arXiv
      2405.03651), among the best of single vectors and of BM25: five for each call, and a thousand at least. Nothing
      is needed before; what `Index.factorize` made for this scorer is used.
    - `adacur`, `anncur`: in rounds or at once, by the vectors that `Index.factorize` made for this scorer (arXiv
      2305.02996, 2210.12579).
    - `rerank`: the best candidates of the search mode, in their order.

    plan: rounds, sampling and seed of `axn` and `adacur`; five rounds of the likeliest when None.

    Raises `InvalidInputError` on a budget out of range, another method and what is no scorer.
    """

    scorer: Scorer | ScoreFunction
    budget: int = 200
    method: Method = "axn"
    plan: Plan | None = None

    def __post_init__(self) -> None:
        if isinstance(self.budget, bool) or not isinstance(self.budget, int) or not 1 <= self.budget <= MAX_BUDGET:
            raise InvalidInputError(f"budget is a whole number from 1 to {MAX_BUDGET}, got {self.budget!r:.40}")
        if self.method not in get_args(Method):
            raise InvalidInputError(f"no method {self.method!r:.40}; there are {', '.join(get_args(Method))}")
        as_scorer(self.scorer)

    @property
    def planned(self) -> Plan:
        """How the budget is spent in rounds."""
        return self.plan or PLAN

    @property
    def depth(self) -> int:
        """How many candidates of the usual stages of a search are scored; 0 where the method finds its own."""
        if self.method in ("anncur", "axn"):
            return 0
        return self.budget if self.method == "rerank" else self.planned.opening(self.budget)

    @property
    def reads_vectors(self) -> bool:
        """Whether the query's token vectors are of use beside the candidates."""
        return self.method == "axn"


@dataclass(frozen=True)
class Spent:
    """What one query cost. calls: pairs that the scorer was asked, at most the budget; rounds: how often it was."""

    calls: int
    rounds: int
