"""Duopolies with logit demand, as in Calvano et al. (AER 2020), and how sellers in them price. A period is a day.

Arrays have the shape [markets]; a market is one product that two sellers sell. Prices are in dollars, costs are 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COST = 100.0
# Their baseline: quality 2, cost 1, differentiation 1/4, an outside good of 0. Here differentiation differs by market.
_QUALITY, _DIFFERENTIATION, _SPREAD = 200.0, 25.0, 0.15
# Of their grid of prices: from a tenth of the way below Nash to a tenth above monopoly.
_PRICES, _MARGIN = 15, 0.1
_FINE = 1_201
_PROMOTIONS = 7
# Their learning rate and discount.
_RATE, _DISCOUNT = 0.15, 0.95


@dataclass(frozen=True)
class Markets:
    """`differentiation`: the smaller, the more shoppers look at the price alone. `nash`, `monopoly`: prices of both."""

    differentiation: Floats
    nash: Floats
    monopoly: Floats

    @classmethod
    def drawn(cls, seed: int, count: int) -> Markets:
        random = np.random.default_rng(seed)
        return cls.of(_DIFFERENTIATION * random.uniform(1 - _SPREAD, 1 + _SPREAD, count))

    @classmethod
    def of(cls, differentiation: Floats) -> Markets:
        made = cls(differentiation, np.zeros(0), np.zeros(0))
        nash = np.full(len(differentiation), 1.5 * COST)
        for _ in range(60):
            nash = made.best_response(nash)
        grid = np.linspace(COST, 2.5 * COST, _FINE)[None, :].repeat(len(differentiation), axis=0)
        monopoly = grid[np.arange(len(grid)), made.profit(grid, grid).argmax(axis=1)]
        return cls(differentiation, nash, monopoly)

    def __len__(self) -> int:
        return len(self.differentiation)

    def share(self, own: Floats, other: Floats) -> Floats:
        """Of the shoppers; of shape [markets] or [markets, m]."""
        scale = self.differentiation if own.ndim == 1 else self.differentiation[:, None]
        one, two = np.exp((_QUALITY - own) / scale), np.exp((_QUALITY - other) / scale)
        return np.asarray(one / (one + two + 1))

    def profit(self, own: Floats, other: Floats) -> Floats:
        """Of a shopper, expected."""
        return np.asarray((own - COST) * self.share(own, other))

    def best_response(self, other: Floats) -> Floats:
        """Of one period, to within 0.13."""
        grid = np.linspace(COST, 2.5 * COST, _FINE)[None, :].repeat(len(other), axis=0)
        return np.asarray(grid[np.arange(len(grid)), self.profit(grid, other[:, None]).argmax(axis=1)])

    def gain(self, own: Floats, other: Floats) -> Floats:
        """Profit between Nash, 0, and monopoly, 1; it may be beyond both."""
        low, high = (self.profit(price, price) for price in (self.nash, self.monopoly))
        return np.asarray((self.profit(own, other) - low) / (high - low))

    def grid(self) -> Floats:
        """[markets, prices]"""
        way = np.linspace(-_MARGIN, 1 + _MARGIN, _PRICES)[None, :]
        return np.asarray(self.nash[:, None] + way * (self.monopoly - self.nash)[:, None])


class Seller(Protocol):
    """Sets the prices of a day from those of the day before."""

    def price(self, day: int, own: Floats, other: Floats) -> Floats: ...

    def learn(self, day: int, own: Floats, other: Floats, sold: Ints) -> None:
        """From the prices of the day, which may differ from those that it set, and the pieces that it sold."""


class Rule:
    """A seller that learns nothing. It begins, and a `fixed` one stays, at the monopoly price. `promotions`: in three
    weeks of ten, by chance, a product costs 5 % less than at the Nash equilibrium.
    """

    def __init__(self, markets: Markets, name: str) -> None:
        self._markets, self._name = markets, name

    def price(self, day: int, own: Floats, other: Floats) -> Floats:
        if self._name == "fixed":
            return self._markets.monopoly
        if self._name == "promotions":
            is_on = np.random.default_rng((_PROMOTIONS, day // 7)).random(len(self._markets)) < 0.3
            return np.where(is_on, 0.95 * self._markets.nash, self._markets.monopoly)
        if self._name == "undercutter":
            return np.maximum(0.98 * other, 1.02 * COST)
        if self._name == "best responder":
            return self._markets.best_response(other)
        raise ValueError(self._name)

    def learn(self, day: int, own: Floats, other: Floats, sold: Ints) -> None:
        pass


@dataclass
class QLearning:
    """A seller of Calvano et al. after it has learned: `values` [markets, own price, other price, price]."""

    markets: Markets
    values: Floats

    def __post_init__(self) -> None:
        self.prices, self._rows = self.markets.grid(), np.arange(len(self.markets))
        start = self._nearest(self.markets.monopoly)
        self._state = start, start

    def price(self, day: int, own: Floats, other: Floats) -> Floats:
        self._state = self._nearest(own), self._nearest(other)
        chosen = self.values[self._rows, *self._state].argmax(axis=1)
        return np.asarray(self.prices[self._rows, chosen])

    def learn(self, day: int, own: Floats, other: Floats, sold: Ints) -> None:
        """It goes on learning. Its reward is the expected profit, as in the paper."""
        chosen, reward = self._nearest(own), self.markets.profit(own, other)
        follows = self.values[self._rows, chosen, self._nearest(other)].max(axis=1)
        at = (self._rows, *self._state, chosen)
        self.values[at] += _RATE * (reward + _DISCOUNT * follows - self.values[at])

    def _nearest(self, prices: Floats) -> Ints:
        nearest: Ints = np.abs(self.prices - prices[:, None]).argmin(axis=1)
        return nearest


def learned_by_self_play(
    markets: Markets, seed: int, periods: int, fading: float = 1e-5
) -> tuple[QLearning, QLearning]:
    """Both sellers learn at once, as in the paper: memory of one period, exploration exp(-fading · period)."""
    random, prices, count = np.random.default_rng(seed), markets.grid(), len(markets)
    rows, both = np.arange(count), np.arange(2)[None, :]
    at = rows[:, None]
    own, other = np.broadcast_to(prices[:, :, None], (count, _PRICES, _PRICES)), prices[:, None, :]
    scale = markets.differentiation[:, None, None]
    one, two = np.exp((_QUALITY - own) / scale), np.exp((_QUALITY - other) / scale)
    profit = (own - COST) * one / (one + two + 1)
    # The start of the paper: the discounted profit if the other seller's price is chance.
    values = np.empty((count, 2, _PRICES * _PRICES, _PRICES))
    values[:] = (profit.mean(axis=2) / (1 - _DISCOUNT))[:, None, None, :]
    state = random.integers(0, _PRICES, (count, 2))
    for start in range(0, periods, 10_000):
        length = min(10_000, periods - start)
        tried = random.random((length, count, 2)) < np.exp(-fading * np.arange(start, start + length))[:, None, None]
        tries = random.integers(0, _PRICES, (length, count, 2))
        for step in range(length):
            # The state of a seller: own price, then that of the other.
            place = state * _PRICES + state[:, ::-1]
            chosen = np.where(tried[step], tries[step], values[at, both, place].argmax(axis=2))
            follows = values[at, both, chosen * _PRICES + chosen[:, ::-1]].max(axis=2)
            reward = profit[at, chosen, chosen[:, ::-1]]
            old = values[at, both, place, chosen]
            values[at, both, place, chosen] = old + _RATE * (reward + _DISCOUNT * follows - old)
            state = chosen
    shaped = values.reshape(count, 2, _PRICES, _PRICES, _PRICES)
    return QLearning(markets, shaped[:, 0].copy()), QLearning(markets, shaped[:, 1].copy())
