"""A user's profile: a pure function of the user history, so that late and repeated events change nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.comparable_items import ComparableItems, ItemPrices, comparable_items
from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.user_history import LASTING_HALF_LIFE_S, DoubleArray, UserHistory, lasting_weights

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
    known = user_history.once(comparable_items, model_version, dimensions)
    weights = _weights(user_history, known, now_s)
    price, prices = _price_tastes(known.prices, weights)
    return replace(
        _weighed(known, weights), price=price, prices=prices,
        shown_without_click=user_history.once(shown_without_click, user_history.shown),
    )  # fmt: skip


def weighed_items(user_history: UserHistory, model_version: str, dimensions: int, now_s: float) -> Profile:
    """As `build_profile`, with items and weights only: interests are made of nothing else."""
    known = user_history.once(comparable_items, model_version, dimensions)
    return _weighed(known, _weights(user_history, known, now_s))


def newest_model(user_history: UserHistory) -> tuple[str, int]:
    """(model version, dimensions) of the newest vector, which is of the current collection; ("", 0) without any."""
    for entry in (*user_history.recent, *user_history.lasting):
        if entry.features is not None and entry.features.vector is not None:
            return entry.features.model_version, len(entry.features.vector)
    return "", 0


def shown_without_click(user_history: UserHistory, shown: Sequence[tuple[str, float]]) -> dict[str, int]:
    """How often each of the `shown` items was shown since the last event on it."""
    acted: dict[str, float] = {}
    for entry in user_history.recent:
        acted[entry.item_id] = max(entry.occurred_s, acted.get(entry.item_id, -math.inf))
    counts: dict[str, int] = {}
    for item_id, shown_s in shown:
        if shown_s > acted.get(item_id, -math.inf):
            counts[item_id] = counts.get(item_id, 0) + 1
    return counts


def purchased(purchases: Sequence[HistoryEntry]) -> tuple[str, ...]:
    """Most recent first, each once."""
    bought = sorted(
        (entry for entry in purchases if entry.type is EventType.PURCHASE), key=lambda e: (-e.occurred_s, e.item_id)
    )
    return tuple(dict.fromkeys(entry.item_id for entry in bought))


def _weighed(known: ComparableItems, weights: DoubleArray) -> Profile:
    """The items whose weight is not as good as 0."""
    rows, features, item_ids = np.flatnonzero(np.abs(weights) > 1e-6).tolist(), [*known.items.values()], [*known.items]
    return Profile(
        tuple([item_ids[row] for row in rows]),
        known.vectors if len(rows) == len(item_ids) else known.vectors[rows],
        weights[rows].astype(np.float32),
        brands=tuple([features[row].brand for row in rows]),
        categories=tuple([features[row].category for row in rows]),
    )


def _weights(user_history: UserHistory, known: ComparableItems, now_s: float) -> DoubleArray:
    """[items]: short-term interest and long-term taste, mixed."""
    recent, removals = known.recent, known.removals
    # An event fades with its age and with the events after it; events ahead of the clock count as now.
    ages_s = np.maximum(now_s - recent.occurred_s, 0)
    fades = np.exp2(-ages_s / NOW_HALF_LIFE_S - np.arange(len(ages_s)) / NOW_HALF_LIFE_EVENTS)
    now = known.sums(recent.rows, recent.weights * fades)
    estimates = user_history.once(lasting_weights, now_s)[known.places]
    lasting = known.sums(known.lasting, estimates)
    decays = np.exp2((removals.occurred_s - now_s) / LASTING_HALF_LIFE_S)
    return _mixed(now, lasting + known.sums(removals.rows, removals.weights * decays))


def _mixed(now: DoubleArray, lasting: DoubleArray) -> DoubleArray:
    """Both scaled to a sum of 1 and mixed; fresher events raise the share of `now`, however long the history is.

    The weights add up to the profile's total weight, which grows with the evidence.
    """
    moment, always = float(now[now > 0].sum()), float(lasting[lasting > 0].sum())
    share = NOW_SHARE * moment / (moment + NOW_HALF_WEIGHT) if always > 0 else 1.0
    total = moment + LASTING_SHARE * always
    if total <= 0:
        # There are only removals from the cart.
        return now
    mixed: DoubleArray = now * (total * share / max(moment, 1e-9))
    mixed += lasting * (total * (1 - share) / max(always, 1e-9))
    return mixed


def _price_tastes(prices: ItemPrices, weights: DoubleArray) -> tuple[PriceTaste | None, dict[str, PriceTaste]]:
    """(over all, by category) of the items of positive weight."""
    own, logs, categories = np.maximum(weights[prices.rows], 0), prices.log_prices, prices.categories
    total = float(own.sum())
    if total <= 0:
        return None, {}
    mean = float(own @ logs) / total
    totals = np.bincount(categories, own)
    least = np.maximum(totals, np.finfo(np.float64).tiny)
    means = np.bincount(categories, own * logs) / least
    variances = np.bincount(categories, own * (logs - means[categories]) ** 2) / least
    named = zip(prices.names, totals.tolist(), means.tolist(), np.sqrt(variances).tolist(), strict=True)
    heaviest = sorted((-of, name, middle, spread) for name, of, middle, spread in named if name and of > 0)
    return PriceTaste(mean, max(LEAST_PRICE_SPREAD, math.sqrt(float(own @ (logs - mean) ** 2) / total))), {
        name: PriceTaste(middle, max(LEAST_PRICE_SPREAD, spread))
        for _, name, middle, spread in heaviest[:MAX_CATEGORIES]
    }
