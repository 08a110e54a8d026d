"""How the prices that groups of persons were shown and paid compare: counted from the facts of the log.

All prices are shares of the product's list price, so that products and currencies can be put together. A price belongs
to a product, price list, place and period: `FairnessCounts.defects` has cases in which persons were shown different
ones.

What a group paid differs from what all paid by three parts, which add up:

- products: it bought products that are reduced more or less than others;
- time: it bought when a product's price was lower or higher;
- checkout: it paid another price than the one that was shown, for example with a coupon.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from services.pricing.learning.counting import paid_for_one, units_left
from services.pricing.learning.facts import Act, Facts, Impression, Interaction, ShownOffer
from services.pricing.learning.joining import joins_of

# A changed price is everywhere within a second; answers are on their way a little longer.
_SPREAD_S = 5.0
# Defects that are listed; more are counted.
_MOST_DEFECTS = 1_000
_Z = NormalDist().inv_cdf(0.975)
# Which group a person is in, by key.
Groups = Mapping[int, str]


@dataclass(frozen=True)
class Estimate:
    """A ratio, and its 95 % interval over persons."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupPrices:
    """Of one group; "" are persons of whom no group is known.

    `shown`, `paid`: mean shares of the list price, of impressions and of pieces that were bought and kept.
    `shown_at_same`: what the group was shown, divided by what all were shown of the same product, price list, place,
    list price and period; 1 unless a price depended on the person. `products`, `time` and `checkout` are parts of the
    difference of `paid` to that of all. None: fewer than the smallest number of persons.
    """

    group: str
    persons: int
    buyers: int
    shown: Estimate | None
    shown_at_same: Estimate | None
    paid: Estimate | None
    products: float | None
    time: float | None
    checkout: float | None


@dataclass(frozen=True)
class ShownAt:
    """A price in minor units, the persons who were shown it, and the first and last time, seconds since the epoch."""

    price: int
    persons: int
    first_s: float
    last_s: float


@dataclass(frozen=True)
class Defect:
    """Prices of one product, price list (with place), list price and period that were shown at the same time."""

    product_id: str
    price_list_id: str
    currency: str
    list_price: int
    is_sale: bool
    prices: Sequence[ShownAt]


@dataclass
class _Person:
    """Sums over impressions and over pieces; `same`: of the means of all persons in the same cases."""

    views: int = 0
    shown: float = 0.0
    same: float = 0.0
    pieces: int = 0
    paid: float = 0.0
    asked: float = 0.0
    usual: float = 0.0


