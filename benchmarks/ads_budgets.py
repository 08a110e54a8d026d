"""Budgets of benchmarks.ads: pacing over simulated days, and leases of ten replicas that are killed."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any

import numpy as np

from services.control.domain.leases import AskedLease, Billed, LeasePool, LeaseRules
from services.sponsored.domain.leases import Lease
from services.sponsored.domain.pacing import (
    INTERVALS_A_DAY,
    INTERVALS_AN_HOUR,
    Pacer,
    PacingRules,
    TrafficForecast,
)

_DAYS, _LEARNED_DAYS = 10, 3
_REQUESTS = 60_000
_BID, _PROBABILITY = 60, 0.05
_RULES = PacingRules()


@dataclass
class Day:
    """`hours`: spend in cents, `traffic`: requests, both by hour."""

    hours: list[float] = field(default_factory=lambda: [0.0] * 24)
    traffic: list[int] = field(default_factory=lambda: [0] * 24)
    clicks: int = 0

    @property
    def spent(self) -> float:
        return sum(self.hours)

    @property
    def most(self) -> float:
        """The largest share of an hour in the spend, as a multiple of its share in the traffic."""
        total = sum(self.traffic)
        shares = (hour / self.spent * total / requests for hour, requests in zip(self.hours, self.traffic, strict=True))
        return max(shares)


def _shape(random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A day with little traffic at night and a peak in the evening. Hours differ from day to day by 15 %."""
    hours = np.arange(INTERVALS_A_DAY) / INTERVALS_AN_HOUR
    usual = 1.15 + np.sin((hours - 10) / 24 * 2 * np.pi) + 0.4 * np.exp(-((hours - 20) ** 2) / 4)
    return np.asarray(usual * np.repeat(random.lognormal(0, 0.15, 24), INTERVALS_AN_HOUR))


def _day(
    budget: int, forecast: TrafficForecast, pacer: Pacer | None, random: np.random.Generator
) -> tuple[Day, list[int]]:
    """Without a pacer the bids stay as they are until the budget is spent."""
    day, spent = Day(), 0.0
    shape = _shape(random)
    counts = random.poisson(_REQUESTS * random.lognormal(0, 0.05) * shape / shape.sum())
    for interval, count in enumerate(counts):
        hour = interval // INTERVALS_AN_HOUR
        multiplier = pacer.multiplier if pacer else 1.0
        # The least bids that win, in cents; the price of a click.
        prices = np.ceil(random.lognormal(3.4, 0.5, count))
        is_click = (prices <= _BID * multiplier) & (random.random(count) < _PROBABILITY)
        before = spent
        for place in np.flatnonzero(is_click):
            seen = day.traffic[hour] + int(place) + 1
            limit = pacer.limit(seen, forecast.requests) if pacer else budget
            price = min(float(prices[place]), budget - spent)
            if day.hours[hour] + price <= limit and price > 0:
                day.hours[hour] += price
                spent += price
                day.clicks += 1
        day.traffic[hour] += int(count)
        if pacer:
            pacer.step(interval, round(before), round(spent - before))
    return day, list(map(int, counts))


def pacing(campaigns: int, seed: int) -> dict[str, Any]:
    """Feasible budgets: a tenth to seven tenths of what the campaign would spend without a bound, 100 clicks or more.
    The first days are for the forecast.
    """
    shares, most, plain_most, plain_end, more_clicks = [], [], [], [], []
    for number in range(campaigns):
        random = np.random.default_rng([seed, number])
        # Of the requests 4.7 % are clicks that this bid wins, at 28 cents on average.
        whole = _REQUESTS * _PROBABILITY * 0.87 * 28
        budget = round(whole * random.uniform(0.1, 0.7))
        forecast, multiplier = TrafficForecast(_RULES.smoothing), 0.5
        for number_of_day in range(_DAYS):
            pacer = Pacer(budget, forecast.shares, _RULES, multiplier)
            day, counts = _day(budget, forecast, pacer, random)
            if number_of_day >= _LEARNED_DAYS:
                plain, _ = _day(budget, forecast, None, random)
                shares.append(day.spent / budget)
                most.append(day.most)
                plain_most.append(plain.most)
                plain_end.append(max(hour for hour, spent in enumerate(plain.hours) if spent) + 1)
                more_clicks.append(day.clicks / plain.clicks)
            forecast.add_day(counts)
            multiplier = pacer.multiplier
    return {
        "days": len(shares), "spent_share_min": min(shares), "spent_share_mean": statistics.mean(shares),
        "hour_most": max(most), "clicks_ratio": statistics.mean(more_clicks),
        "without": {"hour_most": max(plain_most), "last_hour_median": statistics.median(plain_end)},
    }  # fmt: skip


