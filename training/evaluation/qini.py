"""The Qini curve (Radcliffe, 2007): what a treatment gains if only the persons with the highest scores get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.evaluation.estimates import Doubles, Integers

DRAWS = 500


@dataclass(frozen=True)
class Qini:
    """`value`: the mean distance of the curve above the line of a random order, in outcomes a person. `low` and `high`:
    95 % by the bootstrap over persons. `above_baseline`: (difference, low, high) against the baseline's, paired.
    """

    value: float
    low: float
    high: float
    above_baseline: tuple[float, float, float]


def curve(scores: Doubles, treated: Integers, outcomes: Doubles, weights: Doubles | None = None) -> Doubles:
    """[n]: the gain, in outcomes a person of all n, of treating the first i + 1 by falling score.

    `weights` [n]: how often each person counts.
    """
    order = np.argsort(-scores, kind="stable")
    return _curve(treated[order], outcomes[order], np.ones(len(order)) if weights is None else weights[order])


def qini(scores: Doubles, treated: Integers, outcomes: Doubles) -> float:
    count = np.ones(len(scores))
    order = np.argsort(-scores, kind="stable")
    return _area(treated[order], outcomes[order], count)


def compared(
    scores: Mapping[str, Doubles], baseline: str, treated: Integers, outcomes: Doubles, seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Qini]:  # fmt: skip
    """Of several learners on the same persons, with intervals from the same draws; the models are not fitted again."""
    random, n = np.random.default_rng(seed), len(treated)
    # Persons with equal scores stand in an arbitrary order: not that of the file.
    chance = random.random(n)
    orders = {name: np.lexsort((chance, -of)) for name, of in scores.items()}
    found = {name: _area(treated[order], outcomes[order], np.ones(n)) for name, order in orders.items()}
    drawn: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(draws):
        weights = random.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
        for name, order in orders.items():
            drawn[name].append(_area(treated[order], outcomes[order], weights[order]))
    made = {}
    for name, value in found.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        differences = np.array(drawn[name]) - np.array(drawn[baseline])
        less, more = np.quantile(differences, [0.025, 0.975])
        made[name] = Qini(value, float(low), float(high), (value - found[baseline], float(less), float(more)))
    return made


def _area(treated: Integers, outcomes: Doubles, weights: Doubles) -> float:
    gains = _curve(treated, outcomes, weights)
    people = np.cumsum(weights) / weights.sum()
    return float((weights * (gains - people * gains[-1])).sum() / weights.sum())


def _curve(treated: Integers, outcomes: Doubles, weights: Doubles) -> Doubles:
    """In the order of the persons. What the control's rate would have given the treated ones is subtracted."""
    of_treated, of_control = weights * treated, weights * (1 - treated)
    n_treated, n_control = np.cumsum(of_treated), np.cumsum(of_control)
    won, own = np.cumsum(of_treated * outcomes), np.cumsum(of_control * outcomes)
    expected = own * n_treated / np.maximum(n_control, 1e-9)
    gained = np.where(n_control > 0, won - expected, 0.0)
    # In outcomes of a treated person: the gain of treating everybody is the average effect.
    found: Doubles = gained / max(float(n_treated[-1]), 1.0)
    return found
