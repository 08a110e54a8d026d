"""Policies in the simulated shop, with and without guardrails, and what a clairvoyant would earn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import numpy as np

from benchmarks.pricing_data import Floats
from benchmarks.pricing_shop import CURRENCY, DAY_S, Shop
from services.common.money import Money
from services.pricing.domain.demand.model import DemandModel, DemandOptions
from services.pricing.domain.demand.observations import Observations
from services.pricing.domain.guardrails import Guardrails, Past, offer
from services.pricing.domain.policies.choice import Ladder, candidates
from services.pricing.domain.policies.greedy import GreedyPolicy
from services.pricing.domain.policies.port import Guard, ProposingPolicy, Situation
from services.pricing.domain.policies.seeds import SeededNormals
from services.pricing.domain.policies.thompson import ThompsonPolicy
from services.pricing.domain.pricing import (
    ListPrice,
    MarkdownRules,
    Offer,
    PricedItem,
    Pricer,
    PriceReason,
    ProposedPrice,
)

LADDER = Ladder(0.85, 1.15)
_MONTH_DAYS = 30
# The bounds of the ladder, which every policy has.
_LADDER_ONLY = Guardrails(Decimal(0), Decimal("0.15"), Decimal("0.15"))
# Every guardrail. 5 % a day and 10 % a week, prices that end in 9 or 5, three frozen days, and a monthly budget of
# discounts: 3 % of the list value of a month. Whether it is spent is counted here.
_ALL = Guardrails(
    Decimal("0.05"), Decimal("0.15"), Decimal("0.15"), Decimal("0.05"), Decimal("0.10"),
    tuple(digits for digits in range(100) if digits % 10 in (5, 9)), (1_040 * DAY_S, 1_043 * DAY_S),
    Money(CURRENCY, Decimal(1)),
)  # fmt: skip
_BUDGET_SHARE = 0.03


class Learner(Protocol):
    """Prices in the shop, day by day."""

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]: ...

    def learn(self, rows: Observations) -> None: ...


@dataclass
class Fixed:
    """A pricer that learns nothing."""

    pricer: Pricer

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        return [self.pricer(each.item, each.now_s, guard) for each in situations]

    def learn(self, rows: Observations) -> None:
        pass


@dataclass
class Learning:
    """A policy over a demand model, which learns each night."""

    policy: ProposingPolicy
    model: DemandModel

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        return self.policy.propose(situations, guard)

    def learn(self, rows: Observations) -> None:
        self.model.observe(rows)
        self.model.pool()


@dataclass
class EpsilonGreedy:
    """With the probability `epsilon` any price of the ladder, otherwise that of `greedy`."""

    greedy: Learning
    epsilon: float
    random: np.random.Generator

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        made = self.greedy.propose(situations, guard)
        prices = candidates(situations, guard, LADDER)
        tried = self.random.uniform(size=len(made)) < self.epsilon
        column = self.random.integers(0, prices.shape[1], len(made))
        return [
            ProposedPrice(Decimal(f"{prices[row, column[row]]:.2f}"), PriceReason.EXPLORATION, "")
            if tried[row]
            else one
            for row, one in enumerate(made)
        ]

    def learn(self, rows: Observations) -> None:
        self.greedy.learn(rows)


class Clairvoyant:
    """Knows the demand of the day at every price, and takes the best price that the guardrails leave today."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        prices = candidates(situations, guard, LADDER)
        best = prices[np.arange(len(prices)), self._shop.margin(situations[0].period, prices).argmax(axis=1)]
        return [ProposedPrice(Decimal(f"{price:.2f}"), PriceReason.DEMAND, "") for price in best]

    def learn(self, rows: Observations) -> None:
        pass


