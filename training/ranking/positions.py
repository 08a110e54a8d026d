"""The examination probability of each position, estimated from items that the log shows at several positions.

The position-based model, P(click) = P(position is examined) x P(item is relevant): the expected clicks of item i at
position k are examination_k x rate_i x impressions_ik. Both factors are fitted by the Poisson likelihood. Its estimate
of the examination is that of the conditional likelihood given the clicks of each item (Hausman, Hall & Griliches,
Econometrica 1984): consistent with a few impressions of each of many items, and whichever items the shop puts first.
Expectation-maximisation with a rate for each item (Wang et al., WSDM 2018, without their regression) is not.
"""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.user_features import IntArray
from training.ranking.examples import Examples
from training.ranking.network import POSITIONS

_ROUNDS, _TOLERANCE = 300, 1e-5
# Clicks for which the position before stands: little evidence changes the curve little.
_PRIOR = 5.0
# Bounds the weight of a click at a position that is rarely examined.
LEAST_EXAMINATION = 0.05


def examination(examples: Examples) -> FloatArray:
    """[POSITIONS + 1], relative to position 1. A position that was never shown has the value of the one before it."""
    return examination_of(examples.positions, examples.item, examples.click)


def examination_of(positions: IntArray, items: IntArray, clicks: FloatArray) -> FloatArray:
    """As `examination`, of n impressions: `positions` [n] from 1, `items` [n] numbers from 0, `clicks` [n] 0 or 1.

    The number of items has no bound: an item may be a pair of query and product. Items without a click say nothing.
    """
    own = np.bincount(items, clicks)
    said = own[items] > 0
    places, items, clicks = np.clip(positions, 1, POSITIONS)[said], items[said], clicks[said]
    at_place, looked = np.bincount(places, clicks, POSITIONS + 1), np.ones(POSITIONS + 1)
    for _ in range(_ROUNDS):
        rates = own / np.maximum(np.bincount(items, looked[places], len(own)), 1e-9)
        expected, before = np.bincount(places, rates[items], POSITIONS + 1), looked.copy()
        for place in range(1, POSITIONS + 1):
            looked[place] = (at_place[place] + _PRIOR) / (expected[place] + _PRIOR / looked[place - 1])
        # Only the products of examinations and rates are known.
        looked[1:] /= looked[1]
        if np.abs(looked - before).max() < _TOLERANCE:
            break
    return looked.astype(np.float32)


def click_weights(examples: Examples) -> FloatArray:
    """[n]: the inverse examination probability of the example's position."""
    chance = examination(examples)[np.clip(examples.positions, 1, POSITIONS)]
    weights: FloatArray = (1 / np.maximum(chance, LEAST_EXAMINATION)).astype(np.float32)
    return weights
