"""What each of the six groups does to a score: exact Shapley values (Shapley 1953; Lundberg and Lee, NIPS 2017).

A scorer tells the scores when only some groups are known and every other one stands at its baseline: no query, an empty
history, the price and the date of the middle candidate, in stock, no popularity, no sponsor. Six groups have 64
coalitions: all are scored, in one batch, and nothing is sampled. What depends on the request as a whole, such as the
scaling of retrieval's scores, is computed before anything is masked: an item is explained as it was scored among the
others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from services.ranker.domain.event import FloatArray
from services.ranker.domain.ranking import Ranker, RankingRequest, ReasonType, Scores, attention

GROUPS = tuple(ReasonType)
BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.intp]
DoubleArray: TypeAlias = npt.NDArray[np.float64]
# (known groups [c, 6]) -> scores [c, n]
Scorer: TypeAlias = Callable[[BoolArray], FloatArray | DoubleArray]
# Of a score's size: what float32 sums may be off by.
_TOLERANCE = 1e-5


@runtime_checkable
class Explainable(Protocol):
    """A ranker that scores with groups masked: one whose scores are no sum of parts has to be one."""

    def scorer(self, request: RankingRequest, rows: Sequence[int]) -> Scorer:
        """Of these rows, n of them, among all of the request."""

    def acts(self, request: RankingRequest, rows: Sequence[int]) -> FloatArray:
        """[n, items of the profile]: by how much the score would be lower without the acts on each item."""


@dataclass(frozen=True)
class Attribution:
    """Of n items: `baseline` [n], `contributions` [n, 6] in the order of GROUPS, `scores` [n] that they add up to."""

    baseline: DoubleArray
    contributions: DoubleArray
    scores: DoubleArray


def shapley(scorer: Scorer) -> Attribution:
    """Exact. Raises ArithmeticError where the values do not add up: the scorer is no function of what is known."""
    values = np.asarray(scorer(COALITIONS), np.float64)
    baseline, scores = values[0], values[-1]
    # [32, 6, n]: exactly 0 throughout for a group that changes nothing.
    gains = values[_WITH] - values[_WITHOUT]
    contributions = np.einsum("sg,sgn->ng", _SHARES, gains)
    gap = np.abs(baseline + contributions.sum(axis=1) - scores)
    if not (gap <= _TOLERANCE * np.maximum(1.0, np.abs(values).max(axis=0))).all():
        raise ArithmeticError(f"contributions miss the score by {gap.max():.2g}")
    return Attribution(baseline, contributions, scores)


def scorer_of(ranker: Ranker, request: RankingRequest, scores: Scores, rows: Sequence[int]) -> Scorer:
    """For a sum of parts the sum of those known, and the others' baselines; else the ranker's own.

    Raises TypeError for a ranker that is neither.
    """
    if scores.parts:
        return additive(scores, rows)
    if not isinstance(ranker, Explainable):
        raise TypeError(f"{type(ranker).__name__} gives no parts and scores no masked groups")
    return ranker.scorer(request, rows)


def acts_of(ranker: Ranker, request: RankingRequest, scores: Scores, rows: Sequence[int]) -> FloatArray:
    """[n, items of the profile]: how loud each item of the history speaks, by the very attention that scores go by."""
    if not scores.parts and isinstance(ranker, Explainable):
        return ranker.acts(request, rows)
    return attention(request.vectors[list(rows)], request.profile)


def unasked(scorer: Scorer, request: RankingRequest) -> Scorer:
    """For somebody who asked for nothing: retrieval's scores tell of likeness to the history, and count as history.

    Where they are all alike, as those of popular items are, they tell nothing and belong to the baseline.
    """
    query, history = GROUPS.index(ReasonType.QUERY_MATCH), GROUPS.index(ReasonType.RECENT_HISTORY)
    says_nothing = np.ptp(request.retrieval_scores) == 0

    def score(known: BoolArray) -> FloatArray | DoubleArray:
        known = known.copy()
        known[:, query] = says_nothing | known[:, history]
        return scorer(known)

    return score


def additive(scores: Scores, rows: Sequence[int]) -> Scorer:
    """A part is 0 where nothing of it is known; the price, which every item has, is then the middle candidate's."""
    parts, baseline = np.zeros((len(GROUPS), len(rows))), np.zeros((len(GROUPS), 1))
    for place, group in enumerate(GROUPS):
        if group in scores.parts:
            parts[place] = scores.parts[group][list(rows)]
            if group is ReasonType.PRICE_AFFINITY:
                baseline[place] = np.median(scores.parts[group])
    return lambda known: np.where(known[..., None], parts, baseline).sum(axis=1)


def _coalitions() -> BoolArray:
    """[64, 6]: the empty one first, all groups last."""
    numbers = np.arange(2 ** len(GROUPS))
    known: BoolArray = (numbers[:, None] >> np.arange(len(GROUPS)) & 1).astype(np.bool_)
    return known


def _pairs(coalitions: BoolArray) -> tuple[IntArray, IntArray, DoubleArray]:
    """Coalitions (with a group, the same without it, the share of all orders in which it comes so), each [32, 6]."""
    groups = np.arange(coalitions.shape[1])
    without = np.stack([np.flatnonzero(~coalitions[:, group]) for group in groups], axis=1)
    orders = math.factorial(len(groups))
    share = [math.factorial(size) * math.factorial(len(groups) - size - 1) / orders for size in groups]
    return without + (1 << groups), without, np.array(share)[coalitions.sum(axis=1)[without]]


COALITIONS = _coalitions()
_WITH, _WITHOUT, _SHARES = _pairs(COALITIONS)
