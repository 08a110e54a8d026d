"""Exploration: some places of a slate are drawn at random, each with a known probability."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from services.ranker.domain.slate.placements import PLACES


def explored(order: Sequence[int], share: float, random: Random) -> tuple[list[int], list[float]]:
    """(order, propensities): with probability `share` one of the first places goes to a row drawn from all left.

    A propensity is that of the row at its place, given the rows above it; 1 beyond the first places.
    """
    left, chosen, propensities = list(order), list[int](), list[float]()
    for _ in range(min(PLACES, len(order))):
        drawn = random.randrange(len(left)) if random.random() < share else 0
        propensities.append(share / len(left) + (1 - share) * (drawn == 0))
        chosen.append(left.pop(drawn))
    return chosen + left, propensities + [1.0] * len(left)


def drawn_rows(before: Sequence[int], order: Sequence[int]) -> frozenset[int]:
    """The rows of the first places of `order` that exploration moved above a row that preceded them in `before`."""
    left, drawn = list(before), set[int]()
    for row in order[:PLACES]:
        if row != left[0]:
            drawn.add(row)
        left.remove(row)
    return frozenset(drawn)
