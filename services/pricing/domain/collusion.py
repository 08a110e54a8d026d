"""Signs of a collusive equilibrium between a shop's prices and a competitor's (Calvano et al., AER 2020).

Prices above the best response alone say little: costs or the demand model may be wrong, or a price may be fixed. What
keeps collusive prices up is that cuts do not pay: the other side answers a cut, and both return to the higher price.
So both are asked for: the shop's price stays above its best response, and either side answers the other's cuts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of the log of price over best response: the least mean, and the share of periods above half of it.
ELEVATION, ELEVATED_SHARE = 0.03, 0.8
# Periods of which the median is the level of a price, within which a cut is answered, and within which prices return.
_LEVEL, _ANSWER, _RETURN = 5, 3, 15
# A cut, an answer to it, and what still counts as the level, as shares of the level.
_CUT, _ANSWERED, _STEADY = 0.04, 0.02, 0.01
# Cuts of each side that must be seen, and the share of them that must be answered.
CUTS, ANSWERED_SHARE = 3, 0.5


@dataclass(frozen=True)
class Answers:
    """`cuts` by one side out of steady prices, and how many of them the other side has `answered`: with a cut of its
    own, from which it returned.
    """

    cuts: int
    answered: int

    @property
    def is_usual(self) -> bool:
        return self.cuts >= CUTS and self.answered >= ANSWERED_SHARE * self.cuts


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
        return self.is_elevated and self.by_shop.is_usual and self.by_competitor.is_usual


def signs_of_collusion(own: Floats, competitor: Floats, best_response: Floats) -> Collusion:
    """Of prices by period, all positive, [periods]. `best_response`: to what was known of the competitor then."""
    above = np.log(own / best_response)
    elevation, share = (float(above.mean()), float(np.mean(above > ELEVATION / 2))) if len(own) else (0.0, 0.0)
    return Collusion(len(own), elevation, share, _answers(competitor, own), _answers(own, competitor))


def _answers(cutting: Floats, answering: Floats) -> Answers:
    cuts = answered = 0
    period = _LEVEL
    while period < len(cutting) - _ANSWER:
        before, other = (float(np.median(prices[period - _LEVEL : period])) for prices in (cutting, answering))
        is_cut = cutting[period] <= before * (1 - _CUT)
        # The other side has not moved: this cut is no answer itself.
        if is_cut and np.all(np.abs(answering[period - 1 : period + 1] / other - 1) <= _STEADY):
            cuts += 1
            after = answering[period + 1 : period + 1 + _RETURN]
            lowest = int(np.argmin(after[:_ANSWER]))
            has_cut = after[lowest] <= other * (1 - _ANSWERED)
            answered += bool(has_cut and np.any(after[lowest:] >= other * (1 - _STEADY)))
            period += _ANSWER
        period += 1
    return Answers(cuts, answered)
