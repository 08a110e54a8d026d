"""What is counted of the facts of a product."""

from __future__ import annotations

import math

from services.pricing.learning.counting import Cell, Counts, counts_of, units_left
from services.pricing.learning.facts import Act, Facts, Impression, Interaction
from services.pricing.learning.joining import joins_of
from services.pricing.learning.periods import calendar
from tests.unit.pricing.learning.facts_of_a_day import DAY, DAY_S, HOUR_S, did, offer, shown, usd


def counted(impressions: list[Impression], interactions: list[Interaction], zone: str = "UTC") -> dict[Cell, Counts]:
    facts = Facts(impressions, interactions)
    return counts_of(impressions, interactions, joins_of(facts, DAY_S), units_left(facts), calendar(zone))


def test_a_person_counts_once_for_a_period_and_a_price() -> None:
    """A fake visitor's 300 views, clicks and carts are one of each; at another price the person counts again."""
    views = [shown(n, n, position=10 - n % 10) for n in range(300)]
    acts = [did(n, n, act, page=n) for act in (Act.CLICK, Act.CART) for n in range(300 * (act is Act.CART), 600)]
    found = counted([*views, shown(900, 900, 800), shown(901, 901, person=2, position=3)], acts)
    own = found[Cell(DAY, offer(1_000))]
    assert (own.views, own.visitors, own.clicks, own.carts) == (301, 2, 1, 1)
    assert own.exposure == 1 + 1 / math.log2(4)
    assert found[Cell(DAY, offer(800))].visitors == 1


def test_pieces_and_revenue_count_in_full() -> None:
    """By what was paid for a piece, else by the price that was shown; one person is one buyer."""
    bought = [did(1, 10, quantity=3, paid=usd(950)), did(2, 20), did(3, 30, person=2, quantity=2)]
    own = counted([shown(1, 0), shown(2, 0, person=2)], bought)[Cell(DAY, offer(1_000))]
    assert (own.units, own.revenue, own.buyers) == (6, 3 * 950 + 3 * 1_000, 2)


def test_a_refund_takes_pieces_back_in_the_period_of_the_purchase() -> None:
    """Whenever it comes, and from whom with the order's id; a part leaves the rest, and the buyer."""
    bought = [did(1, 10, quantity=3, order=5), did(2, 20, person=2)]
    refunds = [
        did(11, 9 * DAY_S, Act.REFUND, person=77, quantity=1, order=5),
        did(12, 9 * DAY_S, Act.REFUND, person=2, quantity=0),
    ]
    found = counted([shown(1, 0), shown(2, 0, person=2)], [*bought, *refunds])
    own = found[Cell(DAY, offer(1_000))]
    assert list(found) == [Cell(DAY, offer(1_000))]
    assert (own.units, own.revenue, own.returned_units, own.buyers) == (2, 2_000, 2, 1)


def test_stock_sales_and_unjoined_pieces() -> None:
    """Views in stock, a sale of the shop, and the pieces whose buyer was shown nothing."""
    views = [shown(1, 0, in_stock=False), shown(2, 1, is_sale=True)]
    own = counted(views, [did(1, 10), did(2, 20, person=8, quantity=2)])[Cell(DAY, offer(1_000))]
    assert (own.views, own.stocked_views, own.is_sale, own.units, own.unjoined_units) == (2, 1, True, 3, 2)


def test_periods_are_days_of_the_time_zone() -> None:
    """23:30 in UTC is of the next day in Oslo; a purchase is of its own day, at the price that was shown before."""
    views, bought = [shown(1, 23.5 * HOUR_S)], [did(1, 25 * HOUR_S)]
    assert {cell.day: (own.views, own.units) for cell, own in counted(views, bought).items()} == {
        DAY: (1, 0), DAY + 1: (0, 1),
    }  # fmt: skip
    ((cell, own),) = counted(views, bought, "Europe/Oslo").items()
    assert (cell.day, own.views, own.units) == (DAY + 1, 1, 1)
