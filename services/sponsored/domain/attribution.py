"""Which sales follow an ad: the last billed click of the person in the seven days before the purchase.

What was given back is left out, whenever that happened.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter

from services.common.refunds import pieces_left
from services.sponsored.domain.billing import BilledClick, BillKey
from services.sponsored.domain.facts import Purchase, Refund

WINDOW_S = 7 * 86_400.0


@dataclass
class AttributedSales:
    """In minor units. `same_brand`: of other products with the brand of the one that was clicked."""

    product: int = 0
    same_brand: int = 0


def attributed_sales(
    clicks: Iterable[BilledClick], purchases: Iterable[Purchase], refunds: Iterable[Refund],
    brand_of: Callable[[str], str],
) -> dict[BillKey, AttributedSales]:  # fmt: skip
    """By the bill that the click is on. A click on the product goes before one on its brand. `brand_of` gives "" for a
    product without a brand. A purchase belongs to one click at most, and counts only in the currency of the campaign.
    """
    times: dict[tuple[str, str, str], list[tuple[float, str, BilledClick]]] = defaultdict(list)
    for click in clicks:
        entry = click.occurred_s, click.event_id, click
        times[click.person_id, "product", click.item_id].append(entry)
        if brand := brand_of(click.item_id):
            times[click.person_id, "brand", brand].append(entry)
    for entries in times.values():
        entries.sort(key=itemgetter(0, 1))
    people = {person for person, _, _ in times}
    bought = [purchase for purchase in purchases if purchase.person_id in people]
    left = _left(bought, refunds)
    sales: dict[BillKey, AttributedSales] = defaultdict(AttributedSales)
    for purchase in bought:
        person, amount = purchase.person_id, purchase.price * left[purchase.event_id]
        own = _last(times.get((person, "product", purchase.item_id), []), purchase)
        if own is not None:
            sales[own.key].product += amount
        elif brand := brand_of(purchase.item_id):
            other = _last(times.get((person, "brand", brand), []), purchase)
            if other is not None:
                sales[other.key].same_brand += amount
    return dict(sales)


def _left(purchases: Iterable[Purchase], refunds: Iterable[Refund]) -> Mapping[str, int]:
    """By event id: pieces that were kept."""
    of_person: dict[str, tuple[list[Purchase], list[Refund]]] = defaultdict(lambda: ([], []))
    for purchase in purchases:
        of_person[purchase.person_id][0].append(purchase)
    for refund in refunds:
        if refund.person_id in of_person:
            of_person[refund.person_id][1].append(refund)
    return {id: left for both in of_person.values() for id, left in pieces_left(*both).items()}


def _last(entries: list[tuple[float, str, BilledClick]], purchase: Purchase) -> BilledClick | None:
    """The last click within the window; None if there is none, or if it was sold in another currency."""
    until_s = purchase.occurred_s
    place = bisect_right(entries, until_s, key=itemgetter(0))
    if not place or entries[place - 1][0] < until_s - WINDOW_S:
        return None
    found = entries[place - 1][2]
    return found if found.currency == purchase.currency else None
