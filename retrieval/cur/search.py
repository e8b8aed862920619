"""The three ways to spend a budget of scorer calls on one query; all return every document that was scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import IntArray
from ...encoders.errors import InvalidInputError
from .items import Items, checked_matrix
from .judge import Judge, Reranked
from .regression import Regression
from .rounds import Plan, Surface, open_mask, run, starting_rows

CUR_REGRESSION = Regression()
AXN_REGRESSION = Regression(ridge=1.0)


@dataclass(frozen=True, eq=False)
class AnchorIndex:
    """ANNCUR (arXiv 2210.12579): item vectors, and the items that every query is scored against first.

    anchors: `(k_i,)` int64 distinct rows of `items`, of which any beginning may be used where the budget is small.
    """

    items: Items
    anchors: IntArray

    def __post_init__(self) -> None:
        rows = starting_rows(self.anchors, np.ones(len(self.items), np.bool_))
        if len(rows) != np.size(self.anchors):
            raise InvalidInputError("anchors holds a row twice")
        object.__setattr__(self, "anchors", rows)

    def search(
        self, judge: Judge, *, allowed: npt.ArrayLike | None = None, regression: Regression = CUR_REGRESSION
    ) -> Reranked:
        """Score the anchors, estimate all items from them, score the likeliest with the calls that are left.

        allowed: `(n,)` bool, the items that may be scored; all when None. A budget of no more calls than there are
        anchors is halved between the two.
        """
        return _cur(judge, self.items, self.anchors, allowed, self._plan(judge.left), regression)

    def _plan(self, budget: int) -> Plan:
        return Plan(rounds=1, first=max(1, len(self.anchors) if len(self.anchors) < budget else -(-budget // 2)))


def adacur(
    judge: Judge,
    items: Items,
    first: npt.ArrayLike | None = None,
    *,
    plan: Plan | None = None,
    allowed: npt.ArrayLike | None = None,
    regression: Regression = CUR_REGRESSION,
) -> Reranked:
    """ADACUR (arXiv 2305.02996): as ANNCUR, but the anchors are chosen in rounds, each by what the last have shown.

    first: `(m,)` rows of a first stage, best first, scored in the opening; random rows when None.
    allowed: `(n,)` bool, the items that may be scored; all when None. The answer is never worse than ranking the
    candidates of the opening by their scores.
    """
    plan = plan or Plan()
    rows = np.random.default_rng(plan.seed).permutation(len(items)) if first is None else first
    return _cur(judge, items, rows, allowed, plan, regression)


def axn(
    judge: Judge,
    items: Items,
    query: npt.ArrayLike,
    first: npt.ArrayLike | None = None,
    *,
    plan: Plan | None = None,
    allowed: npt.ArrayLike | None = None,
    regression: Regression = AXN_REGRESSION,
) -> Reranked:
    """AXN (arXiv 2405.03651): a query vector fitted in rounds to the scores of a few documents, from its own as prior.

    items: vectors of any first stage, or of `refine_items`. query: `(d,)`, the query's own vector among them; its inner
    products, brought to the scale of the scores, are what is believed before anything is scored.
    first: `(m,)` rows, best first, scored in the opening, which the likeliest by inner product fill up.
    allowed: `(n,)` bool, the items that may be scored; all when None. The answer is never worse than ranking the
    candidates of the opening by their scores.

    Raises `InvalidInputError` on shapes that do not fit and on values that are not finite.
    """
    plan = plan or Plan()
    own = checked_matrix(np.reshape(np.asarray(query), (1, -1)), "query")[0]
    if len(own) != items.dim:
        raise InvalidInputError(f"the query has {len(own)} dimensions, the items have {items.dim}")
    mask = open_mask(allowed, len(items))
    rows = starting_rows([] if first is None else first, mask)
    wanted = plan.opening(judge.left) - len(rows)
    if wanted > 0:
        others = mask.copy()
        others[rows] = False
        rows = np.concatenate([rows, items.top(own.astype(np.float64), 1.0, wanted, others)])
    surface = Surface(items, regression, judge.left, own=own, scaled=True)
    return run(judge, surface, rows, mask, plan)


def _cur(
    judge: Judge,
    items: Items,
    first: npt.ArrayLike,
    allowed: npt.ArrayLike | None,
    plan: Plan,
    regression: Regression,
) -> Reranked:
    mask = open_mask(allowed, len(items))
    surface = Surface(items, regression, judge.left)
    return run(judge, surface, starting_rows(first, mask), mask, plan)
