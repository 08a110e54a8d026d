"""Graded relevance from clicks and purchases, in place of human judgements.

A product's rate for a query is the weight of its clicks, divided by the examinations that its positions lead one to
expect: the position-based model's inverse examination probability (Joachims et al., WSDM 2017), summed over impressions
before the division, which has a smaller variance (clicks over expected clicks: Zhang & Jones, WWW 2007). A Beta prior
of the mean rate stands for products that were shown a few times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
# Bounds for the time of training: each query is also searched for hard negatives.
MOST_QUERIES, MOST_PAIRS = 20_000, 200_000


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
    """`judgements` have the clicked products of each query with a click; their gains are proportional to their rates.

    `examination` [positions + 1] is relative to position 1. `lists` and `clicks` count what it was made of.
    """

    judgements: Judgements
    examination: FloatArray
    lists: int
    clicks: int


@dataclass
class _Rates:
    """Of one query, by product: weights of clicks and expected examinations. `searches` have no known list."""

    clicks: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    examined: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    searches: int = 0

    def all_examined(self) -> float:
        return sum(self.examined.values()) + self.searches * len(self.clicks)

    def smoothed(self, mean: float) -> dict[str, float]:
        """Of the clicked products. In a search without a list each of them counts as examined."""
        return {
            item_id: (clicks + _PRIOR * mean) / (self.examined[item_id] + self.searches + _PRIOR)
            for item_id, clicks in self.clicks.items()
        }


def normalised(query: str) -> str:
    """Queries with the same normal form are one query. Empty for a query without a visible character."""
    return normal_form(query)


def judged_by_clicks(lists: Sequence[SearchedList]) -> Clicked:
    """Relevance from 1 to 3: the gain 2^(relevance - 1) - 1 is 3 for a query's best product, and proportional to the
    smoothed rate for the others.

    The best rate of a query counts as at least the median of the queries' best ones, so that little evidence gives a
    small gain. At most `MOST_QUERIES` queries with `MOST_PAIRS` products, those with the most clicks first.
    """
    chance, of_query, clicks = _examination(lists), defaultdict[str, _Rates](_Rates), 0
    for each in lists:
        if not (query := normalised(each.query)):
            continue
        rates = of_query[query]
        rates.searches += not each.positions
        places = each.positions or [0] * len(each.item_ids)
        for item_id, place, stage in zip(each.item_ids, places, each.reached, strict=True):
            clicks += stage > 0
            if stage:
                rates.clicks[item_id] += _WEIGHTS[stage]
            if place:
                rates.examined[item_id] += float(chance[min(place, len(chance) - 1)])
    examined = sum(rates.all_examined() for rates in of_query.values())
    mean = sum(sum(rates.clicks.values()) for rates in of_query.values()) / max(examined, 1.0)
    chosen, pairs = list[tuple[str, dict[str, float]]](), 0
    for query, rates in sorted(of_query.items(), key=lambda entry: (-sum(entry[1].clicks.values()), entry[0])):
        if not rates.clicks or len(chosen) == MOST_QUERIES or pairs + len(rates.clicks) > MOST_PAIRS:
            break
        pairs += len(rates.clicks)
        chosen.append((query, rates.smoothed(mean)))
    usual = float(np.median([max(rates.values()) for _, rates in chosen])) if chosen else 0.0
    judgements = {
        query: {item_id: _relevance(rate / max(usual, *rates.values())) for item_id, rate in rates.items()}
        for query, rates in chosen
    }
    return Clicked(judgements, chance, len(lists), clicks)


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
    if not any(clicks):
        return np.ones(2, np.float32)
    chance = examination_of(np.array(positions, np.int64), np.array(items, np.int64), np.array(clicks, np.float32))
    return np.clip(chance, LEAST_EXAMINATION, None)