@dataclass
class FairnessCounts:
    """Adds up the facts of one product after the other. `window_s`: as of `joins_of`. `period_s`: the length of the
    periods for which prices hold. The facts' price list ids name the place too.
    """

    groups: Groups
    window_s: float
    period_s: float
    defects: list[Defect] = field(default_factory=list)
    # Cases, those of them whose price changed once for everybody, and those that are defects.
    cases: int = 0
    changed_cases: int = 0
    defect_cases: int = 0
    _persons: defaultdict[tuple[str, int], _Person] = field(default_factory=lambda: defaultdict(_Person))

    def add(self, facts: Facts) -> None:
        """The facts of one product."""
        cases: defaultdict[tuple[object, ...], list[Impression]] = defaultdict(list)
        for one in facts.impressions:
            if one.offer is not None and one.offer.list_price > 0:
                period = math.floor(one.shown_s / self.period_s)
                cases[one.offer.price_list_id, one.offer.currency, one.offer.list_price, one.is_sale, period].append(
                    one
                )
        for shown in cases.values():
            self._add_shown(shown)
        self._add_bought(facts)

    def report(self, minimum_persons: int) -> tuple[list[GroupPrices], int]:
        """(groups in the order of their names, number of those that are too small and left out)."""
        by_group: defaultdict[str, list[_Person]] = defaultdict(list)
        for (group, _), person in self._persons.items():
            by_group[group].append(person)
        everybody = list(self._persons.values())
        pieces = sum(person.pieces for person in everybody) or 1
        paid, asked = (sum(getattr(each, name) for each in everybody) / pieces for name in ("paid", "asked"))
        found = [
            _group_prices(group, persons, paid, asked, minimum_persons) for group, persons in sorted(by_group.items())
        ]
        large = [each for each in found if each.persons >= minimum_persons]
        return large, len(found) - len(large)

    def _add_shown(self, shown: Sequence[Impression]) -> None:
        self.cases += 1
        prices = _prices(shown)
        is_defect = _overlap(prices)
        self.changed_cases += len(prices) > 1 and not is_defect
        self.defect_cases += is_defect
        first = shown[0].offer
        if is_defect and first is not None and len(self.defects) < _MOST_DEFECTS:
            self.defects.append(
                Defect(
                    shown[0].product_id, first.price_list_id, first.currency, first.list_price, shown[0].is_sale, prices
                )
            )
        mean = sum(map(_share, shown)) / len(shown)
        for one in shown:
            person = self._person(one)
            person.views += 1
            person.shown += _share(one)
            # A price that changed once for everybody is compared with itself.
            person.same += mean if is_defect else _share(one)

    def _add_bought(self, facts: Facts) -> None:
        joins, left = joins_of(facts, self.window_s), units_left(facts)
        by_list: defaultdict[str, list[tuple[Interaction, ShownOffer, int]]] = defaultdict(list)
        for each in facts.interactions:
            if each.act is not Act.PURCHASE or not left[each.key]:
                continue
            offer = joins[each.key].offer
            if offer is not None and offer.list_price > 0:
                by_list[offer.price_list_id].append((each, offer, left[each.key]))
        for bought in by_list.values():
            pieces = sum(count for _, _, count in bought)
            usual = sum(count * offer.price / offer.list_price for _, offer, count in bought) / pieces
            for event, offer, count in bought:
                person = self._person(event)
                person.pieces += count
                person.paid += count * paid_for_one(event, offer) / offer.list_price
                person.asked += count * offer.price / offer.list_price
                person.usual += count * usual

    def _person(self, fact: Impression | Interaction) -> _Person:
        group = next((self.groups[key] for key in fact.persons if key in self.groups), "")
        return self._persons[group, fact.person]


def _prices(shown: Iterable[Impression]) -> list[ShownAt]:
    """In the order of their first times."""
    times: defaultdict[int, list[float]] = defaultdict(list)
    persons: defaultdict[int, set[int]] = defaultdict(set)
    for one in shown:
        if one.offer is not None:
            times[one.offer.price].append(one.shown_s)
            persons[one.offer.price].add(one.person)
    found = [ShownAt(price, len(persons[price]), min(own), max(own)) for price, own in times.items()]
    return sorted(found, key=lambda each: (each.first_s, each.price))


def _overlap(prices: Sequence[ShownAt]) -> bool:
    """Whether a price was still shown after a later one had begun."""
    last_s = -math.inf
    for each in prices:
        if last_s - each.first_s > _SPREAD_S:
            return True
        last_s = max(last_s, each.last_s)
    return False


def _share(one: Impression) -> float:
    return one.offer.price / one.offer.list_price if one.offer is not None else math.nan


def _group_prices(group: str, persons: Sequence[_Person], paid: float, asked: float, minimum: int) -> GroupPrices:
    viewers = [each for each in persons if each.views]
    buyers = [each for each in persons if each.pieces]
    shown = same = own = products = time = checkout = None
    if len(viewers) >= minimum:
        shown = _ratio([(each.shown, each.views) for each in viewers])
        same = _ratio([(each.shown, each.same) for each in viewers])
    if len(buyers) >= minimum:
        pieces = sum(each.pieces for each in buyers)
        own = _ratio([(each.paid, each.pieces) for each in buyers])
        own_asked, own_usual = (sum(getattr(each, name) for each in buyers) / pieces for name in ("asked", "usual"))
        # The mean of `usual` over all persons is that of `asked`.
        products, time = own_usual - asked, own_asked - own_usual
        checkout = (own.value - own_asked) - (paid - asked)
    return GroupPrices(group, len(persons), len(buyers), shown, same, own, products, time, checkout)


def _ratio(parts: Sequence[tuple[float, float]]) -> Estimate:
    """Of the sums of (numerator, denominator) of independent persons, with linearised errors."""
    below = sum(denominator for _, denominator in parts)
    value = sum(numerator for numerator, _ in parts) / below
    count = len(parts)
    squares = sum((numerator - value * denominator) ** 2 for numerator, denominator in parts)
    wide = _Z * math.sqrt(count / max(count - 1, 1) * squares) / below
    return Estimate(value, value - wide, value + wide)
