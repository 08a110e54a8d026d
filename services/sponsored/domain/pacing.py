"""Spreads a daily budget over the day's traffic: a factor for bids, adapted after each interval.

The day is divided into intervals of equal length. What is left of the budget is planned for the intervals that are
left, in proportion to the forecast of their traffic. A campaign that spends more than its plan bids less, and the other
way round (multiplicative updates, as in Balseiro and Gur 2019). No hour may cost more than a multiple of its plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

INTERVALS_AN_HOUR = 12
INTERVALS_A_DAY = 24 * INTERVALS_AN_HOUR
INTERVAL_S = 3_600 // INTERVALS_AN_HOUR


@dataclass(frozen=True)
class PacingRules:
    """`gain`: how far a multiplier moves for a given error. `hourly_limit`: the most that an hour may cost, as a
    multiple of its share of the traffic; it is below 2 because the forecast of the day's requests errs. `smoothing`:
    the weight of a new day in forecasts.
    """

    gain: float = 0.15
    hourly_limit: float = 1.7
    least_multiplier: float = 0.01
    smoothing: float = 0.3


class TrafficForecast:
    """`shares`: of each interval in the day's traffic, uniform at first. `requests`: of a day, 0 at first. Both are
    exponential means of past days.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self.shares: tuple[float, ...] = (1 / INTERVALS_A_DAY,) * INTERVALS_A_DAY
        self.requests = 0.0

    def add_day(self, requests: Sequence[int]) -> None:
        """`requests`: their number in each interval. A day without requests says nothing."""
        total = sum(requests)
        if not total:
            return
        weight = self._smoothing if self.requests else 1.0
        # One request more in each interval: none is expected to be empty.
        new = [(count + 1) / (total + len(requests)) for count in requests]
        self.shares = tuple((1 - weight) * old + weight * one for old, one in zip(self.shares, new, strict=True))
        self.requests = (1 - weight) * self.requests + weight * total


class Pacer:
    """One campaign on one day. `multiplier` lowers its bids; it begins with that of the day before."""

    def __init__(self, budget: int, shares: Sequence[float], rules: PacingRules, multiplier: float = 0.5) -> None:
        self._budget, self._shares, self._rules = budget, shares, rules
        # Of interval i and all later ones.
        self._left = list(accumulate(reversed(shares)))[::-1]
        self._for_budget, self._for_return = multiplier, 1.0

    @property
    def multiplier(self) -> float:
        """The lower of the two: for the budget, and for the return on spend."""
        return min(self._for_budget, self._for_return)

    def step(self, interval: int, spent_before: int, spent: int) -> None:
        """After an interval. `spent_before`: of the day until the interval. `spent`: in it."""
        planned = max(0, self._budget - spent_before) * self._shares[interval] / self._left[interval]
        error = 1 - spent / planned if planned > 0 else -1.0
        self._for_budget = self._moved(self._for_budget, error)

    def step_return(self, target: float, sales: int, spent: int) -> None:
        """`sales` and `spent` of the time that decides, for example of the last seven days. Without spend it waits."""
        if spent > 0:
            self._for_return = self._moved(self._for_return, min(1.0, sales / (target * spent) - 1))

    def limit(self, seen: int, forecast: float) -> float:
        """The most that the current hour may cost. `seen`: requests in the hour so far; `forecast`: of the day. Without
        a forecast it is the budget.
        """
        return min(1.0, self._rules.hourly_limit * seen / forecast if forecast else 1.0) * self._budget

    def _moved(self, multiplier: float, error: float) -> float:
        moved = multiplier * math.exp(self._rules.gain * max(error, -10.0))
        return min(1.0, max(self._rules.least_multiplier, moved))
