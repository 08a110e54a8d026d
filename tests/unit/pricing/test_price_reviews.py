"""A large change waits for a person; the decision takes effect at the next look and shifts later proposals."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from services.pricing.domain.publication import AskedReview
from tests.unit.pricing.shops import DAY_S, LOOSE, OneProduct, usd


def reviewed() -> OneProduct:
    """Changes by more than 20 % wait."""
    return OneProduct(review_above=Decimal("0.2"))


def asked(one: OneProduct) -> list[AskedReview]:
    assert one.last is not None
    return list(one.last.asked)


def test_a_large_change_waits() -> None:
    """A change up to the threshold applies; one beyond it is asked about, and the price stays."""
    one = reviewed()
    assert (one.look("0.8"), asked(one)) == ("80.00", [])
    assert one.look("0.5", after_s=DAY_S) == "80.00"
    (review,) = asked(one)
    assert (review.product_id, review.current, review.proposed) == ("a", usd(80), usd(50))
    assert one.guardrail == "REVIEW"


def test_an_id_for_each_period() -> None:
    """A repeated look asks with the same id; while it waits nothing else is asked."""
    one, again = reviewed(), reviewed()
    one.look("0.5")
    again.look("0.5", after_s=3_600)
    assert [review.review_id for review in asked(one)] == [review.review_id for review in asked(again)]
    one.look("0.4", after_s=DAY_S)
    assert asked(one) == []
    again.look("1", after_s=DAY_S)
    again.look("0.5", after_s=DAY_S)
    assert [review.review_id for review in asked(again)] != [review.review_id for review in asked(one)]


def test_an_approved_price_applies_at_the_next_look() -> None:
    """Within the period, and for its rest; the guardrails still hold."""
    one = reviewed()
    one.look("0.5")
    one.reviews = {asked(one)[0].review_id: True}
    assert one.look(after_s=60) == "50.00"
    assert one.look("0.1", after_s=60) == "50.00"
    assert one.look("0.45", after_s=DAY_S) == "45.00"
    held = reviewed()
    held.look("0.5")
    held.reviews = {asked(held)[0].review_id: True}
    held.change(price_floor=usd(60))
    assert held.look(after_s=60) == "60.00"


def test_an_approval_of_another_shop_price_is_void() -> None:
    """If the shop asks another price meanwhile, what was approved does not apply."""
    one = reviewed()
    one.look("0.5")
    one.reviews = {asked(one)[0].review_id: True}
    one.change(price=usd(200))
    assert one.look(after_s=60) == "200.00"


def test_a_rejection_shifts_later_proposals() -> None:
    """The price stays; for four weeks a proposal goes at most half of the rejected way, and then all of it again."""
    one = reviewed()
    one.look("0.7")
    one.reviews = {asked(one)[0].review_id: False}
    assert one.look(after_s=60) == "100.00"
    assert one.look("0.7", after_s=DAY_S) == "85.00"
    assert one.guardrail == "REVIEW"
    assert one.look("0.9", after_s=DAY_S) == "90.00"
    one.look("0.95", after_s=28 * DAY_S)
    assert one.look("0.77", after_s=DAY_S) == "77.00"


def test_a_smaller_proposal_ends_the_waiting() -> None:
    """If a later period proposes a change within the threshold, it applies, and a later approval has no effect."""
    one = reviewed()
    one.look("0.5")
    (review,) = asked(one)
    assert one.look("0.9", after_s=DAY_S) == "90.00"
    one.reviews = {review.review_id: True}
    assert one.look(after_s=60) == "90.00"


def test_a_bound_needs_no_review() -> None:
    """What the product's own bounds force applies at once, however large the change is."""
    one = OneProduct(replace(LOOSE, maximum_increase=Decimal(1)), review_above=Decimal("0.2"))
    one.look("0.9")
    one.change(cost=usd(140))
    assert one.look("0.9", after_s=DAY_S) == "140.00"
