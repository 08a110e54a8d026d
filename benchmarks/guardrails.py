"""Guardrails against a hostile policy, and how many quotes one core computes.

    python -m benchmarks.guardrails --out R.json

A policy that proposes NaN, infinite, negative, huge and oscillating prices sets the prices of 1,000 products on 1,000
days. Every offer is checked in whole cents by arithmetic of its own. Then quotes are computed as `QuotePrices` does,
from message to message and without the record on disk; the baseline is the same work without guardrails.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.results import Results
from kairos.common.v1 import common_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.money import Money
from services.pricing.convert import items_from_proto, quote_to_proto
from services.pricing.domain.guardrails import Guardrail, Guardrails, Past, offer, quoted
from services.pricing.domain.pricing import Offer, PricedItem, Pricer, PriceReason, ProposedPrice
from services.pricing.policies import policy_set
from services.pricing.settings import PricingSettings

_DAY_S = 86_400.0
_ITEMS = 20
_HOSTILE = [
    Decimal(text) for text in ("NaN", "sNaN", "Infinity", "-Infinity", "-3", "0", "1E+9999", "1E-9999", "0.004")
]


@dataclass(frozen=True)
class Product:
    item: PricedItem
    rails: Guardrails


def _product(number: int, random: random.Random) -> Product:
    """Bounds as shops have them, and some that contradict each other."""

    def cents(low: int, high: int) -> Money:
        return Money("USD", Decimal(random.randint(low, high)).scaleb(-2))

    def maybe(money: Money) -> Money | None:
        return money if random.random() < 0.5 else None

    price = random.randint(1, 20_000)
    floor, ceiling = sorted([cents(1, price), cents(1, price)], key=lambda money: money.amount)
    item = PricedItem(
        f"p{number}", Money("USD", Decimal(price).scaleb(-2)), cost=maybe(cents(1, price)), price_floor=maybe(floor),
        price_ceiling=maybe(ceiling), minimum_advertised_price=maybe(cents(1, price)),
    )  # fmt: skip
    share = random.choice(("0.02", "0.05", "0.1", "0.25"))
    freeze_s = (400 * _DAY_S, 420 * _DAY_S) if random.random() < 0.5 else None
    rails = Guardrails(
        Decimal("0.05"), Decimal("0.4"), Decimal(random.choice(("0", "0.1"))), Decimal(share), Decimal(share) * 3,
        random.choice(((), (99,), (0, 50, 95))), freeze_s, maybe(Money("USD", Decimal(100))),
    )  # fmt: skip
    return Product(item, rails)


def _proposed(item: PricedItem, day: int, random: random.Random) -> ProposedPrice:
    if random.random() < 0.3:
        amount = random.choice(_HOSTILE)
    else:
        # From one extreme to the other, day by day.
        amount = item.list_price.amount * Decimal(repr(random.uniform(0, 0.2) if day % 2 else random.uniform(0.8, 3)))
    return ProposedPrice(amount, PriceReason.AGED, "")


def _past(cents: Sequence[int], price: int, is_budget_spent: bool) -> Past:
    shares = [Decimal(each) / price for each in cents[-7:]]
    day, week = (shares[-1], shares[-1]), (min(shares), max(shares))
    return Past(shares[-1], day, week, None, is_budget_spent)


def violations(product: Product, made: Offer, cents: Sequence[int], is_budget_spent: bool, now_s: float) -> list[str]:
    """What the offer violates though a price that satisfies it is left by the stronger guardrails. In whole cents."""
    item, rails = product.item, product.rails

    def exact(amount: Decimal) -> Fraction:
        return Fraction(amount) * 100

    if exact(made.amount.amount).denominator != 1:
        return ["minor unit"]
    price, paid = int(exact(item.list_price.amount)), int(exact(made.amount.amount))
    low, high = 1, max(1, math.floor(price * (1 + Fraction(rails.maximum_increase))))
    wrong = list[str]()

    def require(name: str, least: Fraction | None, most: Fraction | None) -> None:
        nonlocal low, high
        if least is not None and math.ceil(least) > low:
            low = min(math.ceil(least), high)
        if most is not None and math.floor(most) < high:
            high = max(math.floor(most), low)
        if not low <= paid <= high:
            wrong.append(name)

    require("list price", None, None)
    for name, bound in (("advertised", item.minimum_advertised_price), ("floor", item.price_floor)):
        if name == "floor" and item.cost:
            require("margin", exact(item.cost.amount) * (1 + Fraction(rails.minimum_margin)), None)
        if bound:
            require(name, exact(bound.amount), None)
    if item.price_ceiling:
        require("ceiling", None, exact(item.price_ceiling.amount))
    if rails.is_frozen(now_s):
        require("freeze", Fraction(cents[-1]), Fraction(cents[-1]))
    require("discount", price * (1 - Fraction(rails.maximum_discount)), None)
    if rails.discount_budget and is_budget_spent:
        require("budget", Fraction(price), None)
    for name, change, window in (
        ("day", rails.maximum_daily_change, cents[-1:]), ("week", rails.maximum_weekly_change, cents[-7:]),
    ):  # fmt: skip
        least, most = max(window) * (1 - Fraction(change or 0)), min(window) * (1 + Fraction(change or 0))
        if least > most:
            least = most = Fraction(cents[-1])
        require(name, least, most)
    return wrong


def hostile(products: int, days: int, seed: int) -> dict[str, Any]:
    source = random.Random(seed)
    passed, held, spent_s, offers = 0, dict.fromkeys((each.name for each in Guardrail), 0), 0.0, 0
    for number in track(range(products), "hostile policy", console=Console(stderr=True)):
        product = _product(number, source)
        price = int(product.item.list_price.amount * 100)
        cents = [price]
        for day in range(days):
            now_s, is_budget_spent = day * _DAY_S, day % 30 > 25
            proposed, past = _proposed(product.item, day, source), _past(cents, price, is_budget_spent)
            began_s = time.process_time()
            made = offer(product.item, proposed, product.rails, past, now_s)
            spent_s += time.process_time() - began_s
            offers += 1
            passed += bool(violations(product, made, cents, is_budget_spent, now_s))
            held[Guardrail(made.guardrail).name] += 1
            cents.append(int(made.amount.amount * 100))
    return {"offers": offers, "violations": passed, "held": held, "offers_per_cpu_s": round(offers / spent_s)}


def speed(seconds: float) -> dict[str, Any]:
    policy = policy_set(PricingSettings(), {}).default
    pricer, rails = policy.pricer, policy.rails
    request = pricing_pb2.QuotePricesRequest()
    for number in range(_ITEMS):
        money = common_pb2.Money(currency_code="USD", units=20 + number, nanos=990_000_000)
        cost = common_pb2.Money(currency_code="USD", units=9)
        request.items.add(item_id=f"p{number}", list_price=money, offer=money, cost=cost, stock=100 + 5 * number)
    data = request.SerializeToString()
    with_rails = _quotes_per_s(data, pricer, lambda item, made: quoted(item, made, rails, 0.0), seconds)
    without = _quotes_per_s(data, pricer, _unbounded, seconds)
    ratio = round(with_rails / without, 3)
    return {"quotes_per_s": round(with_rails), "without_guardrails": round(without), "ratio": ratio}


def _unbounded(item: PricedItem, proposed: ProposedPrice) -> Offer:
    price = Money("USD", proposed.amount)
    return Offer(price, price, price, proposed.reason, proposed.explanation)


def _quotes_per_s(data: bytes, pricer: Pricer, bound: Any, seconds: float) -> float:
    count, began_s = 0, time.process_time()
    while (spent_s := time.process_time() - began_s) < seconds:
        items = items_from_proto(pricing_pb2.QuotePricesRequest.FromString(data))
        quotes = [
            quote_to_proto(item, bound(item, pricer(item, 0.0, _unbounded)), quote_id=f"{count}") for item in items
        ]
        pricing_pb2.QuotePricesResponse(quotes=quotes).SerializeToString()
        count += len(items)
    return count / spent_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0, help="CPU time of each measurement of speed")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    results = Results(options.out, {name: value for name, value in vars(options).items() if name != "out"})
    found = results.part("hostile", lambda: hostile(options.products, options.days, options.seed))
    fast = results.part("speed", lambda: speed(options.seconds))
    table = Table("", "")
    for name, value in (found | fast).items():
        table.add_row(name, str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