_REPLICAS, _PRICE, _BUDGET = 10, 40, 4_000
_CLICK_S, _KILL_S, _PAGES_A_S = 20.0, 60.0, 40.0
# How often bills are recorded, and a replica looks for a lease; and how often one without leases reads the bills.
_BILLS_S, _TURN_S, _READ_S = 15.0, 2.0, 30.0
_DAY, _MILLION = date(2026, 1, 5), 1_000_000


def leases(runs: int, seed: int) -> dict[str, Any]:
    """Clicks beyond the budget, which nobody pays: billing ends at the budget. Each minute one of ten replicas is
    killed and starts again with a new name. Baseline: replicas that read the bills every half minute.
    """
    report = {}
    for name, run in (("leases", _with_leases), ("without", _without_leases)):
        values = [run(Random(seed * 1_000 + number)) for number in range(runs)]
        beyond = [max(0.0, value - _BUDGET) / _PRICE for value in values]
        report[name] = {
            "clicks_beyond_max": max(beyond), "clicks_beyond_mean": statistics.mean(beyond),
            "spent_share_mean": statistics.mean(min(value, _BUDGET) / _BUDGET for value in values),
        }  # fmt: skip
    return {"replicas": _REPLICAS, "clicks_of_the_budget": _BUDGET / _PRICE, **report}


@dataclass
class _Shop:
    """Pages of ten replicas, the clicks on their ads, and the bills, in cents."""

    random: Random
    now_s: float = 0.0
    clicks: list[float] = field(default_factory=list)
    value: int = 0
    billed: int = 0
    complete_s: float = 0.0

    def pages(self) -> Iterator[tuple[int, bool]]:
        """One after the other for an hour: the number of its replica, and whether one is killed meanwhile."""
        kill_s = _KILL_S
        while self.now_s < 3_600:
            self.now_s += self.random.expovariate(_PAGES_A_S)
            while self.clicks and self.clicks[0] <= self.now_s:
                heapq.heappop(self.clicks)
                self.value += _PRICE
            if self.now_s >= self.complete_s + _BILLS_S:
                self.billed, self.complete_s = self.value, self.now_s
            is_killed = self.now_s >= kill_s
            kill_s += _KILL_S * is_killed
            yield self.random.randrange(_REPLICAS), is_killed

    def show(self) -> None:
        if self.random.random() < _PROBABILITY:
            heapq.heappush(self.clicks, self.now_s + self.random.expovariate(1 / _CLICK_S))

    def worth(self) -> float:
        """Of all clicks, also of those that are still to come."""
        return self.value + _PRICE * len(self.clicks)


def _with_leases(random: Random) -> float:
    shop, rules, pool, limit = _Shop(random), LeaseRules(), LeasePool(), _BUDGET * _MILLION
    names, held, turns = (
        [str(number) for number in range(_REPLICAS)],
        [Lease() for _ in range(_REPLICAS)],
        [0.0] * _REPLICAS,
    )
    for call, (replica, is_killed) in enumerate(shop.pages(), 1):
        if is_killed:
            victim = random.randrange(_REPLICAS)
            names[victim], held[victim], turns[victim] = f"{victim} from {shop.now_s}", Lease(), 0.0
        if shop.now_s >= turns[replica]:
            lease, turns[replica] = held[replica], shop.now_s + _TURN_S
            used, before = round(lease.used * _MILLION), round(lease.held * _MILLION)
            asked = AskedLease("c", _DAY, used, before, limit, limit, 0, None, _PRICE * _MILLION)
            billed = Billed(shop.billed * _MILLION)
            now_us, complete_us = round(shop.now_s * 1e6), round(shop.complete_s * 1e6)
            lease.held = pool.renew(names[replica], call, asked, billed, complete_us, rules, now_us) / _MILLION
            lease.until_s = shop.now_s + rules.lease_s
        if held[replica].take(_PRICE * _PROBABILITY, shop.now_s):
            shop.show()
    return shop.worth()


def _without_leases(random: Random) -> float:
    shop = _Shop(random)
    known, read_s = [0.0] * _REPLICAS, [random.uniform(0, _READ_S) for _ in range(_REPLICAS)]
    for replica, _ in shop.pages():
        if shop.now_s >= read_s[replica]:
            known[replica], read_s[replica] = shop.billed, shop.now_s + _READ_S
        if known[replica] < _BUDGET:
            shop.show()
    return shop.worth()
