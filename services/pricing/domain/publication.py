"""The prices that pricing publishes: one for each product and price list that costs less than its list price.

A published price names the shop's price that it was computed from. It applies only while the shop asks that price.
During a sale of the shop it repeats the sale's price: what is published then is the lowest price of the days before.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal
from types import MappingProxyType

from services.common.money import Money, in_minor_units
from services.pricing.domain.competitors import COMPETITOR_DAYS
from services.pricing.domain.decision import PriceDecision, Proposed, Review
from services.pricing.domain.guardrails import Guardrail, Guardrails, Past, offer
from services.pricing.domain.offered_product import (
    OfferedProduct,
    PublishedPrice,
    ShopPrice,
    asked_prices,
    default_stock,
)
from services.pricing.domain.policy_set import Policy
from services.pricing.domain.price_record import DAY_S, PriceRecord, Rejection, WaitingReview, share_of
from services.pricing.domain.price_war import PriceWar, followed, least_share
from services.pricing.domain.pricing import Offer, PricedItem, PriceReason, ProposedPrice

# How long a rejection counts.
REJECTED_S = 28 * DAY_S
_DIGEST = 40
# More than any price is of the shop's price.
_NO_SHARE = Decimal(1_000)


@dataclass(frozen=True)
class KnownProduct:
    """A product as it was seen last, and what it has cost, by price list."""

    product: OfferedProduct
    records: Mapping[str, PriceRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class PriceChange:
    """A price to publish for a product and a price list; None: the published one is withdrawn.

    `updated_ns`: its time, later than that of every price published before.
    """

    product_id: str
    price_list_id: str
    price: PublishedPrice | None
    updated_ns: int


@dataclass(frozen=True)
class AskedReview:
    """A change of a price that waits for a decision. The id is the same for a product, price list and period."""

    review_id: str
    product_id: str
    price_list_id: str
    policy_id: str
    current: Money
    proposed: Money
    explanation: str


@dataclass(frozen=True)
class Look:
    """What a look at a product leads to. `known`: to be kept. `due_s`: when to look again though nothing has changed,
    in seconds since the epoch; infinite: never. `spent`: what discounts have cost since the last look; None: nothing.
    `asked`: what a person must decide. `decisions`: to be put on record before the changes are published. `ended_wars`:
    price wars that were ended now.
    """

    changes: list[PriceChange]
    known: KnownProduct
    due_s: float
    spent: Money | None = None
    asked: Sequence[AskedReview] = ()
    decisions: Sequence[PriceDecision] = ()
    ended_wars: int = 0


@dataclass(frozen=True)
class _Decision:
    """`price` None: the shop's price applies, otherwise that of `offer`, or the one that stays within a period.
    `proposed`, `offer`: what was computed now, and what the guardrails have made of it; None: nothing was computed.
    `held_back`: what was computed, and why, if a person has to decide first. `why`: without an offer the reason for
    the shop's price.
    """

    price: Money | None
    guardrail: int = 0
    proposed: ProposedPrice | None = None
    offer: Offer | None = None
    held_back: Offer | None = None
    why: str = ""

    @property
    def is_new(self) -> bool:
        return self.offer is not None


def look_at(
    product: OfferedProduct, before: KnownProduct | None, policy: Policy, now_s: float,
    is_budget_spent: bool = False, reviews: Mapping[str, bool] = MappingProxyType({}),
    competitor_days: float = COMPETITOR_DAYS,
) -> Look:  # fmt: skip
    """What must be published or withdrawn, so that the published prices are those that the policy computes now.

    `is_budget_spent`: whether the discounts of the month have used up the policy's budget. `reviews`: whether the
    change was approved, by the id of the review, as far as persons have decided. `competitor_days`: how long an
    observed price counts.
    """
    wanted, records, due_s = dict[str, PublishedPrice](), dict[str, PriceRecord](), math.inf
    reviewed, decisions, ended_wars = list[AskedReview](), list[PriceDecision](), 0
    for list_id, asked in asked_prices(product, now_s, now_s - competitor_days * DAY_S):
        published = product.published.get(list_id)
        if published is not None and published.base_price != asked.effective:
            published = None
        record = before.records.get(list_id) if before else None
        if record is None:
            record = _first_record(asked.effective, published, now_s)
        own = policy.in_force(product.product_id, list_id, now_s)
        approved, last = _approved(record, asked, reviews), record
        record = _with_decision(record, reviews, now_s)
        decision = _decided(asked, published, record, own, now_s, is_budget_spent, approved)
        price = decision.price or asked.effective
        war = _war(record, price, asked.item.competitor, own.rails, now_s)
        ended_wars += war is not None and war.is_calm(now_s) and not (record.war and record.war.is_calm(now_s))
        record = replace(_followed(record, price, asked.effective, decision, own, now_s), war=war)
        if decision.held_back is not None and record.waiting is None:
            review = _review_of(product.product_id, list_id, own, price, decision.held_back, now_s)
            record = replace(
                record, waiting=WaitingReview(review.review_id, review.proposed.amount, asked.effective.amount)
            )
            reviewed.append(review)
        made = _on_record(asked, decision, last, record, own, now_s, approved is not None)
        if made is not None and made.decision_id != last.decision_id:
            record = replace(record, decision_id=made.decision_id)
            decisions.append(made)
        records[list_id] = record
        if (published := _to_publish(asked, decision, record)) is not None:
            wanted[list_id] = published
        due_s = min(due_s, asked.next_change_s, own.pricer.next_change_s(asked.item, now_s))
    due_s = min(due_s, *_policy_changes_s(policy, now_s)) if records else math.inf
    updated_ns = max(int(now_s * 1e9), product.published_ns + 1)
    changes = [
        PriceChange(product.product_id, list_id, wanted.get(list_id), updated_ns)
        for list_id in sorted({*wanted, *product.published})
        if wanted.get(list_id) != product.published.get(list_id)
    ]
    known = KnownProduct(
        replace(product, published=wanted, published_ns=updated_ns if changes else product.published_ns), records
    )
    return Look(changes, known, due_s, _spent(product, before, now_s), reviewed, decisions, ended_wars)


def _first_record(effective: Money, published: PublishedPrice | None, now_s: float) -> PriceRecord:
    """Of a product that was not seen before, or whose record was lost."""
    if published is None:
        return PriceRecord(effective, effective.amount, now_s)
    lowest = published.lowest.amount if published.lowest else None
    return PriceRecord(published.price, effective.amount, now_s, lowest)


def _decided(
    asked: ShopPrice, published: PublishedPrice | None, record: PriceRecord, policy: Policy, now_s: float,
    is_budget_spent: bool, approved: ProposedPrice | None,
) -> _Decision:  # fmt: skip
    """A sale is not marked down further, and a price whose bounds are in another currency not at all.

    Within a period the published price stays, or is withdrawn: if the shop asks another price, or if the product's own
    bounds do not allow it any more. `approved`: a price that a person has approved applies at once.
    """
    if asked.is_sale:
        return _Decision(None, why="A sale of the shop applies; it is not marked down further.")
    if not asked.has_bounds:
        return _Decision(None, why="Cost or bounds are in another currency than the price, so that none is computed.")
    period = policy.period(now_s)
    if approved is None and period is not None and record.period == period:
        if published is None:
            return _Decision(None, why="The shop's price applies until the next period begins.")
        if not _is_within_bounds(asked.item, published.price, policy.rails):
            return _Decision(None, why="The product's bounds do not allow the computed price any more.")
        return _Decision(published.price, published.guardrail)
    current = share_of(published.price.amount, asked.effective.amount) if published else Decimal(1)
    start_s = now_s if period is None else period * policy.period_s
    past = Past(
        current, record.shares_since(start_s - DAY_S), record.shares_since(start_s - 7 * DAY_S),
        _allowed(record, current, now_s), is_budget_spent,
        least_share(record.war, current, policy.rails.price_war, now_s),
    )  # fmt: skip
    proposed = policy.proposed(asked.item, now_s, past)
    if approved is not None:
        # What is expected of the approved price is known from the same demand.
        proposed = replace(approved, evidence=proposed.evidence and replace(proposed.evidence, wanted=approved.amount))
    made = offer(asked.item, proposed, policy.rails, past, now_s)
    held_back = None
    if approved is None and _needs_review(made, current, asked.effective, policy):
        held_back = made
        stays = ProposedPrice(current * asked.effective.amount, PriceReason.PUBLISHED, "")
        kept = offer(asked.item, stays, policy.rails, replace(past, allowed=(current, current)), now_s)
        made = replace(kept, guardrail=Guardrail.REVIEW if kept.guardrail == Guardrail.NONE else kept.guardrail)
    base = asked.effective
    is_base = made.amount.amount == in_minor_units(base.amount, base.currency, ROUND_FLOOR)
    return _Decision(None if is_base else made.amount, 0 if is_base else made.guardrail, proposed, made, held_back)


def _on_record(
    asked: ShopPrice, decision: _Decision, last: PriceRecord, record: PriceRecord, policy: Policy, now_s: float,
    is_approved: bool,
) -> PriceDecision | None:  # fmt: skip
    """The decision with its id, which is that of the last one if it says the same. None if there is nothing to say: the
    price of the period stays, or the shop's price applies as before. `last`, `record`: before and after it.
    """
    made, proposed = decision.offer, decision.proposed
    if made is None and decision.price is not None:
        return None
    review, review_id = Review.NOT_ASKED, ""
    if decision.held_back is not None and record.waiting is not None:
        review, review_id = Review.WAITING, record.waiting.review_id
    elif is_approved and last.waiting is not None:
        review, review_id = Review.APPROVED, last.waiting.review_id
    elif made is not None and made.guardrail == Guardrail.REVIEW:
        review = Review.REJECTED
    # Within a period a price stays, also when a freeze begins or ends.
    period_ends_s, freeze_edge_s = _policy_changes_s(policy, now_s)
    ends_s = freeze_edge_s if policy.period(now_s) is None else period_ends_s
    what = None
    if made is not None and proposed is not None:
        wanted = proposed.amount if proposed.evidence is None else proposed.evidence.wanted
        what = Proposed(wanted, proposed.reason, proposed.evidence, made.floor, made.ceiling)
    found = PriceDecision(
        asked.item, asked.effective, decision.price or asked.effective, last.price,
        made.explanation if made is not None else decision.why, policy.id, policy.name, now_s,
        min(ends_s, asked.next_change_s, policy.pricer.next_change_s(asked.item, now_s)), what,
        Guardrail.NONE if made is None else Guardrail(made.guardrail), policy.period(now_s), review, review_id,
        experiment_arm=policy.arm,
    )  # fmt: skip
    if found.is_of_the_shop and not last.decision_id:
        return None
    return replace(found, decision_id=found.id_after(last.decision_id))


def _war(
    record: PriceRecord, price: Money, competitor: Money | None, rails: Guardrails, now_s: float
) -> PriceWar | None:  # fmt: skip
    if rails.price_war is None:
        return None
    asked = competitor.amount if competitor else None
    before = record.price.amount if record.price.currency == price.currency else price.amount
    return followed(record.war, before, price.amount, asked, rails.price_war, now_s)


def _needs_review(made: Offer, current: Decimal, effective: Money, policy: Policy) -> bool:
    if policy.review_above is None or not effective.amount:
        return False
    return abs(share_of(made.amount.amount, effective.amount) - current) > policy.review_above * current


def _allowed(record: PriceRecord, current: Decimal, now_s: float) -> tuple[Decimal, Decimal] | None:
    """After a rejection a price goes at most half of the rejected way."""
    rejection = record.rejection
    if rejection is None or now_s >= rejection.until_s:
        return None
    half = (current + rejection.share) / 2
    return (half, _NO_SHARE) if rejection.share < current else (Decimal(0), half)


def _approved(record: PriceRecord, asked: ShopPrice, reviews: Mapping[str, bool]) -> ProposedPrice | None:
    """The price that waited and is approved now, unless the shop asks another price meanwhile."""
    waiting = record.waiting
    if waiting is None or not reviews.get(waiting.review_id) or waiting.base != asked.effective.amount:
        return None
    return ProposedPrice(waiting.price, PriceReason.PUBLISHED, "A person has approved the price.")


def _with_decision(record: PriceRecord, reviews: Mapping[str, bool], now_s: float) -> PriceRecord:
    """Nothing waits any more that was decided. A rejection is remembered."""
    waiting = record.waiting
    if waiting is None or (is_approved := reviews.get(waiting.review_id)) is None:
        return record
    if is_approved:
        return replace(record, waiting=None, rejection=None)
    return replace(record, waiting=None, rejection=Rejection(share_of(waiting.price, waiting.base), now_s + REJECTED_S))


def _review_of(
    product_id: str, list_id: str, policy: Policy, current: Money, made: Offer, now_s: float
) -> AskedReview:  # fmt: skip
    named = f"{product_id}\x1f{list_id}\x1f{policy.period(now_s)}"
    review_id = f"price-{hashlib.sha256(named.encode()).hexdigest()[:_DIGEST]}"
    return AskedReview(review_id, product_id, list_id, policy.id, current, made.amount, made.explanation)


def _is_within_bounds(item: PricedItem, price: Money, rails: Guardrails) -> bool:
    """Whether the item's own bounds and the largest increase allow the price."""
    own = Guardrails(rails.minimum_margin, Decimal(1), rails.maximum_increase)
    return offer(item, ProposedPrice(price.amount, PriceReason.PUBLISHED, ""), own).amount == price


