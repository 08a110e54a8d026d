"""Graded relevance from clicks and purchases, in place of human judgements.

A product's rate for a query is the weight of its clicks, divided by the examinations that its positions lead one to
expect: the position-based model's inverse examination probability (Joachims et al., WSDM 2017), summed over impressions
before the division, which has a smaller variance (clicks over expected clicks: Zhang & Jones, WWW 2007).

For training, rates are smoothed: products that were shown a few times are drawn towards the usual rate of products that
the search made as visible to the query's shoppers. One click on a product that is hardly ever shown is mostly chance.
For a comparison of two searches rates are not smoothed: the prior would prefer the search that showed the products.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.common.arrays import FloatArray
from services.query_encoder.domain.text import normal_form
from training.ranking.positions import LEAST_EXAMINATION, examination_of
from training.search.data import Judgements

# What the shopper got to with a product counts so much: nothing, click, cart, purchase.
_WEIGHTS = (0.0, 1 / 3, 2 / 3, 1.0)
# Examinations that the prior stands for.
_PRIOR = 2.0
# Bounds the unsmoothed rate of a product that was hardly ever examined.
_LEAST_EXAMINED = 0.1
# Bounds for the time of training: each query is also searched for hard negatives.
MOST_QUERIES, MOST_PAIRS = 20_000, 200_000
_NEWTON_STEPS = 20


@dataclass(frozen=True)
class SearchedList:
    """One search of the log: n products with `positions` [n] from 1, and how far the shopper got with each, `reached`
    [n]: 0 nothing, 1 click, 2 cart, 3 purchase.

    A search whose list is not known has the products that were clicked after it, and no positions.
    """

    query: str
    session_id: str
    at_s: float
    item_ids: Sequence[str]
    positions: Sequence[int]
    reached: Sequence[int]

    @property
    def is_clicked(self) -> bool:
        return any(self.reached)


@dataclass(frozen=True)
class Clicked:
    """`judgements` and `rates` have the clicked products of each query with a click, by product id.

    The gains of `judgements` are proportional to the smoothed rates. `rates` are not smoothed: a ranking's sum of rates
    has no preference for the search that was logged, unless it finds products that were never shown.
    `examination` [positions + 1] is relative to position 1. `lists` and `clicks` count what it was made of.
    """

    judgements: Judgements
    rates: Mapping[str, Mapping[str, float]]
    examination: FloatArray
    lists: int
    clicks: int


@dataclass
class _Counts:
    """Of one query: its searches, and by product the weights of clicks and the expected examinations.

    In a search without a list (`unlisted` of them) each product that was ever clicked counts as examined.
    """

    clicks: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    examined: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    searches: int = 0
    unlisted: int = 0

    def examinations(self, item_id: str) -> float:
        return self.examined.get(item_id, 0.0) + (self.unlisted if item_id in self.clicks else 0)

    def rates(self) -> dict[str, float]:
        """Of the clicked products, not smoothed."""
        return {
            item_id: clicks / max(self.examinations(item_id), _LEAST_EXAMINED)
            for item_id, clicks in self.clicks.items()
        }

    def smoothed(self, usual: _UsualRate) -> dict[str, float]:
        """Of the clicked products."""
        smoothed = {}
        for item_id, clicks in self.clicks.items():
            examined = self.examinations(item_id)
            smoothed[item_id] = (clicks + _PRIOR * usual(examined / self.searches)) / (examined + _PRIOR)
        return smoothed


@dataclass(frozen=True)
class _UsualRate:
    """exp(level) x visibility^slope. Visibility: a product's expected examinations in a search of the query."""

    level: float
    slope: float

    def __call__(self, visibility: float) -> float:
        return float(np.exp(self.level) * visibility**self.slope)

    @classmethod
    def of(cls, counts: Iterable[_Counts]) -> _UsualRate:
        """By the Poisson likelihood over all pairs of query and product, with Newton's method."""
        rows = [
            (own.clicks.get(item_id, 0.0), examinations, examinations / own.searches)
            for own in counts
            for item_id in own.clicks.keys() | own.examined.keys()
            if (examinations := own.examinations(item_id)) > 0
        ]
        clicks, examined, visibility = np.array(rows, np.float64).reshape(-1, 3).T
        if not clicks.any():
            return cls(0.0, 0.0)
        inputs = np.stack([np.ones_like(visibility), np.log(visibility)], axis=1)
        found = np.array([np.log(clicks.sum() / examined.sum()), 0.0])
        for _ in range(_NEWTON_STEPS):
            expected = examined * np.exp(inputs @ found)
            # The slope is drawn towards 0, as by one click: visibilities that are all equal have no slope.
            slope = inputs.T @ (clicks - expected) - [0.0, found[1]]
            found += np.linalg.solve((inputs.T * expected) @ inputs + np.diag([0.0, 1.0]), slope)
        return cls(float(found[0]), float(found[1]))


