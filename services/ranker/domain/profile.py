"""A user's profile: a pure function of the user history, so that late and repeated events change nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.user_history import LASTING_HALF_LIFE_S, UserHistory, event_weight, lasting_weights

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
    known, weight_of = _weights_of(user_history, model_version, dimensions, now_s)
    price, prices = price_tastes(user_history, weight_of)
    items = _weighed(known, weight_of, dimensions)
    return replace(items, price=price, prices=prices, shown_without_click=shown_without_click(user_history))


def weighed_items(user_history: UserHistory, model_version: str, dimensions: int, now_s: float) -> Profile:
    """As `build_profile`, with items and weights only: interests are made of nothing else."""
    return _weighed(*_weights_of(user_history, model_version, dimensions, now_s), dimensions)


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
    priced: dict[str, tuple[str, float]] = {}
    for entry in sorted((*user_history.lasting, *user_history.recent), key=lambda e: (e.occurred_s, e.event_id)):
        price = entry.price
        if math.isnan(price) and entry.features is not None:
            price = entry.features.price
        if price > 0 and weight_of.get(entry.item_id, 0.0) > 0:
            priced[entry.item_id] = (entry.features.category if entry.features else "", math.log(price))
    by_category: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for item_id in sorted(priced):
        category, log_price = priced[item_id]
        by_category[category].append((log_price, weight_of[item_id]))
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


def _weights_of(
    user_history: UserHistory, model_version: str, dimensions: int, now_s: float
) -> tuple[dict[str, ItemFeatures], dict[str, float]]:
    """By item: its features, and its weight; of the items that have a comparable vector."""
    known = _comparable((*user_history.recent, *user_history.lasting), model_version, dimensions)
    now, lasting = _now_weights(user_history.recent, known, now_s), _lasting_weights(user_history, known, now_s)
    return known, _mixed(now, lasting)


def _weighed(known: Mapping[str, ItemFeatures], weight_of: Mapping[str, float], dimensions: int) -> Profile:
    # A sum of floats depends on its order; the result must not depend on the order in which events arrived.
    item_ids = sorted(item_id for item_id, weight in weight_of.items() if abs(weight) > 1e-6)
    vectors = np.zeros((len(item_ids), dimensions), dtype=np.float32)
    for row, item_id in enumerate(item_ids):
        vectors[row] = known[item_id].vector
    weights = np.array([weight_of[item_id] for item_id in item_ids], dtype=np.float32)
    return Profile(
        tuple(item_ids), unit_rows(vectors), weights, brands=tuple(known[item_id].brand for item_id in item_ids),
        categories=tuple(known[item_id].category for item_id in item_ids),
    )  # fmt: skip


def _comparable(entries: Iterable[HistoryEntry], model_version: str, dimensions: int) -> dict[str, ItemFeatures]:
    return {
        entry.item_id: entry.features
        for entry in entries
        if entry.features is not None
        and entry.features.vector is not None
        and entry.features.model_version == model_version
        and len(entry.features.vector) == dimensions
    }


def _now_weights(recent: Sequence[HistoryEntry], known: Mapping[str, ItemFeatures], now_s: float) -> dict[str, float]:
    """By item. An event fades with its age and with the events after it; events ahead of the clock count as now."""
    weights: dict[str, float] = defaultdict(float)
    later = 0
    for entry in sorted(recent, key=lambda e: (e.occurred_s, e.event_id), reverse=True):
        weight = event_weight(entry.type, entry.dwell_ms)
        if not weight or entry.item_id not in known:
            continue
        age_s = max(0.0, now_s - entry.occurred_s)
        weights[entry.item_id] += weight * 0.5 ** (age_s / NOW_HALF_LIFE_S + later / NOW_HALF_LIFE_EVENTS)
        later += 1
    return weights


def _lasting_weights(user_history: UserHistory, known: Mapping[str, ItemFeatures], now_s: float) -> dict[str, float]:
    weights: dict[str, float] = defaultdict(float)
    pairs = zip(
        user_history.lasting, lasting_weights(user_history.lasting, now_s, user_history.least_priority), strict=True
    )
    for entry, weight in sorted(pairs, key=lambda pair: pair[0].event_id):
        if entry.item_id in known:
            weights[entry.item_id] += weight
    # Removals from the cart have a negative weight: no sample holds them, and they count as long as they are recent.
    for entry in sorted(user_history.recent, key=lambda e: e.event_id):
        weight = event_weight(entry.type, entry.dwell_ms)
        if weight < 0 and entry.item_id in known:
            weights[entry.item_id] += weight * 0.5 ** ((now_s - entry.occurred_s) / LASTING_HALF_LIFE_S)
    return weights


def _mixed(now: Mapping[str, float], lasting: Mapping[str, float]) -> dict[str, float]:
    """Both scaled to a sum of 1 and mixed; fresher events raise the share of `now`, however long the history is.

    The weights add up to the profile's total weight, which grows with the evidence.
    """
    moment = sum(max(now[item_id], 0.0) for item_id in sorted(now))
    always = sum(max(lasting[item_id], 0.0) for item_id in sorted(lasting))
    share = NOW_SHARE * moment / (moment + NOW_HALF_WEIGHT) if always > 0 else 1.0
    total = moment + LASTING_SHARE * always
    if total <= 0:
        # There are only removals from the cart.
        return {item_id: now.get(item_id, 0.0) for item_id in now}
    return {
        item_id: total
        * (
            share * now.get(item_id, 0.0) / max(moment, 1e-9)
            + (1 - share) * lasting.get(item_id, 0.0) / max(always, 1e-9)
        )
        for item_id in {*now, *lasting}
    }


def _taste(pairs: Sequence[tuple[float, float]]) -> PriceTaste | None:
    """Of (log price, weight)."""
    total = sum(weight for _, weight in pairs)
    if total <= 0:
        return None
    mean = sum(weight * log for log, weight in pairs) / total
    variance = sum(weight * (log - mean) ** 2 for log, weight in pairs) / total
    return PriceTaste(mean, max(LEAST_PRICE_SPREAD, math.sqrt(variance)))
