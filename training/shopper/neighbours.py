"""Item-to-item scores at the time of an event: the ranker's own code over counts of an earlier log.

The counts of the running suite also hold the events that a model is measured on; these here do not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from services.ranker.domain.item_counts.followed import changes, newest
from services.ranker.domain.item_counts.neighbours import NEIGHBOURS
from services.ranker.domain.item_counts.of_history import NeighbourColumns, history_weights, items_of, scores_of
from services.ranker.domain.item_counts.relations import Relation, log_mass
from services.ranker.domain.repurchase import day_of
from services.ranker.domain.user_history import UserHistory
from training.shopper.data import TARGET_TYPES, ShopperLog


class Neighbours:
    """Of all persons of a log. `item_ids` are those of its catalogue."""

    def __init__(self, log: ShopperLog, item_ids: Sequence[str]) -> None:
        masses: dict[str, dict[str, float]] = defaultdict(dict)
        totals: dict[str, float] = {}
        # Masses are on a scale that grows with time: relative to one of the log, sums stay in the range of floats.
        base = log_mass(Relation.FOLLOWED, day_of(float(log.times_s.max(initial=0.0))))
        for person in range(len(log.persons)):
            rows = range(int(log.starts[person]), int(log.starts[person + 1]))
            last = {item_ids[log.items[row]]: float(log.times_s[row]) for row in rows if log.types[row] in TARGET_TYPES}
            for (_, first, second), _, mass in changes({}, newest(last)):
                if mass is None:
                    continue
                share = 2.0 ** (mass - base)
                if first == second:
                    totals[first] = totals.get(first, 0.0) + share
                else:
                    masses[first][second] = masses[first].get(second, 0.0) + share
        self._log_totals = {item_id: math.log2(total) + base for item_id, total in totals.items()}
        self._columns = {item_id: _columns(others, base) for item_id, others in masses.items()}

    def scores(self, history: UserHistory, now_s: float) -> Mapping[str, float]:
        """By item, positive, without the items of the history."""
        weights = history_weights(history)
        known = {item_id: self._columns[item_id] for item_id in weights if item_id in self._columns}
        return scores_of(weights, known, self._totals, items_of(history), now_s)

    def _totals(self, item_ids: Sequence[str]) -> Sequence[float]:
        return [self._log_totals.get(item_id, -math.inf) for item_id in item_ids]


def _columns(others: Mapping[str, float], base: float) -> NeighbourColumns:
    strongest = sorted(others, key=lambda item_id: (-others[item_id], item_id))[:NEIGHBOURS]
    return NeighbourColumns(strongest, np.log2([others[item_id] for item_id in strongest]) + base)
