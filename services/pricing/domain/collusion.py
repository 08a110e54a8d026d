"""Signs of a collusive equilibrium between a shop's prices and a competitor's (Calvano et al., AER 2020).

Prices above the best response alone say little: costs or the demand model may be wrong, or a price may be fixed. What
keeps collusive prices up is that cuts do not pay: the other side answers a cut, and both return to the higher price.
So both are asked for: the shop's price stays above its best response, and either side answers the other's cuts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The least mean of log(price / best response), and the share of periods in which it is above half of that.
ELEVATION, ELEVATED_SHARE = 0.03, 0.6
# The usual low of a price is its lower quartile in so many periods before: prices may go in cycles.
_BEFORE, _LOW = 30, 0.25
# Periods within which a cut is answered, and within which prices return.
_ANSWER, _RETURN = 3, 15
# How far below the usual low a cut and an answer to it are, and what is still no cut, in logs.
_CUT, _ANSWERED, _STEADY = 0.03, 0.02, 0.01
# Answers of each side that must be seen, and the largest probability that chance makes as many.
ANSWERS, CHANCE = 2, 0.01


@dataclass(frozen=True)
class Answers:
    """`cuts` by one side, and how many of them the other side has `answered`: by a cut from which it returned.

    `chance`: the share of other periods that are followed by such a cut.
    """

    cuts: int
    answered: int
    chance: float

    @property
    def are_usual(self) -> bool:
        """Whether there are more than chance makes."""
        if self.answered < ANSWERS or not 0 < self.chance < 1:
            return self.answered >= ANSWERS and self.chance <= 0
        hit, miss = math.log(self.chance), math.log1p(-self.chance)
        # In logarithms: the binomial coefficients of a thousand cuts are beyond a float.
        ways = math.lgamma(self.cuts + 1)
        as_many = sum(
            math.exp(
                ways - math.lgamma(count + 1) - math.lgamma(self.cuts - count + 1)
                + count * hit + (self.cuts - count) * miss
            )
            for count in range(self.answered, self.cuts + 1)
        )  # fmt: skip
        return as_many <= CHANCE


@dataclass(frozen=True)
class Collusion:
    """`elevation`: mean of log(price / best response). `elevated_share`: periods above half of ELEVATION.

    `by_shop`: answers to the competitor's cuts; `by_competitor`: to the shop's.
    """

    periods: int
    elevation: float
    elevated_share: float
    by_shop: Answers
    by_competitor: Answers

    @property
    def is_elevated(self) -> bool:
        return self.elevation >= ELEVATION and self.elevated_share >= ELEVATED_SHARE

    @property
    def is_suspected(self) -> bool:
        return self.is_elevated and self.by_shop.are_usual and self.by_competitor.are_usual


def together(found: Sequence[Collusion]) -> Collusion:
    """Of several products: sellers price alike what they sell alike, and one product shows few cuts."""
    periods = sum(each.periods for each in found)

    def mean(values: Iterable[float], weights: Sequence[int]) -> float:
        return sum(value * weight for value, weight in zip(values, weights, strict=True)) / max(sum(weights), 1)

    def all_of(answers: Sequence[Answers]) -> Answers:
        cuts = [each.cuts for each in answers]
        chance = mean((each.chance for each in answers), cuts)
        return Answers(sum(cuts), sum(each.answered for each in answers), chance)

    weights = [each.periods for each in found]
    return Collusion(
        periods, mean((each.elevation for each in found), weights),
        mean((each.elevated_share for each in found), weights),
        all_of([each.by_shop for each in found]), all_of([each.by_competitor for each in found]),
    )  # fmt: skip


def signs_of_collusion(own: Floats, competitor: Floats, best_response: Floats) -> Collusion:
    """Of prices by period, all positive, [periods]. `best_response`: to what was known of the competitor then."""
    above = np.log(own / best_response)
    elevation, share = (float(above.mean()), float(np.mean(above > ELEVATION / 2))) if len(own) else (0.0, 0.0)
    logs = np.log(own), np.log(competitor)
    return Collusion(len(own), elevation, share, _answers(logs[1], logs[0]), _answers(logs[0], logs[1]))


def _answers(cutting: Floats, answering: Floats) -> Answers:
    """Of prices in logs."""
    count = len(cutting) - _BEFORE - _ANSWER
    if count <= 0:
        return Answers(0, 0, 0.0)
    periods = np.arange(_BEFORE, _BEFORE + count)
    low, other_low = (
        np.quantile(sliding_window_view(prices, _BEFORE)[:count], _LOW, axis=1) for prices in (cutting, answering)
    )
    # The other side has not cut: this one is no answer itself.
    is_steady = np.minimum(answering[periods - 1], answering[periods]) >= other_low - _STEADY
    is_cut = is_steady & (cutting[periods - 1] >= low - _STEADY) & (cutting[periods] <= low - _CUT)
    is_followed = np.array(
        [
            _is_followed(answering[at + 1 : at + 1 + _RETURN], usual)
            for at, usual in zip(periods, other_low, strict=True)
        ]
    )
    is_other = is_steady & ~is_cut
    chance = float(np.mean(is_followed[is_other])) if is_other.any() else 0.0
    return Answers(int(is_cut.sum()), int((is_cut & is_followed).sum()), chance)


def _is_followed(after: Floats, usual: float) -> bool:
    """Whether prices fall below the usual low at once, and return to it."""
    lowest = int(np.argmin(after[:_ANSWER]))
    return bool(after[lowest] <= usual - _ANSWERED and np.any(after[lowest:] >= usual - _STEADY))
