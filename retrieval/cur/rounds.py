"""The loop that ADACUR and AXN share: score a few documents, estimate all from these, score the likeliest, again.

The estimate is one regression (`Surface`) over one array of item vectors. The cost of a round beside the scorer has its
floor in reading that array once: `4 n d` bytes at the bandwidth of one core, 0.3 ms for 50,000 items of 64 dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...encoders.embeddings import FloatArray, IntArray
from ...encoders.errors import InvalidInputError
from .items import Items, Mask, highest
from .judge import Judge, Reranked
from .regression import DoubleArray, Regression


@dataclass(frozen=True)
class Plan:
    """How a budget is spent.

    rounds: how often documents are scored and all are estimated anew. first: documents scored before the first
    estimate; an even share of the rounds when None. reserved: share of the budget, 0 to less than 1, kept for a last
    round of the likeliest ("split"); without it every round is both ("no-split"). sampling: whether a round takes the
    likeliest, or draws by the softmax of the estimates over `temperature` (in units of the scores), without
    replacement. seed: of everything random; equal seeds give equal answers.

    Raises `InvalidInputError` on values out of range.
    """

    rounds: int = 5
    first: int | None = None
    reserved: float = 0.0
    sampling: Literal["top", "softmax"] = "top"
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 1 or (self.first is not None and self.first < 1):
            raise InvalidInputError(f"rounds is {self.rounds}, first is {self.first}; expected at least 1")
        if not 0 <= self.reserved < 1:
            raise InvalidInputError(f"reserved is {self.reserved}; expected a share from 0 to less than 1")
        if self.sampling not in ("top", "softmax") or not 0 < self.temperature < np.inf:
            raise InvalidInputError(f"cannot sample by {self.sampling!r} at a temperature of {self.temperature}")

    def opening(self, budget: int) -> int:
        """Documents to score before the first estimate."""
        share = -(-self._spent_before_the_last(budget) // self.rounds)
        return min(budget, share if self.first is None else self.first)

    def size(self, number: int, left: int, budget: int) -> int:
        """Documents to score in round `number` (from 1, the opening being 0), with `left` calls left of the budget."""
        if number >= self.rounds:
            return left
        free = left - (budget - self._spent_before_the_last(budget))
        return min(left, max(0, -(-free // (self.rounds - number))))

    def _spent_before_the_last(self, budget: int) -> int:
        return max(1, budget - round(self.reserved * budget))


class Surface:
    """Estimated scores of all items, from those scored so far: `beta * prior_i + <v_i, w> + c`.

    The prior is what is believed of each item before anything is scored: its mean, and the inner product of its vector
    with the query's own where there is one. `beta` is 1, or with `scaled` the slope of the scores over the prior, never
    below 0 (it brings a first stage to the scale of the scorer, as the affine map of AXN does, arXiv 2405.03651); what
    is left of the scores is regressed on the item vectors.
    """

    def __init__(
        self,
        items: Items,
        regression: Regression,
        capacity: int,
        *,
        own: FloatArray | None = None,
        scaled: bool = False,
    ) -> None:
        """Estimate from the vectors of `items`, for about `capacity` scored ones. own: `(d,)`, the query's vector."""
        self._items = items
        self._own = np.zeros(items.dim) if own is None else own.astype(np.float64)
        self._scaled = scaled
        self._solver = regression.solver(items.dim, items.scale, capacity)
        self._prior = np.empty(0)
        self._scores = np.empty(0)

    def add(self, rows: IntArray, scores: FloatArray) -> None:
        """Take in `(b,)` rows that were not taken in before, with their exact scores."""
        vectors, means = self._items.take(rows)
        self._prior = np.concatenate([self._prior, vectors @ self._own + means])
        self._scores = np.concatenate([self._scores, scores])
        self._solver.add(vectors)

    def estimate(self) -> FloatArray:
        """`(n,)` float32 estimates, all finite; the caller may write into them."""
        w, beta, c = self._fit()
        with np.errstate(over="ignore"):
            estimates: FloatArray = self._items.scores(w, beta) + np.float32(c)
        return np.nan_to_num(estimates, copy=False)

    def top(self, count: int, allowed: Mask) -> IntArray:
        """The `count` likeliest of the allowed items, best first."""
        w, beta, _ = self._fit()
        return self._items.top(w, beta, count, allowed)

    def _fit(self) -> tuple[DoubleArray, float, float]:
        beta = _slope(self._prior, self._scores) if self._scaled else 1.0
        w, c = self._solver.solve(self._scores - beta * self._prior)
        return w + beta * self._own, beta, c


def run(judge: Judge, surface: Surface, first: IntArray, open_rows: Mask, plan: Plan) -> Reranked:
    """Spend the judge's budget by `plan` and return all that was scored.

    first: `(m,)` distinct rows, best first, of which the opening takes as many as the plan says. open_rows: `(n,)`,
    which rows may be scored, and not yet are; it is changed. Ends early when all are scored.
    """
    rng = np.random.default_rng(plan.seed)
    budget = judge.left
    chosen = first[: plan.opening(budget)]
    _score(judge, surface, chosen, open_rows)
    for number in range(1, plan.rounds + 1):
        size = plan.size(number, judge.left, budget)
        if not size or not open_rows.any():
            continue
        if plan.sampling == "softmax" and number < plan.rounds:
            estimates = _perturbed(surface.estimate(), plan.temperature, rng)
            np.putmask(estimates, ~open_rows, -np.inf)
            rows = highest(estimates, size)
        else:
            rows = surface.top(size, open_rows)
        _score(judge, surface, rows, open_rows)
    return judge.result()


def _score(judge: Judge, surface: Surface, rows: IntArray, open_rows: Mask) -> None:
    surface.add(rows, judge.score(rows))
    open_rows[rows] = False


def _perturbed(estimates: FloatArray, temperature: float, rng: np.random.Generator) -> FloatArray:
    """The highest `k` of the result are a draw of `k` by softmax, without replacement (Gumbel top-k)."""
    exponential = np.maximum(rng.standard_exponential(len(estimates), np.float32), np.float32(1e-30))
    made: FloatArray = estimates / np.float32(temperature) - np.log(exponential)
    return made


def starting_rows(first: npt.ArrayLike, allowed: Mask) -> IntArray:
    """`first` as distinct allowed rows in the same order. Raises `InvalidInputError` on rows that do not exist."""
    rows = np.asarray(first, np.int64).reshape(-1)
    if len(rows) and (rows.min() < 0 or rows.max() >= len(allowed)):
        raise InvalidInputError(f"first has rows from {rows.min()} to {rows.max()}; there are {len(allowed)} items")
    distinct = np.array(list(dict.fromkeys(rows.tolist())), np.int64)
    return distinct[allowed[distinct]]


def open_mask(allowed: npt.ArrayLike | None, count: int) -> Mask:
    """A copy of `allowed`, `(count,)` bool, all when None. Raises `InvalidInputError` on another shape."""
    mask = np.ones(count, np.bool_) if allowed is None else np.array(allowed, np.bool_)
    if mask.shape != (count,):
        raise InvalidInputError(f"allowed has shape {mask.shape}; expected ({count},)")
    return mask


def _slope(prior: DoubleArray, scores: DoubleArray) -> float:
    """Least-squares slope of scores over the prior, at least 0; 0 where the prior says nothing."""
    if not len(prior):
        return 0.0
    centred = prior - prior.mean()
    spread = float(centred @ centred)
    return max(0.0, float(centred @ (scores - scores.mean())) / spread) if spread > 0 else 0.0
