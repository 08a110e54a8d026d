"""How much each of the six groups contributes to a score: exact Shapley values (Shapley 1953; Lundberg, NIPS 2017).

A scorer gives the scores when only some groups are known and every other one is at its baseline: no query, an empty
history, the median price and date of the candidates, in stock, no popularity, no sponsor. Six groups have 64
coalitions: all are scored, in one batch, and nothing is sampled. What depends on the request as a whole, such as the
scale of retrieval's scores, is computed before anything is masked: an item is explained as it was scored among the
others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.attention import attention
from services.ranker.domain.event_shares import Basis
from services.ranker.domain.ranking_request import BoolArray, RankingRequest
from services.ranker.domain.reasons import GROUPS, ReasonType
from services.ranker.domain.scores import Masked, Scores

IntArray: TypeAlias = npt.NDArray[np.intp]
DoubleArray: TypeAlias = npt.NDArray[np.float64]
# (known groups [c, 6]) -> scores [c, n]
Scorer: TypeAlias = Callable[[BoolArray], npt.NDArray[np.floating[Any]]]
# The error of a float32 sum, relative to the size of a score.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Attribution:
    """Of n items: `baseline` [n], `contributions` [n, 6] in the order of GROUPS, `scores` [n], the sum of both."""

    baseline: DoubleArray
    contributions: DoubleArray
    scores: DoubleArray


def shapley(scorer: Scorer) -> Attribution:
    """Raises ArithmeticError if the values do not add up: then the scorer is no function of the known groups."""
    values = np.asarray(scorer(COALITIONS), np.float64)
    baseline, scores = values[0], values[-1]
    # [32, 6, n]: exactly 0 throughout for a group that changes nothing.
    gains = values[_WITH] - values[_WITHOUT]
    contributions = np.einsum("sg,sgn->ng", _SHARES, gains)
    gap = np.abs(baseline + contributions.sum(axis=1) - scores)
    if not (gap <= _TOLERANCE * np.maximum(1.0, np.abs(values).max(axis=0))).all():
        raise ArithmeticError(f"contributions miss the score by {gap.max():.2g}")
    return Attribution(baseline, contributions, scores)


def masked_of(request: RankingRequest, scores: Scores, rows: Sequence[int]) -> Masked | None:
    """The ranker's own, or the sum of those parts that are known. None for a ranker that has neither."""
    if scores.masked is not None:
        return scores.masked(rows)
    return MaskedSum(request, scores, rows) if scores.parts else None


class MaskedSum:
    """A masked part is 0; that of the price, which every item has, is then the median of the candidates."""

    def __init__(self, request: RankingRequest, scores: Scores, rows: Sequence[int]) -> None:
        self._request, self._rows = request, list(rows)
        self._of_history = {basis: part[self._rows] for basis, part in scores.of_history.items()}
        self._parts = np.zeros((len(GROUPS), len(rows)), np.float32)
        self._baseline = np.zeros((len(GROUPS), 1), np.float32)
        for place, group in enumerate(GROUPS):
            if group in scores.parts:
                self._parts[place] = scores.parts[group][self._rows]
                if group is ReasonType.PRICE_AFFINITY:
                    self._baseline[place] = np.median(scores.parts[group])

    def score(self, known: BoolArray) -> DoubleArray:
        total: DoubleArray = np.where(known[..., None], self._parts, self._baseline).sum(axis=1)
        return total

    def influences(self) -> FloatArray:
        """By the attention that the history's part is made of."""
        return attention(self._request.vectors[self._rows], self._request.profile)

    def of_history(self) -> Mapping[Basis, FloatArray]:
        return self._of_history


def unasked(scorer: Scorer, request: RankingRequest) -> Scorer:
    """For a request without a query: retrieval's scores are similarities to the history, and count as history.

    If they are all equal, as those of popular items are, they belong to the baseline.
    """
    query, history = GROUPS.index(ReasonType.QUERY_MATCH), GROUPS.index(ReasonType.RECENT_HISTORY)
    is_constant = np.ptp(request.retrieval_scores) == 0

    def score(known: BoolArray) -> npt.NDArray[np.floating[Any]]:
        known = known.copy()
        known[:, query] = is_constant | known[:, history]
        return scorer(known)

    return score


def _coalitions() -> BoolArray:
    """[64, 6]: the empty one first, all groups last."""
    numbers = np.arange(2 ** len(GROUPS))
    known: BoolArray = (numbers[:, None] >> np.arange(len(GROUPS)) & 1).astype(np.bool_)
    return known


def _pairs(coalitions: BoolArray) -> tuple[IntArray, IntArray, DoubleArray]:
    """(coalitions with a group, the same without it, the share of all orders of the groups that have this step).

    Each [32, 6].
    """
    groups = np.arange(coalitions.shape[1])
    without = np.stack([np.flatnonzero(~coalitions[:, group]) for group in groups], axis=1)
    orders = math.factorial(len(groups))
    share = [math.factorial(size) * math.factorial(len(groups) - size - 1) / orders for size in groups]
    return without + (1 << groups), without, np.array(share)[coalitions.sum(axis=1)[without]]


COALITIONS = _coalitions()
_WITH, _WITHOUT, _SHARES = _pairs(COALITIONS)
