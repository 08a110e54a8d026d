"""What is put on record of a price, when, and under which id."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from services.pricing.domain.decision import PriceDecision, Review
from services.pricing.domain.demand.forecast import DemandCurve
from services.pricing.domain.evidence import Evidence, Measure
from services.pricing.domain.guardrails import Guardrail
from services.pricing.domain.pricing import Guard, PricedItem, PriceReason, ProposedPrice
from tests.unit.pricing.shops import DAY_S, LOOSE, START_S, OneProduct, usd

CURVE = DemandCurve(100.0, 1.0, -2.0, 0.04, 0.0, 0.25)


def decided(shop: OneProduct) -> list[PriceDecision]:
    assert shop.last is not None
    return list(shop.last.decisions)


class Learned:
    """Knows the bounds, as a policy that learns: it wants `wanted`, and proposes what the guard leaves of it."""

    def __init__(self, wanted: str) -> None:
        self.wanted = Decimal(wanted)

    def __call__(self, item: PricedItem, now_s: float, guard: Guard) -> ProposedPrice:
        left = guard(item, ProposedPrice(item.list_price.amount, PriceReason.LIST_PRICE, ""))
        amount = min(max(self.wanted, left.floor.amount), left.ceiling.amount)
        evidence = Evidence(CURVE, Measure.PROFIT, Decimal(60), amount, self.wanted)
        return ProposedPrice(amount, PriceReason.DEMAND, "Learned.", evidence)

    def next_change_s(self, item: PricedItem, now_s: float) -> float:
        return float("inf")


def test_a_new_price_is_a_decision() -> None:
    """It has the price before and after, what was proposed, who proposed it, and when it ends."""
    shop = OneProduct()
    shop.look("0.9")
    (made,) = decided(shop)
    assert (made.before, made.price, made.base) == (usd(100), usd("90.00"), usd(100))
    assert made.proposed is not None
    assert (made.proposed.price, made.proposed.reason) == (Decimal("90.0"), PriceReason.AGED)
    assert (made.policy_id, made.policy_name, made.guardrail) == ("p", "test", Guardrail.NONE)
    assert (made.decided_s, made.until_s) == (START_S, START_S + DAY_S)


def test_the_shops_own_price_needs_no_decision() -> None:
    """A product about which nothing was computed is not on record; one whose markdown ends is, once."""
    shop = OneProduct()
    shop.look("1")
    assert decided(shop) == []
    shop.look("0.9", after_s=DAY_S)
    shop.look("1", after_s=DAY_S)
    (made,) = decided(shop)
    assert (made.before, made.price) == (usd("90.00"), usd(100))
    shop.look("1", after_s=DAY_S)
    assert decided(shop) == []


def test_a_price_that_stays_is_not_decided_again() -> None:
    """A look within a period adds nothing; each period has a decision. Without periods only a change is one."""
    shop = OneProduct()
    shop.look("0.9")
    shop.look("0.8", after_s=60)
    assert decided(shop) == []
    shop.look("0.9", after_s=DAY_S)
    assert len(decided(shop)) == 1
    always = OneProduct(period_s=0)
    always.look("0.9")
    always.look("0.9", after_s=3 * DAY_S)
    assert decided(always) == []
    always.look("0.8", after_s=60)
    assert len(decided(always)) == 1


def test_an_id_is_the_same_at_a_repetition_only() -> None:
    """A step that is repeated after a kill records the same entry; later decisions have ids of their own, also for a
    price that was in force before.
    """
    shop = OneProduct(period_s=0)
    shop.look("0.9")
    (first,) = decided(shop)
    again = OneProduct(period_s=0)
    again.look("0.9", after_s=5)
    assert [one.decision_id for one in decided(again)] == [first.decision_id]
    ids = {first.decision_id}
    for share in ("0.8", "0.9", "0.8", "0.9"):
        shop.look(share, after_s=60)
        ids |= {one.decision_id for one in decided(shop)}
    assert len(ids) == 5


def test_a_guardrail_is_named_with_both_prices() -> None:
    """What the policy wanted, what was allowed, and what is: for a policy that ignores the bounds, and for one that
    knows them and proposes one of them.
    """
    rails = replace(LOOSE, maximum_daily_change=Decimal("0.05"))
    shop = OneProduct(rails)
    shop.look("0.7")
    knowing = OneProduct(rails)
    knowing.policy = replace(knowing.policy, pricer=Learned("70"))
    knowing.look()
    for (made,) in (decided(shop), decided(knowing)):
        assert made.proposed is not None
        assert (made.proposed.price, made.price) == (Decimal(70), usd("95.00"))
        assert made.guardrail == Guardrail.DAILY_CHANGE
        assert (made.proposed.floor, made.proposed.ceiling) == (usd("95.00"), usd("100.00"))
        assert "raised the offer to USD 95.00: the largest change in a day" in made.explanation
    assert knowing.guardrail == "DAILY_CHANGE"


def test_evidence_is_of_the_price_that_holds() -> None:
    """Demand and profit can be read at the held price, at the list price and at the best one."""
    shop = OneProduct(replace(LOOSE, maximum_daily_change=Decimal("0.05")))
    shop.policy = replace(shop.policy, pricer=Learned("70"))
    shop.look()
    (made,) = decided(shop)
    assert made.proposed is not None
    evidence = made.proposed.evidence
    assert evidence is not None
    held, listed = (evidence.result_a_day(Decimal(price)) for price in (95, 100))
    assert held.mean == evidence.units_a_day(Decimal(95)).mean * 35
    assert listed.low < listed.mean < listed.high


def test_a_list_price_that_was_learned_is_on_record() -> None:
    """A policy that finds the list price best has decided so, each period."""
    shop = OneProduct()
    shop.policy = replace(shop.policy, pricer=Learned("100"))
    shop.look()
    (made,) = decided(shop)
    assert (made.price, made.guardrail) == (usd(100), Guardrail.NONE)
    shop.look(after_s=DAY_S)
    assert len(decided(shop)) == 1


def test_a_sale_ends_a_computed_price() -> None:
    """The sale and its end are decisions that say why the computed price does not apply."""
    shop = OneProduct()
    shop.look("0.9")
    shop.sale("80")
    shop.look(after_s=60)
    (sale,) = decided(shop)
    assert (sale.price, sale.base, sale.before, sale.proposed) == (usd(80), usd(80), usd("90.00"), None)
    assert "sale of the shop" in sale.explanation
    shop.sale(None)
    shop.look(after_s=60)
    (after,) = decided(shop)
    assert (after.price, after.before) == (usd(100), usd(80))
    assert "until the next period" in after.explanation


def test_reviews_are_named() -> None:
    """A change that waits, one that was approved, and one that a rejection bounds say so, with the id of the review."""
    shop = OneProduct(review_above=Decimal("0.1"))
    shop.policy = replace(shop.policy, pricer=Learned("80"))
    shop.look()
    (waits,) = decided(shop)
    assert waits.proposed is not None
    assert (waits.review, waits.price, waits.proposed.price) == (Review.WAITING, usd(100), Decimal(80))
    shop.reviews[waits.review_id] = True
    shop.look(after_s=60)
    (approved,) = decided(shop)
    assert (approved.review, approved.review_id, approved.price) == (Review.APPROVED, waits.review_id, usd("80.00"))
    assert approved.proposed is not None
    assert approved.proposed.evidence is not None
    rejected = OneProduct(review_above=Decimal("0.1"))
    rejected.look("0.8")
    (waits,) = decided(rejected)
    rejected.reviews[waits.review_id] = False
    rejected.look("0.8", after_s=DAY_S)
    (bounded,) = decided(rejected)
    assert (bounded.review, bounded.price) == (Review.REJECTED, usd("90.00"))
