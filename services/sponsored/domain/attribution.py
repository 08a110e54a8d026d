"""Which sales follow an ad: the last billed click of the person in the seven days before the purchase."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter

from services.sponsored.domain.facts import Facts
from services.sponsored.domain.invalid_clicks import Verdict

WINDOW_S = 7 * 86_400.0


@dataclass
class AttributedSales:
    """In minor units. `same_brand`: of other products with the brand of the one that was clicked."""

    product: int = 0
    same_brand: int = 0


def attributed_sales(
    facts: Facts, verdicts: Mapping[str, Verdict], brand_of: Callable[[str], str]
) -> dict[str, AttributedSales]:  # fmt: skip
    """By campaign, of billed clicks. A click on the product goes before one on its brand. `brand_of` gives "" for a
    product without a brand. A purchase belongs to one campaign at most.
    """
    times: dict[tuple[str, str, str], list[tuple[float, str, str]]] = defaultdict(list)
    for click in facts.clicks.values():
        if verdicts[click.event_id] is not Verdict.BILLED:
            continue
        campaign, brand = facts.impressions[click.key].campaign_id, brand_of(click.item_id)
        entry = click.occurred_s, click.event_id, campaign
        times[click.person_id, "product", click.item_id].append(entry)
        if brand:
            times[click.person_id, "brand", brand].append(entry)
    for entries in times.values():
        entries.sort()
    sales: dict[str, AttributedSales] = defaultdict(AttributedSales)
    for purchase in facts.purchases.values():
        person, until_s = purchase.person_id, purchase.occurred_s
        if campaign_id := _last(times.get((person, "product", purchase.item_id), []), until_s):
            sales[campaign_id].product += purchase.amount
        elif (brand := brand_of(purchase.item_id)) and (
            campaign_id := _last(times.get((person, "brand", brand), []), until_s)
        ):
            sales[campaign_id].same_brand += purchase.amount
    return dict(sales)


def _last(entries: list[tuple[float, str, str]], until_s: float) -> str:
    """The campaign of the last click within the window; empty if there is none."""
    place = bisect_right(entries, until_s, key=itemgetter(0))
    if not place or entries[place - 1][0] < until_s - WINDOW_S:
        return ""
    return entries[place - 1][2]
