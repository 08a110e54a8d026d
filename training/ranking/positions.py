"""The examination probability of each position, estimated from items that the log shows at several positions.

The position-based model, P(click) = P(position is examined) x P(item is relevant), by expectation-maximisation (Wang et
al., WSDM 2018), with a rate for each item instead of a regression.
"""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.user_features import IntArray
from training.ranking.examples import Examples
from training.ranking.network import POSITIONS

# Expectation-maximisation converges slowly.
_ROUNDS = 300
# Bounds the weight of a click at a position that is rarely examined.
LEAST_EXAMINATION = 0.05


def examination(examples: Examples) -> FloatArray:
    """[POSITIONS + 1], relative to position 1. A position that was never shown has the value of the one before it."""
    return examination_of(examples.positions, examples.item, examples.click)


def examination_of(positions: IntArray, items: IntArray, clicks: FloatArray) -> FloatArray:
    """As `examination`, of n impressions: `positions` [n] from 1, `items` [n] numbers from 0, `clicks` [n] 0 or 1."""
    places, clicks = np.clip(positions, 1, POSITIONS), clicks.astype(np.float64)
    shown, of_item = np.bincount(places, minlength=POSITIONS + 1), np.bincount(items)
    looked, wanted = np.full(POSITIONS + 1, 0.5), np.full(len(of_item), 0.1)
    for _ in range(_ROUNDS):
        theta, gamma = looked[places], wanted[items]
        # The posterior for items that were not clicked: examined, relevant.
        nothing = np.maximum(1 - theta * gamma, 1e-9)
        seen = np.where(clicks > 0, 1, theta * (1 - gamma) / nothing)
        liked = np.where(clicks > 0, 1, gamma * (1 - theta) / nothing)
        looked = np.where(shown > 0, np.bincount(places, seen, POSITIONS + 1) / np.maximum(shown, 1), looked)
        # A prior of one impression at the mean rate, for items with few impressions.
        wanted = (np.bincount(items, liked, len(wanted)) + clicks.mean()) / (of_item + 1)
    looked[0] = looked[1]
    for place in range(1, POSITIONS + 1):
        if shown[place] == 0:
            looked[place] = looked[place - 1]
    relative: FloatArray = (looked / max(looked[1], 1e-9)).astype(np.float32)
    return relative


def click_weights(examples: Examples) -> FloatArray:
    """[n]: the inverse examination probability of the example's position."""
    chance = examination(examples)[np.clip(examples.positions, 1, POSITIONS)]
    weights: FloatArray = (1 / np.maximum(chance, LEAST_EXAMINATION)).astype(np.float32)
    return weights