def normalised(query: str) -> str:
    """Queries with the same normal form are one query. Empty for a query without a visible character."""
    return normal_form(query)


def judged_by_clicks(lists: Sequence[SearchedList]) -> Clicked:
    """Relevance from 1 to 3: the gain 2^(relevance - 1) - 1 is 3 for a query's best product, and proportional to the
    smoothed rate for the others.

    The best rate of a query counts as at least the median of the queries' best ones, so that little evidence gives a
    small gain. At most `MOST_QUERIES` queries with `MOST_PAIRS` products, those with the most clicks first.
    """
    chance, of_query, clicks = _examination(lists), defaultdict[str, _Counts](_Counts), 0
    for each in lists:
        if not (query := normalised(each.query)):
            continue
        own = of_query[query]
        own.searches += 1
        own.unlisted += not each.positions
        places = each.positions or [0] * len(each.item_ids)
        for item_id, place, stage in zip(each.item_ids, places, each.reached, strict=True):
            clicks += stage > 0
            if stage:
                own.clicks[item_id] += _WEIGHTS[stage]
            if place:
                own.examined[item_id] += float(chance[min(place, len(chance) - 1)])
    usual = _UsualRate.of(of_query.values())
    smoothed, rates, pairs = dict[str, dict[str, float]](), dict[str, dict[str, float]](), 0
    for query, own in sorted(of_query.items(), key=lambda entry: (-sum(entry[1].clicks.values()), entry[0])):
        if not own.clicks or len(smoothed) == MOST_QUERIES or pairs + len(own.clicks) > MOST_PAIRS:
            break
        pairs += len(own.clicks)
        smoothed[query], rates[query] = own.smoothed(usual), own.rates()
    middle = float(np.median([max(of.values()) for of in smoothed.values()])) if smoothed else 0.0
    judgements = {
        query: {item_id: _relevance(rate / max(middle, *of.values())) for item_id, rate in of.items()}
        for query, of in smoothed.items()
    }
    return Clicked(judgements, rates, chance, len(lists), clicks)


def _relevance(share: float) -> float:
    """The relevance whose gain is this share of the highest one."""
    return float(1 + np.log2(1 + 3 * share))


def _examination(lists: Sequence[SearchedList]) -> FloatArray:
    """[positions + 1], at least LEAST_EXAMINATION. A pair of query and product is one item of the model."""
    number_of: dict[tuple[str, str], int] = {}
    positions, items, clicks = [], [], []
    for each in lists:
        query = normalised(each.query)
        for item_id, place, stage in zip(each.item_ids, each.positions, each.reached, strict=False):
            positions.append(place)
            items.append(number_of.setdefault((query, item_id), len(number_of)))
            clicks.append(stage > 0)
    chance = examination_of(np.array(positions, np.int64), np.array(items, np.int64), np.array(clicks, np.float32))
    return np.clip(chance, LEAST_EXAMINATION, None)
