"""Which campaign a sale belongs to."""

from __future__ import annotations

from datetime import date
from typing import Any

from services.sponsored.domain.attribution import AttributedSales, attributed_sales
from services.sponsored.domain.billing import tally
from services.sponsored.domain.facts import Fact, Purchase, Refund
from services.sponsored.domain.invalid_clicks import Verdict
from tests.unit.sponsored.campaigns import MONDAY_S, campaign, click_on, facts_of, impression

DAY_S = 86_400.0
BRANDS = {"p": "Acme", "q": "Acme", "r": "Bolt", "plain": "", "plain too": ""}


def sales(*trades: Fact, verdict: Verdict = Verdict.BILLED, **second: Any) -> dict[str, AttributedSales]:
    """With a click of Anna on product p of campaign c, and maybe a second one, an hour later."""
    shown = [impression(0, person_id="anna")]
    if second:
        shown.append(impression(1, person_id="anna", shown_s=MONDAY_S + 3_600, **second))
    clicks = [click_on(one) for one in shown]
    verdicts = {click.event_id: verdict for click in clicks}
    campaigns = {id: campaign(id) for id in ("c", "d")}
    billed = tally(facts_of(*shown, *clicks), verdicts, campaigns).billed
    facts = facts_of(*trades)
    found = attributed_sales(billed, facts.purchases.values(), facts.refunds.values(), lambda id: BRANDS[id])
    assert {day for _, day in found} <= {date(2026, 1, 5)}
    return {id: sold for (id, _), sold in found.items() if sold != AttributedSales()}


def bought(item_id: str, days: float, person_id: str = "anna", event_id: str = "e", **more: Any) -> Purchase:
    return Purchase(event_id, person_id, item_id, 500, MONDAY_S + days * DAY_S, "EUR", **more)


def test_the_product_and_its_brand_are_reported_apart() -> None:
    """The clicked product, and another product of its brand; one of another brand counts nowhere."""
    found = sales(bought("p", 1), bought("q", 2, event_id="f"), bought("r", 2, event_id="g"))
    assert found == {"c": AttributedSales(product=500, same_brand=500)}


def test_the_window_is_seven_days_after_the_click() -> None:
    """Not before it, not eight days after it, and not by others."""
    assert sales(bought("p", 7)) == {"c": AttributedSales(product=500)}
    assert not sales(bought("p", 8), bought("p", 0, event_id="before"), bought("p", 1, "ben", event_id="other"))


def test_the_last_click_counts() -> None:
    """A later click on the product takes the sale; one on another product of the brand does not."""
    assert sales(bought("p", 1), campaign_id="d") == {"d": AttributedSales(product=500)}
    assert sales(bought("p", 1), campaign_id="d", item_id="q") == {"c": AttributedSales(product=500)}


def test_a_purchase_counts_once() -> None:
    """The same event again changes nothing."""
    assert sales(bought("p", 1), bought("p", 1)) == {"c": AttributedSales(product=500)}


def test_products_without_a_brand_share_none() -> None:
    """A click on a product without a brand brings no sale of another one."""
    assert sales(bought("plain too", 1), campaign_id="d", item_id="plain") == {}


def test_only_billed_clicks_bring_sales() -> None:
    """A click that was refused explains no purchase."""
    assert not sales(bought("p", 1), verdict=Verdict.RING)


def test_what_is_given_back_is_no_sale() -> None:
    """Of three pieces one comes back, eight days after the click; of an order all of them."""
    three = bought("p", 1, quantity=3, order_id="o1")
    back = Refund("back", "anna", "p", MONDAY_S + 9 * DAY_S, 1, "o1")
    assert sales(three, back) == {"c": AttributedSales(product=1_000)}
    assert not sales(three, Refund("back", "anna", "p", MONDAY_S, order_id="o1"))


def test_a_sale_in_another_currency_is_left_out() -> None:
    """Amounts of two currencies are never added."""
    assert not sales(Purchase("e", "anna", "p", 500, MONDAY_S + DAY_S, "USD"))
