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
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
_MEASURE = MEASURES[Relation.FOLLOWED]
_DAY_S = 86_400.0


class NeighbourColumns(NamedTuple):
    """Of one item, the strongest neighbour first; both have k entries."""

    item_ids: Sequence[str]
    log_masses: DoubleArray


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


class Pairs(NamedTuple):
    """Of a person's k items, `own`, with their neighbours, m pairs in all: the item's place in `own`, [m], the
    neighbour's id, and log2 of the pair's count [m].
    """

    own: Sequence[str]
    places: IntArray
    item_ids: Sequence[str]
    log_masses: DoubleArray


def pairs_of(neighbours: Mapping[str, NeighbourColumns]) -> Pairs:
    """The strongest of each item."""
    most, columns = most_of_item(len(neighbours)), list(neighbours.values())
    masses = [each.log_masses[:most] for each in columns]
    return Pairs(
        list(neighbours),
        np.repeat(np.arange(len(columns)), [len(of) for of in masses]),
        [item_id for each in columns for item_id in each.item_ids[:most]],
        np.concatenate([np.zeros(0), *masses]),
    )


def parts_of(
    weights: DoubleArray, log_own: DoubleArray, log_other: DoubleArray, log_masses: DoubleArray, now_s: float
) -> DoubleArray:
    """What each of m pairs adds to the score of its neighbour [m]: the measure of the pair, times its weight.

    All are [m]: `weights` of the person's item; log2 of the counts of that item, of the neighbour, and of the pair, on
    the scale that grows with time; -infinity where unknown.
    """
    grown = now_s / _DAY_S / _MEASURE.half_life_days
    log_pairs = log_masses - grown
    # An item cannot have fewer persons than the pair: its total may be older.
    log_own, log_other = np.maximum(log_own - grown, log_pairs), np.maximum(log_other - grown, log_pairs)
    expected = np.exp2(_MEASURE.own * log_own + _MEASURE.other * log_other)
    parts: DoubleArray = weights * np.exp2(log_pairs) / (expected + _MEASURE.shrinkage)
    return parts


def scores_of(
    weights: Mapping[str, float],
    neighbours: Mapping[str, NeighbourColumns],
    log_totals: Callable[[Sequence[str]], Sequence[float]],
    known: Collection[str],
    now_s: float,
) -> dict[str, float]:
    """By item, positive: the mean of the measures of its pairs with the items of `weights`, without `known` items.

    `log_totals` gives log2 of the counts of items, as `parts_of` takes them.
    """
    if not neighbours:
        return {}
    own, places, item_ids, log_masses = pairs_of(neighbours)
    totals, of_own = np.array(log_totals([*own, *item_ids]), np.float64), np.array([weights[name] for name in own])
    parts = parts_of(of_own[places], totals[: len(own)][places], totals[len(own) :], log_masses, now_s)
    scores: dict[str, float] = {}
    for name, part in zip(item_ids, parts.tolist(), strict=True):
        scores[name] = scores.get(name, 0.0) + part
    for item_id in known:
        scores.pop(item_id, None)
    return scores
