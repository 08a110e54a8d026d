"""The neighbours, by FOLLOWED, of the items that a person acted on last: a score of each, computed with arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.ranker.domain.event import EventType
from services.ranker.domain.item_counts.followed import ITEMS, TYPES
from services.ranker.domain.item_counts.relations import MEASURES, Relation
from services.ranker.domain.user_history import UserHistory

# Each item counts by this factor less than the one after it. Chosen on the validation of relations.MEASURES, where the
# NDCG@10 is .0622, and .0611 with 0.8.
NEWER = 0.7
# What the heaviest event on the item counts. The events of the validation are alike, so these follow from no data:
# they are nearer to each other than in profiles, since what a person clicked last says what the person wants now.
TYPE_WEIGHTS: Mapping[EventType, float] = {
    EventType.DWELL: 1.0,
    EventType.CLICK: 1.0,
    EventType.CART: 1.25,
    EventType.PURCHASE: 1.5,
}
# Neighbours that are looked at, of all items together and of each.
MOST_LOOKED_AT, FEWEST_OF_ITEM = 1_000, 50
_MEASURE = MEASURES[Relation.FOLLOWED]
_DAY_S = 86_400.0


class NeighbourColumns(NamedTuple):
    """Of one item, the strongest neighbour first; both have k entries."""

    item_ids: Sequence[str]
    log_masses: npt.NDArray[np.float64]


def history_weights(history: UserHistory) -> dict[str, float]:
    """By item, newest first, at most ITEMS; they add up to 1."""
    heaviest: dict[str, float] = {}
    for entry in history.recent:
        if entry.type in TYPES and entry.item_id:
            weight = TYPE_WEIGHTS[entry.type]
            if entry.item_id in heaviest:
                heaviest[entry.item_id] = max(weight, heaviest[entry.item_id])
            elif len(heaviest) < ITEMS:
                heaviest[entry.item_id] = weight
    weights = {item_id: own * NEWER**place for place, (item_id, own) in enumerate(heaviest.items())}
    total = sum(weights.values())
    return {item_id: weight / total for item_id, weight in weights.items()}


def most_of_item(items: int) -> int:
    """Neighbours of each of some items that are looked at."""
    return max(FEWEST_OF_ITEM, MOST_LOOKED_AT // max(1, items))


def items_of(history: UserHistory) -> set[str]:
    """The items that the person knows: they are no neighbours."""
    return {entry.item_id for entries in (history.recent, history.purchases) for entry in entries}


def scores_of(
    weights: Mapping[str, float],
    neighbours: Mapping[str, NeighbourColumns],
    log_totals: Callable[[Sequence[str]], Sequence[float]],
    known: Collection[str],
    now_s: float,
    among: Collection[str] | None = None,
) -> dict[str, float]:
    """By item, positive: the mean of the measures of its pairs with the items of `weights`, without `known` items.

    `log_totals` gives log2 of the counts of items, on the scale that grows with time; -infinity where unknown. `among`:
    only the scores of these items are computed.
    """
    if not neighbours:
        return {}
    most = most_of_item(len(neighbours))
    names, masses, owners = list[str](), list[npt.NDArray[np.float64]](), list[int]()
    for item_id in neighbours:
        item_ids, log_masses = neighbours[item_id]
        if among is None:
            names.extend(item_ids[:most])
            masses.append(log_masses[:most])
        else:
            places = [place for place, name in enumerate(item_ids[:most]) if name in among]
            names.extend([item_ids[place] for place in places])
            masses.append(log_masses[places])
        owners.append(len(masses[-1]))
    # Of k pairs. An item cannot have fewer persons than the pair: its total may be older.
    grown = now_s / _DAY_S / _MEASURE.half_life_days
    log_pairs = np.concatenate(masses) - grown
    totals = np.array(log_totals([*neighbours, *names]), np.float64) - grown
    log_own = np.maximum(np.repeat(totals[: len(owners)], owners), log_pairs)
    log_other = np.maximum(totals[len(owners) :], log_pairs)
    expected = np.exp2(_MEASURE.own * log_own + _MEASURE.other * log_other)
    factors = np.repeat([weights[item_id] for item_id in neighbours], owners)
    parts = factors * np.exp2(log_pairs) / (expected + _MEASURE.shrinkage)
    scores: dict[str, float] = {}
    for name, part in zip(names, parts.tolist(), strict=True):
        scores[name] = scores.get(name, 0.0) + part
    for item_id in known:
        scores.pop(item_id, None)
    return scores
