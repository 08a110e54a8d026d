"""A user's profile: a pure function of the user history, so that late and repeated events change nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.user_history import (
    EVENT_WEIGHTS,
    LASTING_HALF_LIFE_S,
    UserHistory,
    event_weight,
    lasting_by_id,
    lasting_weights,
)

# Short-term interest fades within the hour, and with each further event.
NOW_HALF_LIFE_S = 30 * 60.0
NOW_HALF_LIFE_EVENTS = 1.5
# The highest share of short-term interest against long-term taste, and the weight at which it has half of that share.
NOW_SHARE = 0.9
NOW_HALF_WEIGHT = 0.1
# The share of long-term weight that counts towards the profile's total weight.
LASTING_SHARE = 0.2
MAX_CATEGORIES = 16
# Few events are no evidence of a narrow price range.
LEAST_PRICE_SPREAD = 0.5


@dataclass(frozen=True)
class PriceTaste:
    """Weighted mean and standard deviation of the logarithm of prices."""

    mean: float
    spread: float


@dataclass(frozen=True)
class Profile:
    """Rows of `vectors` [n, dimensions] are unit vectors of the history's items, `weights` [n] their weights.

    `prices` are by category, those of the greatest weight first; `price` is over all. `shown_without_click` counts the
    impressions of an item since the last event on it. `brands` and `categories` [n] are those of the items, "" where
    unknown.
    """

    item_ids: tuple[str, ...]
    vectors: FloatArray
    weights: FloatArray
    price: PriceTaste | None = None
    prices: Mapping[str, PriceTaste] = field(default_factory=dict)
    shown_without_click: Mapping[str, int] = field(default_factory=dict)
    brands: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.item_ids)

    def without(self, row: int) -> Profile:
        """The profile as if there were no events on the item of this row."""
        others = np.delete(np.arange(self.size), row)
        item_ids, brands, categories = (
            (*column[:row], *column[row + 1 :]) for column in (self.item_ids, self.brands, self.categories)
        )
        return replace(
            self, item_ids=item_ids, vectors=self.vectors[others], weights=self.weights[others], brands=brands,
            categories=categories,
        )  # fmt: skip


def build_profile(user_history: UserHistory, model_version: str, dimensions: int, now_s: float) -> Profile:
    """Items without a vector of `model_version` are left out."""
    items, weight_of = _weighed(user_history, model_version, dimensions, now_s)
    price, prices = price_tastes(user_history, weight_of)
    return replace(items, price=price, prices=prices, shown_without_click=user_history.once(shown_without_click))


def weighed_items(user_history: UserHistory, model_version: str, dimensions: int, now_s: float) -> Profile:
    """As `build_profile`, with items and weights only: interests are made of nothing else."""
    return _weighed(user_history, model_version, dimensions, now_s)[0]


def newest_model(user_history: UserHistory) -> tuple[str, int]:
    """(model version, dimensions) of the newest vector, which is of the current collection; ("", 0) without any."""
    for entry in (*user_history.recent, *user_history.lasting):
        if entry.features is not None and entry.features.vector is not None:
            return entry.features.model_version, len(entry.features.vector)
    return "", 0


def price_tastes(
    user_history: UserHistory, weight_of: Mapping[str, float]
) -> tuple[PriceTaste | None, dict[str, PriceTaste]]:
    """(over all, by category) of the items of positive weight, by the prices of the time; of an item the last one."""
    by_category: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for item_id, category, log_price in user_history.once(_priced):
        if (weight := weight_of.get(item_id, 0.0)) > 0:
            by_category[category].append((log_price, weight))
    everything = [pair for pairs in by_category.values() for pair in pairs]
    heaviest = sorted((c for c in by_category if c), key=lambda c: (-sum(weight for _, weight in by_category[c]), c))[
        :MAX_CATEGORIES
    ]
    return _taste(everything), {c: taste for c in heaviest if (taste := _taste(by_category[c])) is not None}


def shown_without_click(user_history: UserHistory) -> dict[str, int]:
    """How often each item was shown since the last event on it."""
    acted: dict[str, float] = {}
    for entry in user_history.recent:
        acted[entry.item_id] = max(entry.occurred_s, acted.get(entry.item_id, -math.inf))
    counts: dict[str, int] = {}
    for item_id, shown_s in user_history.shown:
        if shown_s > acted.get(item_id, -math.inf):
            counts[item_id] = counts.get(item_id, 0) + 1
    return counts


def purchased(purchases: Sequence[HistoryEntry]) -> tuple[str, ...]:
    """Most recent first, each once."""
    bought = sorted(
        (entry for entry in purchases if entry.type is EventType.PURCHASE), key=lambda e: (-e.occurred_s, e.item_id)
    )
    return tuple(dict.fromkeys(entry.item_id for entry in bought))


@dataclass(frozen=True)
class _Comparable:
    """The items of a history that have a vector of one model, by id: unit `vectors` [n, dimensions].

    `recent` are (item id, weight, time in seconds, number of later ones), newest first.
    """

    items: Mapping[str, ItemFeatures]
    vectors: FloatArray
    recent: Sequence[tuple[str, float, float, int]]


def _comparable(user_history: UserHistory, model_version: str, dimensions: int) -> _Comparable:
    known = {
        entry.item_id: entry.features
        for entry in (*user_history.recent, *user_history.lasting)
        if entry.features is not None
        and entry.features.vector is not None
        and entry.features.model_version == model_version
        and len(entry.features.vector) == dimensions
    }
    items = {item_id: known[item_id] for item_id in sorted(known)}
    vectors = np.zeros((len(items), dimensions), dtype=np.float32)
    for row, features in enumerate(items.values()):
        vectors[row] = features.vector
    recent = list[tuple[str, float, float, int]]()
    for entry in sorted(user_history.recent, key=lambda e: (e.occurred_s, e.event_id), reverse=True):
        if (weight := event_weight(entry.type, entry.dwell_ms)) and entry.item_id in items:
            recent.append((entry.item_id, weight, entry.occurred_s, len(recent)))
    return _Comparable(items, unit_rows(vectors), recent)


def _priced(user_history: UserHistory) -> list[tuple[str, str, float]]:
    """(item id, category, logarithm of the price), by item id."""
    priced: dict[str, tuple[str, float]] = {}
    for entry in sorted((*user_history.lasting, *user_history.recent), key=lambda e: (e.occurred_s, e.event_id)):
        price = entry.price
        if math.isnan(price) and entry.features is not None:
            price = entry.features.price
        if price > 0:
            priced[entry.item_id] = (entry.features.category if entry.features else "", math.log(price))
    return [(item_id, *priced[item_id]) for item_id in sorted(priced)]


def _weighed(
    user_history: UserHistory, model_version: str, dimensions: int, now_s: float
) -> tuple[Profile, dict[str, float]]:
    """(items with their weights, the weights by item) of the items that have a comparable vector."""
    known = user_history.once(_comparable, model_version, dimensions)
    weight_of = _mixed(_now_weights(known, now_s), _lasting_weights(user_history, known, now_s))
    # A sum of floats depends on its order; the result must not depend on the order in which events arrived.
    rows = [row for row, item_id in enumerate(known.items) if abs(weight_of.get(item_id, 0.0)) > 1e-6]
    features, item_ids = list(known.items.values()), list(known.items)
    return Profile(
        tuple(item_ids[row] for row in rows),
        known.vectors if len(rows) == len(item_ids) else known.vectors[rows],
        np.array([weight_of[item_ids[row]] for row in rows], dtype=np.float32),
        brands=tuple(features[row].brand for row in rows),
        categories=tuple(features[row].category for row in rows),
    ), weight_of


def _now_weights(known: _Comparable, now_s: float) -> dict[str, float]:
    """By item. An event fades with its age and with the events after it; events ahead of the clock count as now."""
    weights: dict[str, float] = defaultdict(float)
    for item_id, weight, occurred_s, later in known.recent:
        age_s = max(0.0, now_s - occurred_s)
        weights[item_id] += weight * 0.5 ** (age_s / NOW_HALF_LIFE_S + later / NOW_HALF_LIFE_EVENTS)
    return weights


def _lasting_weights(user_history: UserHistory, known: _Comparable, now_s: float) -> dict[str, float]:
    weights: dict[str, float] = defaultdict(float)
    estimates = user_history.once(lasting_weights, now_s)
    for place in user_history.once(lasting_by_id):
        if (item_id := user_history.lasting[place].item_id) in known.items:
            weights[item_id] += estimates[place]
    # Removals from the cart have a negative weight: no sample holds them, and they count as long as they are recent.
    removals = [
        entry for entry in user_history.recent if EVENT_WEIGHTS[entry.type] < 0 and entry.item_id in known.items
    ]
    for entry in sorted(removals, key=lambda e: e.event_id):
        decay = 0.5 ** ((now_s - entry.occurred_s) / LASTING_HALF_LIFE_S)
        weights[entry.item_id] += EVENT_WEIGHTS[entry.type] * decay
    return weights


def _mixed(now: Mapping[str, float], lasting: Mapping[str, float]) -> dict[str, float]:
    """Both scaled to a sum of 1 and mixed; fresher events raise the share of `now`, however long the history is.

    The weights add up to the profile's total weight, which grows with the evidence.
    """
    moment = sum([weight for item_id in sorted(now) if (weight := now[item_id]) > 0])
    always = sum([weight for item_id in sorted(lasting) if (weight := lasting[item_id]) > 0])
    share = NOW_SHARE * moment / (moment + NOW_HALF_WEIGHT) if always > 0 else 1.0
    total = moment + LASTING_SHARE * always
    if total <= 0:
        # There are only removals from the cart.
        return {item_id: now.get(item_id, 0.0) for item_id in now}
    rest, moment, always = 1 - share, max(moment, 1e-9), max(always, 1e-9)
    return {
        item_id: total * (share * now.get(item_id, 0.0) / moment + rest * lasting.get(item_id, 0.0) / always)
        for item_id in {*now, *lasting}
    }


def _taste(pairs: Sequence[tuple[float, float]]) -> PriceTaste | None:
    """Of (log price, weight)."""
    total = sum([weight for _, weight in pairs])
    if total <= 0:
        return None
    mean = sum([weight * log for log, weight in pairs]) / total
    variance = sum([weight * (log - mean) ** 2 for log, weight in pairs]) / total
    return PriceTaste(mean, max(LEAST_PRICE_SPREAD, math.sqrt(variance)))
