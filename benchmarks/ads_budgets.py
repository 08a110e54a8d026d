"""Budgets of benchmarks.ads: pacing over simulated days, and leases of ten replicas that are killed."""

from __future__ import annotations

import heapq
import statistics
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from services.sponsored.domain.leases import Lease, LeasePool, LeaseRules
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
# How often a replica without leases reads what was billed.
_READ_S = 30.0


def leases(runs: int, seed: int) -> dict[str, Any]:
    """Clicks beyond the budget, which nobody pays: billing ends at the budget. Each minute one of ten replicas is
    killed and starts again with a new name. Baseline: replicas that read the ledger every half minute.
    """
    report = {}
    for name, has_leases in (("leases", True), ("without", False)):
        beyond, spent = [], []
        for run in range(runs):
            value = _run(Random(seed * 1_000 + run), has_leases)
            beyond.append(max(0.0, value - _BUDGET) / _PRICE)
            spent.append(min(value, _BUDGET) / _BUDGET)
        report[name] = {
            "clicks_beyond_max": max(beyond), "clicks_beyond_mean": statistics.mean(beyond),
            "spent_share_mean": statistics.mean(spent),
        }  # fmt: skip
    return {"replicas": _REPLICAS, "clicks_of_the_budget": _BUDGET / _PRICE, **report}


def _run(random: Random, has_leases: bool) -> float:
    """The value of all clicks of an hour."""
    pool, clicks, billed, now_s = LeasePool(LeaseRules()), list[float](), 0.0, 0.0
    names = [f"{number}" for number in range(_REPLICAS)]
    held: list[Lease | None] = [None] * _REPLICAS
    known, read_s = [0.0] * _REPLICAS, [random.uniform(0, _READ_S) for _ in names]
    kill_s = _KILL_S
    while now_s < 3_600:
        now_s += random.expovariate(_PAGES_A_S)
        while clicks and clicks[0] <= now_s:
            heapq.heappop(clicks)
            billed += _PRICE
        if now_s >= kill_s:
            kill_s += _KILL_S
            victim = random.randrange(_REPLICAS)
            names[victim], held[victim] = f"{victim} from {now_s}", None
        replica = random.randrange(_REPLICAS)
        if has_leases:
            lease = held[replica]
            if lease is None or now_s >= lease.until_s:
                used = lease.used if lease else 0.0
                lease = held[replica] = pool.renew(names[replica], used, _BUDGET, billed, _PRICE, now_s)
            is_shown = lease.take(_PRICE * _PROBABILITY, now_s)
        else:
            if now_s >= read_s[replica]:
                known[replica], read_s[replica] = billed, now_s + _READ_S
            is_shown = known[replica] < _BUDGET
        if is_shown and random.random() < _PROBABILITY:
            heapq.heappush(clicks, now_s + random.expovariate(1 / _CLICK_S))
    return billed + _PRICE * len(clicks)
