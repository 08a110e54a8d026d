"""How likely each place is looked at, told from logs alone: what is shown at several places tells them apart.

The position-based model, P(click) = P(place is looked at) x P(item is wanted), by expectation-maximisation (Wang et
al., WSDM 2018), with each item's own rate in the place of a regression.
"""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from training.ranking.examples import Examples
from training.ranking.network import POSITIONS

# Expectation-maximisation comes close slowly.
_ROUNDS = 300
# A click from far below would otherwise count for hundreds.
_LEAST = 0.05


def looked_at(examples: Examples) -> FloatArray:
    """[POSITIONS + 1], place 1 at 1; places never shown are those before them."""
    places, items, clicks = np.clip(examples.positions, 1, POSITIONS), examples.item, examples.click.astype(np.float64)
    shown = np.bincount(places, minlength=POSITIONS + 1)
    looked, wanted = np.full(POSITIONS + 1, 0.5), np.full(len(examples.item_ids), 0.1)
    of_item = np.bincount(items, minlength=len(wanted))
    for _ in range(_ROUNDS):
        theta, gamma = looked[places], wanted[items]
        # Of what was not clicked: was it looked at, was it wanted?
        nothing = 1 - theta * gamma
        seen = np.where(clicks > 0, 1, theta * (1 - gamma) / nothing)
        liked = np.where(clicks > 0, 1, gamma * (1 - theta) / nothing)
        looked = np.where(shown > 0, np.bincount(places, seen, POSITIONS + 1) / np.maximum(shown, 1), looked)
        # One act of every item's kind beside its own: an item shown twice proves little.
        wanted = (np.bincount(items, liked, len(wanted)) + clicks.mean()) / (of_item + 1)
    looked[0] = looked[1]
    for place in range(1, POSITIONS + 1):
        if shown[place] == 0:
            looked[place] = looked[place - 1]
    relative: FloatArray = (looked / max(looked[1], 1e-9)).astype(np.float32)
    return relative


def click_weights(examples: Examples) -> FloatArray:
    """[n]: one over the chance that the example's place is looked at."""
    chance = looked_at(examples)[np.clip(examples.positions, 1, POSITIONS)]
    weights: FloatArray = (1 / np.maximum(chance, _LEAST)).astype(np.float32)
    return weights
