"""The attack of benchmarks.adversary on ratings: visitors made for it who all praise one product."""

from __future__ import annotations

from benchmarks.adversary_search import CENTS_OF_CALL, CENTS_OF_VISITOR, Outcome, Parameters, Space
from benchmarks.moderation import gain_of_attack

SPACE: Space = {"visitors": (10, 25, 50, 100, 200), "days": (1, 7, 30, 100), "texts": (1, 5, 50)}
# Simulated shops for each attempt.
_SEEDS = 5


class ReviewAttack:
    """The gain is in stars, of a product of 3 stars with 40 honest reviews. `is_defended` False: the plain mean."""

    space = SPACE

    def __init__(self, is_defended: bool) -> None:
        self._figure = "rating" if is_defended else "plain_mean"

    def attempt(self, parameters: Parameters) -> Outcome:
        visitors = int(parameters["visitors"])
        moved = gain_of_attack(visitors, float(parameters["days"]), int(parameters["texts"]), _SEEDS)
        return Outcome(moved[self._figure], visitors * (CENTS_OF_VISITOR + CENTS_OF_CALL), visitors)
