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
from services.pricing.domain.competitors import COMPETITOR_DAYS, CompetitorPrice, lowest_by_currency
from services.pricing.domain.guardrails import Guardrail, Guardrails, Past, offer
from services.pricing.domain.policy_set import Policy
from services.pricing.domain.price_record import DAY_S, PriceRecord, Rejection, WaitingReview, share_of
from services.pricing.domain.price_war import PriceWar, followed, least_share
from services.pricing.domain.pricing import Offer, PricedItem, PriceReason, ProposedPrice

# The id of the default price list.
DEFAULT_LIST = ""
# How long a rejection counts.
REJECTED_S = 28 * DAY_S
_DIGEST = 40
# More than any price is of the shop's price.
_NO_SHARE = Decimal(1_000)


@dataclass(frozen=True)
class ShopOffer:
    """The shop's own offer for a price list at any place. Each part may be absent. Times in seconds since the epoch;
    None: the sale has begun, or has no end.
    """

    price: Money | None = None
    sale_price: Money | None = None
    sale_starts_s: float | None = None
    sale_ends_s: float | None = None
    stock: int | None = None


_NOTHING = ShopOffer()


@dataclass(frozen=True)
class PublishedPrice:
    """A price, and the shop's price that it was computed from. `lowest`: of the 30 days before it; None: not known.

    `guardrail`: what held it, a number of guardrails.Guardrail; 0: the price is the shop's own.
    """

    price: Money
    base_price: Money
    lowest: Money | None = None
    guardrail: int = 0


