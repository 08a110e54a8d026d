"""Fits the weights of the weighted sum on lists of candidates: a softmax over each list (ListNet, Cao et al., 2007).

Weights are not negative, and stay near the ranker's defaults where the lists say nothing, for example where all prices
are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from services.ranker.domain.weights import Weights
from training.bootstrap import mean_interval
from training.shopper.data import IntArray
from training.shopper.lists import FEATURES, Lists

Floats = npt.NDArray[np.float64]
# Fewer lists with an action on a candidate say too little.
LEAST_LISTS = 50
# What pulls a weight to its default, in lists: few lists move the weights a little, thousands move them freely.
_PRIOR_LISTS = 30.0
_TOP = 10


@dataclass(frozen=True)
class FittedWeights:
    """NDCG@10 over all lists, those without the item among the candidates counting 0, before and after.

    Of two halves of the lists, each is measured with the weights that the other one gives. `gain_interval`: 95 %, of
    the difference. `ranks` [lists], from 0, are those of the first item with a gain, with the other half's weights.
    """

    weights: Weights
    lists: int
    ranks: IntArray
    ndcg_before: float
    ndcg_after: float
    gain_interval: tuple[float, float]

    def document(self, source: str) -> Mapping[str, object]:
        """As weights.json of a version. `source`: what the lists are of."""
        fitted_on = asdict(self) | {"source": source}
        del fitted_on["weights"], fitted_on["ranks"]
        return asdict(self.weights) | {"fitted_on": fitted_on}


def fit_weights(lists: Lists, default: Weights) -> FittedWeights | None:
    """None: fewer than LEAST_LISTS, or surely a loss on lists that were not fitted on.

    What an item out of stock loses stays the same part of the greatest spread.
    """
    if lists.count < LEAST_LISTS:
        return None
    before = np.array([getattr(default, name) for name in FEATURES])
    halves = np.arange(lists.count) % 2
    after, places = np.empty(lists.count), np.empty(lists.count, np.int64)
    for half in (0, 1):
        fitted = _fit(lists, halves[lists.lists] != half, before)
        own = halves == half
        after[own], places[own] = _gains(lists, fitted)[own], ranks_in(lists, fitted)[own]
    plain = _gains(lists, before)
    share = lists.count / lists.all_lists
    low, high = mean_interval(after - plain, 0)
    if high < 0:
        return None
    final = _fit(lists, np.ones(len(lists.lists), bool), before)
    stretch = _spread(lists, final) / max(_spread(lists, before), 1e-9)
    named = dict(zip(FEATURES, final.tolist(), strict=True))
    return FittedWeights(
        Weights(availability=default.availability * max(1.0, stretch), **named), lists.count, places,
        float(plain.mean() * share), float(after.mean() * share), (low * share, high * share),
    )  # fmt: skip


def _fit(lists: Lists, used: npt.NDArray[np.bool_], start: Floats) -> Floats:
    features, gains = lists.columns()[used], (lists.gains * lists.weights)[used]
    of = np.unique(lists.lists[used], return_inverse=True)[1]
    starts = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
    total = np.add.reduceat(gains, starts)
    count = float(total.sum())
    # A weight is pulled by what it changes in scores, whatever the unit of its feature.
    spread = features.std(axis=0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores = features @ weights
        highest = np.maximum.reduceat(scores, starts)
        exponentials = np.exp(scores - highest[of])
        sums = np.add.reduceat(exponentials, starts)
        log_sums = np.log(sums) + highest
        value = float(total @ log_sums - gains @ scores)
        gradient = features.T @ (exponentials / sums[of] * total[of] - gains)
        apart = (weights - start) * spread
        pulled = value + _PRIOR_LISTS * float(apart @ apart)
        return pulled / count, (gradient + 2 * _PRIOR_LISTS * apart * spread) / count

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(start))
    weights: Floats = found.x
    return weights


def _gains(lists: Lists, weights: Floats) -> Floats:
    """[lists]: NDCG@10 of each times its weight, whose mean is 1; equal scores stand before the item."""
    scores, starts = lists.columns() @ weights, lists.starts
    found = np.empty(lists.count)
    discounts = 1 / np.log2(np.arange(2, _TOP + 2))
    weight = np.add.reduceat(lists.gains * lists.weights, starts)
    for place, (begin, end) in enumerate(zip(starts, [*starts[1:], len(scores)], strict=True)):
        gains, own = (lists.gains * lists.weights)[begin:end], scores[begin:end]
        order = np.lexsort((gains, -own))[:_TOP]
        best = np.sort(gains)[::-1][:_TOP]
        found[place] = gains[order] @ discounts[: len(order)] / (best @ discounts[: len(best)])
    weighted: Floats = found * weight / weight.mean()
    return weighted


def ranks_in(lists: Lists, weights: Floats) -> IntArray:
    """[lists], from 0, of the first candidate with a gain; equal scores stand before it."""
    scores, starts = lists.columns() @ weights, lists.starts
    own = np.maximum.reduceat(np.where(lists.gains > 0, scores, -np.inf), starts)
    before = (scores >= own[lists.lists]) & (lists.gains == 0)
    return np.add.reduceat(before.astype(np.int64), starts)


def _spread(lists: Lists, weights: Floats) -> float:
    """The mean over lists of the greatest difference of two scores."""
    scores, starts = lists.columns() @ weights, lists.starts
    return float((np.maximum.reduceat(scores, starts) - np.minimum.reduceat(scores, starts)).mean())
