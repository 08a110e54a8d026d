"""The probabilities of an order that is explored: of each row at each place, and of one sequence place by place."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.exploration import Policy, place_probabilities
from services.ranker.domain.ranking_request import BoolArray
from training.evaluation.estimates import Doubles, Integers


class ExploredOrder:
    """As services/ranker/domain/exploration.py: `order` [n] holds the rows before it; `may_move` [n] is by row."""

    def __init__(self, order: Integers, may_move: BoolArray, policy: Policy, share: float) -> None:
        self._order, self._policy, self._share = order, policy, share
        first = np.arange(len(order)) >= policy.places.start
        self._moving = np.flatnonzero(may_move[order] & first) if share else np.zeros(0, np.int64)
        count = int((self._moving < policy.places.stop).sum())
        self._count, self._reach = count, min(len(self._moving), count + policy.window - 1) if count else 0

    def chances(self, places: Integers) -> Doubles:
        """[places, n]: of each row at these places."""
        found = np.zeros((len(places), len(self._order)))
        found[np.arange(len(places)), self._order[places]] = 1.0
        if self._count:
            moving = self._moving[: self._reach]
            table = place_probabilities(self._reach, self._count, self._share, self._policy.window)
            at = {place: row for row, place in enumerate(moving.tolist())}
            for row, place in enumerate(places.tolist()):
                if place in at:
                    found[row] = 0.0
                    found[row, self._order[moving]] = table[at[place]]
        return found

    def chances_along(self, length: int) -> Doubles:
        """[length]: of row 0 at place 0, row 1 at place 1 and so on, each given those above; 0 behind the first 0."""
        found, left = np.zeros(length), self._order[self._moving].tolist()
        explored = set(self._moving[: self._count].tolist())
        is_moving = set(self._moving.tolist())
        for row in range(length):
            if row in explored:
                choices = min(self._policy.window, len(left))
                drawn = self._share / choices * (row in left[:choices])
                found[row] = drawn + (1 - self._share) * (row == left[0])
            else:
                found[row] = row == (left[0] if row in is_moving else self._order[row])
            if not found[row]:
                break
            if row in is_moving:
                left.remove(row)
        return found