class _Guarded:
    """The guardrails with the memory of one run."""

    def __init__(self, shop: Shop, rails: Guardrails) -> None:
        self._shop, self._rails = shop, rails
        self._shares = [np.ones(shop.products)]
        self._spent, self._value = 0.0, 0.0

    def of(self, day: int) -> Guard:
        if day % _MONTH_DAYS == 0:
            at_list = self._shop.list_price
            self._spent, self._value = 0.0, float(self._shop.expected(day, at_list) @ at_list)
        is_spent = self._spent > _BUDGET_SHARE * _MONTH_DAYS * self._value
        week = np.array(self._shares[-7:])
        low, high, current = week.min(axis=0), week.max(axis=0), self._shares[-1]
        past = {
            item.item_id: Past(
                _decimal(current[row]), (_decimal(current[row]),) * 2, (_decimal(low[row]), _decimal(high[row])),
                is_budget_spent=is_spent,
            )
            for row, item in enumerate(self._shop.items)
        }  # fmt: skip

        def guard(item: PricedItem, proposed: ProposedPrice) -> Offer:
            return offer(item, proposed, self._rails, past[item.item_id], self._shop.now_s(day))

        return guard

    def remember(self, prices: Floats, sold: Floats) -> None:
        self._shares.append(prices / self._shop.list_price)
        self._spent += float(np.maximum(self._shop.list_price - prices, 0) @ sold)


def _decimal(share: float) -> Decimal:
    return Decimal(repr(float(share)))


@dataclass(frozen=True)
class Run:
    """Expected margin of each day [days], and milliseconds of CPU of `propose` a day, with its calls of guardrails."""

    margin: Floats
    propose_ms: float


def run(shop: Shop, learner: Learner, is_guarded: bool) -> Run:
    rails = _Guarded(shop, _ALL if is_guarded else _LADDER_ONLY)
    earned, taken = np.zeros(shop.days), 0.0
    every = np.arange(shop.products)
    for day in range(shop.days):
        guard = rails.of(day)
        situations = [Situation(item, day, shop.now_s(day), season=float(shop.season[day])) for item in shop.items]
        began = time.process_time()
        proposals = learner.propose(situations, guard)
        taken += time.process_time() - began
        offers = [
            guard(item, ProposedPrice(made.amount, PriceReason.LIST_PRICE, "")).amount.amount
            for item, made in zip(shop.items, proposals, strict=True)
        ]
        prices = np.array([float(amount) for amount in offers])
        earned[day] = shop.margin(day, prices).sum()
        sold = shop.sold(day, prices)
        rails.remember(prices, sold.astype(np.float64))
        learner.learn(Observations.of(every, day, prices, sold, season=shop.season[day]))
    return Run(earned, taken * 1e3 / shop.days)


def learners(seed: int) -> dict[str, Callable[[Shop], Learner]]:
    """By name. What the baselines use was chosen on the seeds 2, 3 and 4, as what ours uses: for greedy and Thompson
    sampling without pooling models with and without shocks, ε of .02, .05, .1 and .2, factors of exploration of .5, .7,
    1 and 1.4.
    """
    normals = SeededNormals("benchmark", seed.to_bytes(16))

    def model(shop: Shop, is_pooled: bool, has_shocks: bool = True) -> DemandModel:
        return DemandModel(shop.units, DemandOptions(is_pooled=is_pooled, has_shocks=has_shocks))

    def greedy(shop: Shop, is_pooled: bool) -> Learning:
        made = model(shop, is_pooled)
        return Learning(GreedyPolicy(made, ladder=LADDER), made)

    def epsilon(shop: Shop, is_pooled: bool) -> EpsilonGreedy:
        return EpsilonGreedy(greedy(shop, is_pooled), 0.05, np.random.default_rng(seed))

    def thompson(shop: Shop, made: DemandModel) -> Learning:
        return Learning(ThompsonPolicy(made, normals, ladder=LADDER), made)

    def ours(shop: Shop) -> Learning:
        made = model(shop, True)
        return Learning(ThompsonPolicy(made, normals, ladder=LADDER, is_contextual=True), made)

    rules = MarkdownRules(150, Decimal("0.10"), 540, Decimal("0.15"))
    return {
        "clairvoyant": Clairvoyant,
        "fixed": lambda shop: Fixed(ListPrice()),
        "rules": lambda shop: Fixed(rules),
        "greedy": lambda shop: greedy(shop, False),
        "ε-greedy": lambda shop: epsilon(shop, False),
        "Thompson without pooling": lambda shop: thompson(shop, model(shop, False)),
        "Thompson with pooling, without shocks": lambda shop: thompson(shop, model(shop, True, False)),
        "greedy over our model": lambda shop: greedy(shop, True),
        "ε-greedy over our model": lambda shop: epsilon(shop, True),
        "ours": ours,
    }
