"""A small shop for the tests of policies: products at 10.00, cost 6.00, and a model that has learned their demand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from services.common.money import Money
from services.pricing.domain.demand.model import DemandModel, DemandOptions
from services.pricing.domain.demand.observations import DemandUnit, Observations
from services.pricing.domain.policies.port import Guard, Situation
from services.pricing.domain.pricing import Offer, PricedItem, PriceReason, ProposedPrice

LIST = 10.0


def usd(amount: float) -> Money:
    return Money("USD", Decimal(f"{amount:.2f}"))


def situation(number: int = 0, period: int = 60, **changed: Any) -> Situation:
    """Of the product `p{number}`. `changed`: fields of the situation, or of its item."""
    item = PricedItem(f"p{number}", usd(LIST), cost=usd(6.0))
    of_item = {name: value for name, value in changed.items() if hasattr(item, name)}
    others = {name: value for name, value in changed.items() if name not in of_item}
    return Situation(replace(item, **of_item), period, period * 86_400.0, **others)


def bounded(low: float, high: float) -> Guard:
    """A guard that allows prices from `low` to `high`."""

    def guard(item: PricedItem, proposed: ProposedPrice) -> Offer:
        floor, ceiling = usd(low), usd(high)
        amount = min(max(proposed.amount, floor.amount), ceiling.amount)
        return Offer(floor, ceiling, Money("USD", amount), PriceReason.LIST_PRICE, "")

    return guard


def learned(elasticity: float, periods: int = 60, count: int = 20, base: float = 3.0) -> DemandModel:
    """A model of `count` products that has seen `periods` at prices around the list price."""
    random = np.random.default_rng(7)
    units = [DemandUnit(f"p{n}", "", "c", f"b{n % 2}", LIST) for n in range(count)]
    model = DemandModel(units, DemandOptions(has_shocks=False))
    for period in range(periods):
        relative = random.choice(np.log([0.85, 0.95, 1.0, 1.1]), count)
        pieces = random.poisson(np.exp(base + elasticity * relative))
        model.observe(Observations.of(np.arange(count), period, LIST * np.exp(relative), pieces))
        model.pool()
    return model
