"""Which offer a click, cart or purchase answers, by the impressions of the product.

In this order: the impression of the event's quote; that of the ranking that its attribution token names; the last one
before the event to this person, within the attribution window. Without any, the event counts at the price of its time:
the last one that anybody was shown in the default list, else what was paid. A function of the set of facts: the order
in which they were read changes nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

from services.pricing.learning.facts import Facts, Impression, Interaction, Join, ShownOffer

# (time, ranking, offer)
_Shown = tuple[float, int, ShownOffer]


def joins_of(facts: Facts, window_s: float) -> dict[int, Join]:
    """By key of the interaction. `window_s`: the longest time from an impression to its event."""
    shown = _Offers(facts.impressions)
    return {each.key: each.kept or shown.join(each, window_s) for each in facts.interactions}


class _Offers:
    def __init__(self, impressions: Iterable[Impression]) -> None:
        self._by_quote: dict[int, ShownOffer] = {}
        self._by_page: dict[int, ShownOffer] = {}
        self._by_person: defaultdict[int, list[_Shown]] = defaultdict(list)
        self._to_anybody: list[_Shown] = []
        for one in sorted(impressions, key=lambda each: (each.shown_s, each.page)):
            if one.offer is None:
                continue
            self._by_page[one.page] = one.offer
            if one.quote is not None:
                self._by_quote[one.quote] = one.offer
            entry = (one.shown_s, one.page, one.offer)
            for person in one.persons:
                self._by_person[person].append(entry)
            if not one.offer.price_list_id:
                self._to_anybody.append(entry)

    def join(self, event: Interaction, window_s: float) -> Join:
        for key, offers in ((event.quote, self._by_quote), (event.page, self._by_page)):
            if key is not None and key in offers:
                return Join(offers[key], True)
        own = [
            found
            for person in event.persons
            if (found := _last(self._by_person.get(person, []), event.occurred_s)) is not None
            and found[0] >= event.occurred_s - window_s
        ]
        if own:
            return Join(max(own, key=lambda each: each[:2])[2], True)
        if (found := _last(self._to_anybody, event.occurred_s)) is not None:
            return Join(found[2], False)
        if event.paid is not None:
            return Join(ShownOffer("", event.paid.currency, event.paid.amount, event.paid.amount), False)
        return Join(None, False)


def _last(shown: list[_Shown], until_s: float) -> _Shown | None:
    at = bisect_right(shown, (until_s, math.inf), key=lambda each: each[:2])
    return shown[at - 1] if at else None