@dataclass(frozen=True)
class OfferedProduct:
    """What the prices of a product depend on, and what is published of it.

    `shop` and `published` by price list. `published_ns`: the time of the newest price that was published or withdrawn,
    in nanoseconds since the epoch. `competitors`: by name.
    """

    product_id: str
    price: Money | None = None
    cost: Money | None = None
    price_floor: Money | None = None
    price_ceiling: Money | None = None
    stock: int | None = None
    created_s: float = 0.0
    shop: Mapping[str, ShopOffer] = field(default_factory=dict)
    published: Mapping[str, PublishedPrice] = field(default_factory=dict)
    published_ns: int = 0
    minimum_advertised_price: Money | None = None
    category_path: tuple[str, ...] = ()
    competitors: Mapping[str, CompetitorPrice] = field(default_factory=dict)


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
    `asked`: what a person must decide. `ended_wars`: price wars that were ended now.
    """

    changes: list[PriceChange]
    known: KnownProduct
    due_s: float
    spent: Money | None = None
    asked: Sequence[AskedReview] = ()
    ended_wars: int = 0


@dataclass(frozen=True)
class _ShopPrice:
    """What the shop asks in a price list at one time. `effective`: the price of the sale if one is on."""

    item: PricedItem
    effective: Money
    is_sale: bool
    # Whether cost and bounds are in the currency of the price, as far as they are known.
    has_bounds: bool
    # When a sale begins or ends next.
    next_change_s: float


@dataclass(frozen=True)
class _Decision:
    """`price` None: the shop's price applies. `is_new`: it was computed now, and not kept. `held_back`: what was
    computed, and why, if a person has to decide first.
    """

    price: Money | None
    guardrail: int = 0
    is_new: bool = True
    held_back: Offer | None = None


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
    reviewed, ended_wars = list[AskedReview](), 0
    for list_id, asked in _asked(product, now_s, now_s - competitor_days * DAY_S):
        published = product.published.get(list_id)
        if published is not None and published.base_price != asked.effective:
            published = None
        record = before.records.get(list_id) if before else None
        if record is None:
            record = _first_record(asked.effective, published, now_s)
        approved = _approved(record, asked, reviews)
        record = _with_decision(record, reviews, now_s)
        decision = _decided(asked, published, record, policy, now_s, is_budget_spent, approved)
        price = decision.price or asked.effective
        war = _war(record, price, asked.item.competitor, policy.rails, now_s)
        ended_wars += war is not None and war.is_calm(now_s) and not (record.war and record.war.is_calm(now_s))
        record = replace(_followed(record, price, asked.effective, decision, policy, now_s), war=war)
        if decision.held_back is not None and record.waiting is None:
            review = _review_of(product.product_id, list_id, policy, price, decision.held_back, now_s)
            record = replace(
                record, waiting=WaitingReview(review.review_id, review.proposed.amount, asked.effective.amount)
            )
            reviewed.append(review)
        records[list_id] = record
        if (made := _to_publish(asked, decision, record)) is not None:
            wanted[list_id] = made
        due_s = min(due_s, asked.next_change_s, policy.pricer.next_change_s(asked.item, now_s))
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
    return Look(changes, known, due_s, _spent(product, before, now_s), reviewed, ended_wars)


def _first_record(effective: Money, published: PublishedPrice | None, now_s: float) -> PriceRecord:
    """Of a product that was not seen before, or whose record was lost."""
    if published is None:
        return PriceRecord(effective, effective.amount, now_s)
    lowest = published.lowest.amount if published.lowest else None
    return PriceRecord(published.price, effective.amount, now_s, lowest)


def _decided(
    asked: _ShopPrice, published: PublishedPrice | None, record: PriceRecord, policy: Policy, now_s: float,
    is_budget_spent: bool, approved: ProposedPrice | None,
) -> _Decision:  # fmt: skip
    """A sale is not marked down further, and a price whose bounds are in another currency not at all.

    Within a period the published price stays, or is withdrawn: if the shop asks another price, or if the product's own
    bounds do not allow it any more. `approved`: a price that a person has approved applies at once.
    """
    if asked.is_sale or not asked.has_bounds:
        return _Decision(None, is_new=False)
    period = policy.period(now_s)
    if approved is None and period is not None and record.period == period:
        if published is None or not _is_within_bounds(asked.item, published.price, policy.rails):
            return _Decision(None, is_new=False)
        return _Decision(published.price, published.guardrail, is_new=False)
    current = share_of(published.price.amount, asked.effective.amount) if published else Decimal(1)
    start_s = now_s if period is None else period * policy.period_s
    past = Past(
        current, record.shares_since(start_s - DAY_S), record.shares_since(start_s - 7 * DAY_S),
        _allowed(record, current, now_s), is_budget_spent,
        least_share(record.war, current, policy.rails.price_war, now_s),
    )  # fmt: skip
    made = offer(asked.item, approved or policy.proposed(asked.item, now_s, past), policy.rails, past, now_s)
    held_back = None
    if approved is None and _needs_review(made, current, asked.effective, policy):
        held_back = made
        stays = ProposedPrice(current * asked.effective.amount, PriceReason.PUBLISHED, "")
        kept = offer(asked.item, stays, policy.rails, replace(past, allowed=(current, current)), now_s)
        made = replace(kept, guardrail=Guardrail.REVIEW if kept.guardrail == Guardrail.NONE else kept.guardrail)
    base = asked.effective
    if made.amount.amount == in_minor_units(base.amount, base.currency, ROUND_FLOOR):
        return _Decision(None, held_back=held_back)
    return _Decision(made.amount, made.guardrail, held_back=held_back)


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


def _approved(record: PriceRecord, asked: _ShopPrice, reviews: Mapping[str, bool]) -> ProposedPrice | None:
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


def _to_publish(asked: _ShopPrice, decision: _Decision, record: PriceRecord) -> PublishedPrice | None:
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
    stocks = [_default_stock(each) for each in (before.product, product)]
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


def _default_stock(product: OfferedProduct) -> int | None:
    own = product.shop.get(DEFAULT_LIST, _NOTHING).stock
    return product.stock if own is None else own


def _asked(product: OfferedProduct, now_s: float, observed_from_s: float) -> Iterator[tuple[str, _ShopPrice]]:
    """By price list: of the default list, and of each list with a price of its own."""
    lowest = lowest_by_currency(product.competitors.values(), observed_from_s)
    default = product.shop.get(DEFAULT_LIST, _NOTHING)
    if (asked := _shop_price(product, DEFAULT_LIST, [default], now_s, lowest)) is not None:
        yield DEFAULT_LIST, asked
    for list_id, own in product.shop.items():
        if list_id != DEFAULT_LIST and own.price is not None:
            asked = _shop_price(product, list_id, [own, default], now_s, lowest)
            if asked is not None:
                yield list_id, asked


def _shop_price(
    product: OfferedProduct, list_id: str, chain: list[ShopOffer], now_s: float, competitors: Mapping[str, Money]
) -> _ShopPrice | None:  # fmt: skip
    """Each part is that of the first offer in `chain` that has one, else the product's (offer.proto). None without a
    price.
    """
    price = next((made.price for made in chain if made.price is not None), product.price)
    if price is None:
        return None
    bounds = (product.cost, product.price_floor, product.price_ceiling, product.minimum_advertised_price)
    has_bounds = all(bound.currency == price.currency for bound in bounds if bound is not None)
    item = PricedItem(
        product.product_id, price, product.cost, product.price_floor, product.price_ceiling,
        next((made.stock for made in chain if made.stock is not None), product.stock), product.created_s,
        price_list_id=list_id, minimum_advertised_price=product.minimum_advertised_price,
        category_path=product.category_path, competitor=competitors.get(price.currency),
    )  # fmt: skip
    sale = next((made for made in chain if made.sale_price is not None), _NOTHING)
    ends = (_or(sale.sale_starts_s, -math.inf), _or(sale.sale_ends_s, math.inf))
    following_s = min((end_s for end_s in ends if end_s > now_s), default=math.inf)
    is_sale = _is_on(sale, ends, price, now_s)
    effective = sale.sale_price if is_sale and sale.sale_price is not None else price
    return _ShopPrice(item, effective, is_sale, has_bounds, following_s)


def _is_on(sale: ShopOffer, ends: tuple[float, float], price: Money, now_s: float) -> bool:
    """A sale price in another currency than the price, or above it, does not apply."""
    amount = sale.sale_price
    if amount is None or amount.currency != price.currency or amount.amount > price.amount:
        return False
    return ends[0] <= now_s < ends[1]


def _or(time_s: float | None, otherwise_s: float) -> float:
    return otherwise_s if time_s is None else time_s
