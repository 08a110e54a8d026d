"""Which campaigns take part in the auction of a page."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.daily_window import DailyWindow
from services.common.merchandising import Anchoring, AudienceCondition, QueryCondition, Trigger, Validity
from services.common.query_words import query_words
from services.sponsored.domain.auction import Placed
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.page import PageRules, places_of
from services.sponsored.domain.selection import AdRequest, AuctionRules, select_ads
from services.sponsored.domain.target_index import Circumstances, TargetIndex
from tests.unit.sponsored.campaigns import MONDAY_S, campaign

RULES = AuctionRules(PageRules(positions=(1, 3), maximum_share=0.5))
# Four organic results, then product "p".
IDS = ("w", "x", "y", "z", "p")
QUERY = Circumstances(texts=(query_words("red winter coat"),), now_s=MONDAY_S)


def contains(text: str) -> QueryCondition:
    return QueryCondition(Anchoring.CONTAINS, text)


def select(
    *campaigns: Campaign, circumstances: Circumstances = QUERY, multiplier: float = 1.0, **fields: Any
) -> list[Placed]:
    columns: dict[str, Any] = {"relevance": (0.9, 0.9, 0.9, 0.9, 0.9), "click_probabilities": (0.1,) * 5, "results": 4}
    request = AdRequest(IDS, circumstances=circumstances, **{**columns, **fields})
    return select_ads(request, TargetIndex(campaigns), RULES, lambda _: multiplier)


@pytest.mark.parametrize(
    ("fields", "is_shown"),
    [
        ({}, True),
        ({"targets": Trigger(queries=(contains("winter coat"),))}, True),
        ({"targets": Trigger(queries=(contains("summer coat"),))}, False),
        ({"targets": Trigger(queries=(contains("winter coat"),)), "negative_keywords": (contains("red"),)}, False),
        ({"negative_keywords": (contains("blue"),)}, True),
        ({"targets": Trigger(categories=("Clothes > Coats",))}, False),
        ({"targets": Trigger(placements=("home",))}, False),
        ({"targets": Trigger(audience=(AudienceCondition("Style", ("classic",)),))}, False),
        ({"schedule": Validity(until_s=MONDAY_S)}, False),
        ({"schedule": Validity(-math.inf, math.inf, (DailyWindow(0, 60),), "UTC")}, True),
        ({"schedule": Validity(-math.inf, math.inf, (DailyWindow(0, 60),), "Asia/Tokyo")}, False),
        ({"product_ids": ("q",)}, False),
    ],
)
def test_targets(fields: dict[str, Any], is_shown: bool) -> None:
    """All conditions that a campaign sets must hold, and no negative keyword."""
    assert bool(select(campaign(**fields))) == is_shown


def test_category_audience_and_placement() -> None:
    """A category page, a person who has declared a value, and a placement meet the targets that name them."""
    coats = Circumstances(category=("clothes", "coats"), attributes={"style": frozenset({"classic"})}, now_s=MONDAY_S)
    both = Trigger(categories=("Clothes > Coats",), audience=(AudienceCondition("Style", ("Classic",)),))
    assert select(campaign(targets=both), circumstances=coats)
    home = Circumstances(placement="home", now_s=MONDAY_S)
    assert select(campaign(targets=Trigger(placements=("home",))), circumstances=home)
    assert not select(campaign(), circumstances=home)


def test_below_the_relevance_floor_the_page_is_organic() -> None:
    """However high the bid: below the floor, or less relevant than the results behind the ad."""
    rich = campaign(bid=100_000)
    assert not select(rich, relevance=(0.4, 0.4, 0.4, 0.4, 0.4))
    assert not select(rich, relevance=(0.9, 0.9, 0.9, 0.9, 0.8))
    assert select(rich, relevance=(0.9, 0.9, 0.9, 0.9, 0.86))


def test_nobody_pays_for_a_product_that_is_on_top_anyway() -> None:
    """A product before the last sponsored place is not advertised; one behind it is."""
    assert not select(campaign(product_ids=("y",)))
    assert [one.ad.row for one in select(campaign(product_ids=("z",)))] == [3]


def test_a_campaign_without_budget_takes_no_part() -> None:
    """A multiplier of 0 stops it."""
    assert not select(campaign(), multiplier=0.0)


@pytest.mark.parametrize(
    ("results", "positions"), [(0, []), (4, []), (5, [1]), (10, [1, 4]), (48, [1, 4, 8, 12, 16, 20])]
)
def test_the_share_of_a_page_is_bounded(results: int, positions: list[int]) -> None:
    """One in five results at most is sponsored."""
    assert [place.position for place in places_of(PageRules(), results)] == positions


@given(st.lists(st.floats(0.5, 1), min_size=12, max_size=40), st.floats(0, 0.3), st.data())
@settings(max_examples=200)
def test_dcg_falls_by_at_most_the_bound(relevance: list[float], maximum_loss: float, data: st.DataObject) -> None:
    """Of a page in the order of relevance, whichever products are advertised."""
    relevance.sort(reverse=True)
    ids = [str(row) for row in range(len(relevance))]
    advertised = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=5, unique=True))
    rules = AuctionRules(PageRules(maximum_loss=maximum_loss))
    index = TargetIndex([campaign(id, product_ids=(id,)) for id in advertised])
    placed = select_ads(AdRequest(ids, relevance, [0.1] * len(ids), 10), index, rules, lambda _: 1.0)
    page = [row for row in range(len(ids)) if row not in {one.ad.row for one in placed}]
    for one in placed:
        page.insert(one.place.position - 1, one.ad.row)
    assert dcg([relevance[row] for row in page[:10]]) >= (1 - maximum_loss) * dcg(relevance[:10]) - 1e-9


def dcg(gains: list[float]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def test_a_pinned_position_is_not_sold() -> None:
    """The next position is; what stands at a pinned one does not raise what an ad must reach."""
    assert [one.place.position for one in select(campaign(), pinned=frozenset({1}))] == [3]
    assert not select(campaign(), relevance=(1.0, 0.9, 0.9, 0.9, 0.9))
    assert select(campaign(), relevance=(1.0, 0.9, 0.9, 0.9, 0.9), pinned=frozenset({1}))


def test_an_excluded_product_takes_no_part() -> None:
    """Whatever is bid for it."""
    assert select(campaign(), excluded=frozenset({"w"}))
    assert not select(campaign(), excluded=frozenset({"p"}))
