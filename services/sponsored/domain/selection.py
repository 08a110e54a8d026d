"""The ads of one page: targets, relevance, caps and budgets decide who takes part, then the auction."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from services.sponsored.domain.auction import Ad, Mechanism, Placed, run_auction
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.page import PageRules, first_row, least_relevance, places_of
from services.sponsored.domain.target_index import Circumstances, TargetIndex


@dataclass(frozen=True)
class AdRequest:
    """The products of a ranking from the first one of the page on, in their organic order; the columns have equal
    length. `relevance`: 0 to 1. `click_probabilities`: calibrated, given that the shopper looks at the place.
    `results`: on the page. `seed` orders equal scores. `pinned`: 1-based positions that the shop has given to products.
    `excluded`: ids that are not advertised.
    """

    product_ids: Sequence[str]
    relevance: Sequence[float]
    click_probabilities: Sequence[float]
    results: int
    circumstances: Circumstances = field(default=Circumstances())
    seed: str = ""
    pinned: frozenset[int] = frozenset()
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class AuctionRules:
    """`reserve`: the least price of a click, in minor units."""

    page: PageRules = field(default=PageRules())
    mechanism: Mechanism = Mechanism.GSP
    reserve: int = 1


def select_ads(
    request: AdRequest, index: TargetIndex, rules: AuctionRules, multiplier_of: Callable[[Campaign], float]
) -> list[Placed]:
    """By place. Empty if nothing fits: then the page stays organic. `multiplier_of`: the pacing of a campaign; 0 if it
    takes no part, for example because its budget is spent.
    """
    places = places_of(rules.page, request.results, request.pinned)
    if not places:
        return []
    least = least_relevance(rules.page, places, request.relevance[: request.results], request.pinned)
    rows = [
        row
        for row in range(first_row(places), len(request.product_ids))
        if request.relevance[row] >= least and request.product_ids[row] not in request.excluded
    ]
    ads = _ads(request, rows, index, multiplier_of, len(places))
    return run_auction(ads, places, rules.mechanism, rules.reserve, request.seed)


def _ads(
    request: AdRequest, rows: Sequence[int], index: TargetIndex, multiplier_of: Callable[[Campaign], float], places: int
) -> Iterator[Ad]:
    """All ads that can get a place or set a price. Of one product these are those of the advertisers that bid most, one
    more than there are places, since their ads differ in the bids only.
    """
    takes_part, multipliers = index.taking_part(request.circumstances), dict[str, float]()
    for row in rows:
        probability = request.click_probabilities[row]
        # The bids of the product's advertisers, ascending.
        bids, advertisers = list[float](), set[str]()
        for campaign in index.campaigns_of(request.product_ids[row]):
            if len(bids) > places and campaign.bid < bids[-places - 1]:
                break
            if not takes_part(campaign):
                continue
            multiplier = multipliers.get(campaign.id)
            if multiplier is None:
                multiplier = multipliers[campaign.id] = multiplier_of(campaign)
            if multiplier <= 0:
                continue
            yield Ad(campaign.id, campaign.advertiser, row, campaign.bid, probability, multiplier)
            if campaign.advertiser not in advertisers:
                advertisers.add(campaign.advertiser)
                insort(bids, campaign.bid * multiplier)