def _followed(
    record: PriceRecord, price: Money, effective: Money, decision: _Decision, policy: Policy, now_s: float
) -> PriceRecord:
    """The record with the price that applies from now on; from the start of its period on, if it was computed in one:
    a day of prices has then the length of a day, however late the publisher is.
    """
    period = policy.period(now_s)
    since_s = now_s
    if decision.is_new and period is not None:
        since_s = max(record.since_s, float(period * policy.period_s))
        # What waited was proposed in an earlier period, and its time is over if this one needs no review.
        waiting = record.waiting if decision.held_back is not None else None
        record = replace(record, period=period, waiting=waiting)
    return record.then(price, effective.amount, since_s)


def _to_publish(asked: ShopPrice, decision: _Decision, record: PriceRecord) -> PublishedPrice | None:
    is_reduced = record.price.amount < asked.item.list_price.amount
    lowest = None
    if is_reduced and record.lowest_before is not None:
        lowest = Money(record.price.currency, record.lowest_before)
    if decision.price is not None:
        return PublishedPrice(decision.price, asked.effective, lowest, decision.guardrail)
    if lowest is None or not asked.is_sale:
        return None
    return PublishedPrice(asked.effective, asked.effective, lowest)


def _policy_changes_s(policy: Policy, now_s: float) -> Iterator[float]:
    period = policy.period(now_s)
    yield math.inf if period is None else float((period + 1) * policy.period_s)
    yield min((edge_s for edge_s in policy.rails.freeze_s or () if edge_s > now_s), default=math.inf)


def _spent(product: OfferedProduct, before: KnownProduct | None, now_s: float) -> Money | None:
    """What the computed discounts have cost since the last look: the pieces by which the stock has decreased, each with
    the largest discount of the product's price lists.
    """
    if before is None:
        return None
    stocks = [default_stock(each) for each in (before.product, product)]
    if None in stocks or (sold := (stocks[0] or 0) - (stocks[1] or 0)) <= 0:
        return None
    discounts = [
        Money(record.price.currency, record.base - record.price.amount)
        for record in before.records.values()
        if record.base > record.price.amount
    ]
    if not discounts:
        return None
    largest = max(discounts, key=lambda discount: discount.amount)
    return Money(largest.currency, largest.amount * sold)
