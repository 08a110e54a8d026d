"""A reduction shows the lowest price of the 30 days before it began to apply (Directive 98/6/EC, article 6a)."""

from __future__ import annotations

import random
from decimal import Decimal

from services.pricing.domain.price_record import MOST_PAST, PriceRecord
from tests.unit.pricing.shops import DAY_S, OneProduct, usd


def test_of_a_markdown() -> None:
    """The first markdown shows the price before it, and one a day later the lowest of both."""
    one = OneProduct()
    one.look("1")
    one.look("0.8", after_s=DAY_S)
    assert one.shown() == ("80.00", "100.00")
    one.look("0.85", after_s=DAY_S)
    assert one.shown() == ("85.00", "80.00")


def test_it_stays_while_the_price_stays() -> None:
    """The days before the reduction count, however long it lasts."""
    one = OneProduct()
    one.look("1")
    one.look("0.8", after_s=DAY_S)
    for _ in range(100):
        one.look("0.8", after_s=DAY_S)
    assert one.lowest == "100.00"


def test_only_30_days_count() -> None:
    """A price that ended more than 30 days before the reduction does not count; one that ended later does."""
    one = OneProduct()
    one.look("0.5")
    one.look("1", after_s=DAY_S)
    one.look("0.8", after_s=29 * DAY_S)
    assert one.lowest == "50.00"
    one.look("1", after_s=DAY_S)
    one.look("0.8", after_s=40 * DAY_S)
    assert one.lowest == "100.00"


def test_of_the_shops_own_sale() -> None:
    """A sale shows the lowest price before it, of computed prices too; the sale itself stays as it is."""
    one = OneProduct()
    one.look("0.9")
    one.sale("70")
    one.look(after_s=60)
    assert one.shown() == ("70.00", "90.00")
    one.sale(None)
    one.look("1", after_s=DAY_S)
    assert one.shown() == ("100.00", None)


def test_of_the_shops_own_price_changes() -> None:
    """A lower price that the shop asked in between counts, though it was no reduction."""
    one = OneProduct()
    one.look("1")
    one.change(price=usd(60))
    one.look(after_s=DAY_S)
    assert one.shown() == ("60.00", None)
    one.change(price=usd(100))
    one.look(after_s=DAY_S)
    one.look("0.8", after_s=DAY_S)
    assert one.shown() == ("80.00", "60.00")


def test_an_unknown_past_is_not_guessed() -> None:
    """A sale that was on when the product was first seen has no lowest price before it."""
    one = OneProduct()
    one.sale("70")
    one.look()
    assert one.shown() == ("70.00", None)


def test_a_lost_record_keeps_what_is_published() -> None:
    """Without its record a published price keeps the lowest price that was published with it."""
    one = OneProduct()
    one.look("1")
    one.look("0.8", after_s=DAY_S)
    one.known = None
    one.look("0.8", after_s=60)
    assert one.last is not None
    assert (one.last.changes, one.lowest) == ([], "100.00")


def test_a_record_is_bounded() -> None:
    """Prices that change every minute make no endless record, and the lowest of all prices stays right."""
    chance, record, seen = random.Random(0), PriceRecord(usd(100), Decimal(100), 0.0), [Decimal(100)]
    for minute in range(1, 2_000):
        price = Decimal(chance.randint(50, 100))
        before, record = record, record.then(usd(str(price)), Decimal(100), 60.0 * minute)
        if record is not before:
            assert record.lowest_before == min(seen)
            seen.append(price)
        assert len(record.past) <= MOST_PAST
