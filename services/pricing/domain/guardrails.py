"""Guardrails: bounds that no pricer can pass. `offer` is the only way from a proposal to a price.

They contradict each other now and then. The order of `Guardrail` is their order of strength: each narrows what the
stronger ones leave, and one that allows nothing of it has the effect of the nearest price that they leave.

1. A price is a whole number of minor units, and at least one, unless the shop's price is 0.
2. It is not above the shop's price, or no more than `maximum_increase` above it.
3. Minimum advertised price, minimum margin, floor and ceiling of the product.
4. Freeze: the price stays as it is.
5. Largest discount, budget of discounts, largest change a day and a week, what a person has rejected, the end of a
   price war.
6. Price endings. The shop's own price needs none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import IntEnum

from services.common.money import MINOR_UNIT_DECIMALS, Money, in_minor_units, minor_unit
from services.pricing.domain.price_war import Damper
from services.pricing.domain.pricing import LIST_PRICE_APPLIES, Offer, PricedItem, PriceReason, ProposedPrice

# Below it a difference comes from dividing prices, and is none.
_NOISE = Decimal("1e-9")
# An ending is one of the last two digits in minor units.
ENDING_MODULUS = 100


class Guardrail(IntEnum):
    """What held a price; a smaller number is stronger, except for the last. The numbers are those of offer.proto."""

    NONE = 1
    INVALID_PROPOSAL = 2
    SMALLEST_UNIT = 3
    MAXIMUM_INCREASE = 4
    MINIMUM_ADVERTISED_PRICE = 5
    MINIMUM_MARGIN = 6
    PRICE_FLOOR = 7
    PRICE_CEILING = 8
    FREEZE = 9
    MAXIMUM_DISCOUNT = 10
    DISCOUNT_BUDGET = 11
    DAILY_CHANGE = 12
    WEEKLY_CHANGE = 13
    REVIEW = 14
    PRICE_ENDING = 15
    # Stronger than a price ending, weaker than all others.
    PRICE_WAR = 16


_TEXTS = {
    Guardrail.INVALID_PROPOSAL: "the policy proposed no number",
    Guardrail.SMALLEST_UNIT: "it is the smallest unit of the currency",
    Guardrail.MAXIMUM_INCREASE: "the shop's price and the largest increase above it",
    Guardrail.MINIMUM_ADVERTISED_PRICE: "the minimum advertised price",
    Guardrail.MINIMUM_MARGIN: "the minimum margin",
    Guardrail.PRICE_FLOOR: "the product's price floor",
    Guardrail.PRICE_CEILING: "the product's price ceiling",
    Guardrail.FREEZE: "prices are frozen",
    Guardrail.MAXIMUM_DISCOUNT: "the largest discount",
    Guardrail.DISCOUNT_BUDGET: "the month's budget of discounts is used up",
    Guardrail.DAILY_CHANGE: "the largest change in a day",
    Guardrail.WEEKLY_CHANGE: "the largest change in a week",
    Guardrail.REVIEW: "a person has not approved the change",
    Guardrail.PRICE_ENDING: "the price ending",
    Guardrail.PRICE_WAR: "a price war with a competitor was ended",
}


@dataclass(frozen=True)
class Guardrails:
    """Of a policy. `minimum_margin` is a share of the cost, `maximum_discount` and `maximum_increase` are shares of the
    shop's price, the changes are shares of each price of the last day or week. `price_endings`: last two digits, in
    minor units. `freeze_s`: (from, until) in seconds since the epoch. `discount_budget`: of a calendar month.
    `price_war`: what ends one.
    """

    minimum_margin: Decimal
    maximum_discount: Decimal
    maximum_increase: Decimal
    maximum_daily_change: Decimal | None = None
    maximum_weekly_change: Decimal | None = None
    price_endings: tuple[int, ...] = ()
    freeze_s: tuple[float, float] | None = None
    discount_budget: Money | None = None
    price_war: Damper | None = None

    def is_frozen(self, now_s: float) -> bool:
        return self.freeze_s is not None and self.freeze_s[0] <= now_s < self.freeze_s[1]


@dataclass(frozen=True)
class Past:
    """What a price is compared with, each price as a share of the shop's price at its time.

    `current`: in force now. `day`, `week`: (lowest, highest) of the last day and week, the current one too. `allowed`:
    (lowest, highest) that reviews allow. `least`: after a price war.
    """

    current: Decimal = Decimal(1)
    day: tuple[Decimal, Decimal] | None = None
    week: tuple[Decimal, Decimal] | None = None
    allowed: tuple[Decimal, Decimal] | None = None
    is_budget_spent: bool = False
    least: Decimal | None = None


NO_PAST = Past()


class _Range:
    """The prices that are left, and which guardrail narrowed each end last."""

    def __init__(self, low: Decimal, high: Decimal) -> None:
        self.low, self.high = low, high
        self.low_by, self.high_by = Guardrail.SMALLEST_UNIT, Guardrail.MAXIMUM_INCREASE

    def at_least(self, low: Decimal, by: Guardrail) -> None:
        if low > self.low:
            self.low, self.low_by = min(low, self.high), by

    def at_most(self, high: Decimal, by: Guardrail) -> None:
        if high < self.high:
            self.high, self.high_by = max(high, self.low), by


def offer(
    item: PricedItem, proposed: ProposedPrice, rails: Guardrails, past: Past = NO_PAST, now_s: float = math.inf
) -> Offer:
    """The proposed price, moved into what the guardrails leave. Without a finite number it is the current price.

    `floor` and `ceiling` of the offer are what they leave. `now_s`: seconds since the epoch.
    """
    currency, price = item.list_price.currency, item.list_price.amount
    left = _left(item, rails, past, now_s)
    amount, held = proposed.amount, Guardrail.NONE
    if not amount.is_finite():
        amount, held = past.current * price, Guardrail.INVALID_PROPOSAL
    # An amount of a million digits cannot be rounded.
    rounded = in_minor_units(min(max(amount, Decimal(-1)), left.high + 1), currency, ROUND_HALF_UP)
    bounded = min(max(rounded, left.low), left.high)
    if bounded != rounded:
        held = left.low_by if bounded > rounded else left.high_by
    elif proposed.evidence is not None and _is_end(bounded, proposed.evidence.wanted, left, currency):
        # The policy knows the bounds, and has proposed one of them.
        rounded = proposed.evidence.wanted
        held = left.low_by if rounded < bounded else left.high_by
    is_shop_price = bounded == in_minor_units(price, currency, ROUND_FLOOR)
    ended = bounded if is_shop_price else _with_ending(bounded, left, currency, rails.price_endings)
    if ended != bounded and held is Guardrail.NONE:
        held = Guardrail.PRICE_ENDING
    reason, explanation = proposed.reason, proposed.explanation
    if held is not Guardrail.NONE:
        if held is not Guardrail.PRICE_ENDING:
            reason = PriceReason.GUARDRAIL
        explanation = f"{explanation} {_sentence(held, Money(currency, ended), ended > rounded)}"
    low, high = Money(currency, left.low), Money(currency, left.high)
    return Offer(low, high, Money(currency, ended), reason, explanation, held)


def _is_end(amount: Decimal, wanted: Decimal, left: _Range, currency: str) -> bool:
    """Whether it is the end of the range behind which `wanted` lies, by more than a rounding."""
    unit = minor_unit(currency)
    return wanted + unit < amount == left.low or wanted - unit > amount == left.high


def quoted(item: PricedItem, proposed: ProposedPrice, rails: Guardrails, now_s: float = math.inf) -> Offer:
    """What a quote offers: the published offer if there is one, otherwise the computed one.

    A published offer applies also beyond floor and ceiling, which are widened to it. Its reason is the pricer's if the
    pricer computes the same amount. Otherwise it is a price that was computed before and that a guardrail holds, if
    `item.guardrail` is known, or the shop's decision.
    """
    computed = offer(item, proposed, rails, now_s=now_s)
    amount = item.published
    if amount is None or amount.amount == computed.amount.amount:
        return computed
    floor, ceiling = (min(computed.floor.amount, amount.amount), max(computed.ceiling.amount, amount.amount))
    held = Guardrail(item.guardrail) if item.guardrail else None
    if held is not None and held is not Guardrail.NONE:
        reason, explanation = PriceReason.GUARDRAIL, _sentence(held, amount, None)
    elif held is Guardrail.NONE:
        reason, explanation = PriceReason.PUBLISHED, "The computed price of this period applies."
    elif amount.amount == item.list_price.amount:
        reason, explanation = PriceReason.LIST_PRICE, LIST_PRICE_APPLIES
    else:
        reason, explanation = PriceReason.PUBLISHED, "The shop's published offer applies."
    bounds = Money(amount.currency, floor), Money(amount.currency, ceiling)
    return Offer(*bounds, amount, reason, explanation, held or 0)


def _left(item: PricedItem, rails: Guardrails, past: Past, now_s: float) -> _Range:
    currency, price = item.list_price.currency, item.list_price.amount

    def up(amount: Decimal) -> Decimal:
        return in_minor_units(amount, currency, ROUND_CEILING)

    def down(amount: Decimal) -> Decimal:
        return in_minor_units(amount, currency, ROUND_FLOOR)

    def share_up(share: Decimal) -> Decimal:
        return up(share * price - _NOISE)

    def share_down(share: Decimal) -> Decimal:
        return down(share * price + _NOISE)

    least = minor_unit(currency) if price else Decimal(0)
    left = _Range(least, max(down(price * (1 + rails.maximum_increase)), least))
    if item.minimum_advertised_price is not None:
        left.at_least(up(item.minimum_advertised_price.amount), Guardrail.MINIMUM_ADVERTISED_PRICE)
    if item.cost is not None:
        left.at_least(up(item.cost.amount * (1 + rails.minimum_margin)), Guardrail.MINIMUM_MARGIN)
    if item.price_floor is not None:
        left.at_least(up(item.price_floor.amount), Guardrail.PRICE_FLOOR)
    if item.price_ceiling is not None:
        left.at_most(down(item.price_ceiling.amount), Guardrail.PRICE_CEILING)
    if rails.is_frozen(now_s):
        current = in_minor_units(past.current * price, currency, ROUND_HALF_UP)
        left.at_least(current, Guardrail.FREEZE)
        left.at_most(current, Guardrail.FREEZE)
    left.at_least(up(price * (1 - rails.maximum_discount)), Guardrail.MAXIMUM_DISCOUNT)
    if rails.discount_budget is not None and (past.is_budget_spent or rails.discount_budget.currency != currency):
        left.at_least(down(price), Guardrail.DISCOUNT_BUDGET)
    for change, window, by in (
        (rails.maximum_daily_change, past.day, Guardrail.DAILY_CHANGE),
        (rails.maximum_weekly_change, past.week, Guardrail.WEEKLY_CHANGE),
    ):
        if change is not None and window is not None:
            lowest, highest = window
            low, high = highest * (1 - change), lowest * (1 + change)
            if low > high:
                # It has changed by more already: it stays.
                low = high = past.current
            left.at_least(share_up(low), by)
            left.at_most(share_down(high), by)
    if past.allowed is not None:
        left.at_least(share_up(past.allowed[0]), Guardrail.REVIEW)
        left.at_most(share_down(past.allowed[1]), Guardrail.REVIEW)
    if past.least is not None:
        left.at_least(share_up(past.least), Guardrail.PRICE_WAR)
    return left


def _with_ending(amount: Decimal, left: _Range, currency: str, endings: tuple[int, ...]) -> Decimal:
    """The nearest price below, otherwise above, with one of the endings; the amount itself if none is left."""
    if not endings:
        return amount
    decimals = MINOR_UNIT_DECIMALS[currency]
    units = int(amount.scaleb(decimals))
    hundred, digits = divmod(units, ENDING_MODULUS)
    if digits in endings:
        return amount
    near = sorted({(hundred + step) * ENDING_MODULUS + ending for step in (-1, 0, 1) for ending in endings})
    below = [unit for unit in reversed(near) if unit < units]
    above = [unit for unit in near if unit > units]
    for unit in (*below, *above):
        ended = Decimal(unit).scaleb(-decimals)
        if left.low <= ended <= left.high:
            return ended
    return amount


def _sentence(held: Guardrail, price: Money, is_raised: bool | None) -> str:
    """`is_raised` None: it is not known any more."""
    verb = "held the offer at" if is_raised is None else "raised the offer to" if is_raised else "lowered the offer to"
    return f"A guardrail {verb} {price}: {_TEXTS[held]}."
